"""Korean conjugation: which endings a verb's bases take, and what each ending does to its clause. Knows no verbs.

An eojeol is a verb exactly where a base and an ending of that base's own table make it up, so no ending is guessed off a noun.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

_FIRST, _FINALS = 0xAC00, 28
_N, _L, _M, _B, _SS = 4, 8, 16, 17, 20  # final consonants ㄴ ㄹ ㅁ ㅂ ㅆ by their index


class Form(Enum):
    """What an ending does to its clause."""

    IMPERATIVE = auto()  # 가세요, 가자, 갈게요, 가야 합니다
    STATEMENT = auto()  # 갑니다, 간다, 감, 가요: a command only without another subject
    PLAIN = auto()  # 가: either, or the first half of a longer verb
    NEED = auto()  # 가야 (해)
    THEN = auto()  # 가고
    SO = auto()  # 가서: first this, or this way
    WHILE = auto()  # 가면서
    IF = auto()  # 가면
    ASIDE = auto()  # 가니까
    MODIFIER = auto()  # 가는, 간, 갈: tells about a noun, or 간 다음, 갈 것, 가는 대신
    STEM = auto()  # 가지 (마)
    FORBID = auto()  # 가지마세요
    FORBID_THEN = auto()  # 가지말고
    TOLD = auto()  # 갔다: what somebody did
    PURPOSE = auto()  # 가러


_ASKS = """
    줘 줘요 줘라 주세요 주십시오 주시오 주라 주렴 주시겠어요 주시겠습니까 주실래요 주실래 줄래 줄래요 주길 주시길 주기 주시기 줘야해
    줍시다 라 라고 봐 봐요 봐라 보세요 보십시오 보자 보렴 볼래 야해 야해요 야한다 야합니다 야돼 야돼요 야된다 야됩니다 야지 야겠다
    야겠어 야겠습니다 야만해
    """
_WILL = "게 게요 께 께요 래 래요 거야 거예요 겁니다 것 것입니다 예정입니다"
_POLITE = "세요 셔요 십시오 십시요 시오 시죠 시지요 시길 시기 셔 시면됩니다 시면돼요"
_NOT = (
    """
    마 마라 마요 마세요 마십시오 마시오 마십시요 말아 말아요 말아라 말아줘 말아주세요 말아주십시오 말것 말자 말라 말라고
    말라니까 말도록 말기 않는다 않습니다 않아 않아요 않겠다 않겠어 않겠습니다 않기 않도록 않을게 않을게요 못해 못한다 못합니다
    말렴 말게 말지
    """
).split()
NOT_WORDS = frozenset(_NOT) | {"말", "않을"}
NOT_THEN_WORDS = frozenset({"말고", "않고", "말고서", "않은", "않는", "말고요", "마시고", "마시고요", "않고요"})
NOT_IF_WORDS = frozenset({"않으면", "않았으면", "말았으면"})
_TOLD = "다 어 어요 습니다 음 네 네요 지 죠 고 는데 습니까 나 나요"
_CAN_NOT = "수없다 수없어 수없어요 수없습니다 수없음"
_MUST_NOT = "서는안돼 서는안돼요 서는안된다 서는안됩니다 선안돼 선안됩니다"
_MAY_NOT = "면안돼 면안돼요 면안된다 면안됩니다 면안되요"


class Base(Enum):
    """What an ending is put on: the stem 돌, the infinitive 돌아, or a stem changed by the ending that follows."""

    INFINITIVE = auto()  # 돌아, 찾아
    STEM = auto()  # 돌, 찾
    SHORT = auto()  # 도, 찾: before ㄴ
    SHORT_EU = auto()  # 도, 찾으
    STEM_EU = auto()  # 돌, 찾으
    PAST = auto()  # 돌았, 찾았
    WITH_N = auto()  # 돈; none behind a consonant
    WITH_M = auto()  # 돎
    WITH_B = auto()  # 돕
    WITH_L = auto()  # 돌, 찾을


def _table(*rows: tuple[Form, str]) -> dict[str, Form]:
    return {ending.replace("_", ""): form for form, endings in rows for ending in endings.split()}


_NOT_AFTER_JI = " ".join(f"{ji}{ending}" for ji in ("지", "진", "지는") for ending in _NOT)
ENDINGS: dict[Base, dict[str, Form]] = {
    Base.INFINITIVE: _table(
        (Form.PLAIN, "_"),
        (Form.STATEMENT, "요"),
        (Form.SO, "서"),
        (Form.NEED, "야"),
        (Form.THEN, "다가 가지고 가지구 갖고"),
        (Form.IMPERATIVE, _ASKS),
        (Form.IF, "서는 선 줬으면 주셨으면 주면 주시면"),
        (Form.FORBID, _MUST_NOT),
    ),
    Base.STEM: _table(
        (Form.IMPERATIVE, "자 자고 겠다 겠습니다 겠어요 겠어 겠음 도록 거라 렴 게 읍시다"),
        (Form.STATEMENT, "다 기 습니다 음"),
        (Form.THEN, "고 고서 고나서 자마자 다가"),
        (Form.PURPOSE, "기위해 기위해서"),
        (Form.STEM, "지 지는 지도 지를 진 질"),
        (Form.FORBID, _NOT_AFTER_JI),
        (Form.FORBID_THEN, "지말고 지않고 지말고서"),
        (Form.IF, "거든"),
        (Form.ASIDE, "기전에 기전"),
    ),
    Base.SHORT: _table((Form.MODIFIER, "는"), (Form.STATEMENT, "는다")),
    Base.SHORT_EU: _table((Form.IMPERATIVE, _POLITE), (Form.ASIDE, "니 니까"), (Form.IF, "시면"), (Form.NEED, "셔야")),
    Base.STEM_EU: _table(
        (Form.WHILE, "면서 며"),
        (Form.IF, "면"),
        (Form.FORBID, _MAY_NOT),
        (Form.ASIDE, "므로 느라"),
        (Form.PURPOSE, "러 려고 려면"),
        (Form.IMPERATIVE, "라 라고 라니까"),
    ),
    Base.PAST: _table((Form.THEN, "다가"), (Form.IF, "으면"), (Form.TOLD, _TOLD)),
    Base.WITH_N: _table((Form.MODIFIER, "_"), (Form.STATEMENT, "다")),
    Base.WITH_M: _table((Form.STATEMENT, "_")),
    Base.WITH_B: _table((Form.STATEMENT, "니다"), (Form.IMPERATIVE, "시다")),
    Base.WITH_L: _table((Form.MODIFIER, "_"), (Form.IMPERATIVE, _WILL), (Form.FORBID, _CAN_NOT)),
}


def bases(stem: str, *infinitives: str) -> Iterator[tuple[str, Base]]:
    """What a verb's endings are put on: bases("가", "가"), bases("돌", "돌아"), bases("하", "해", "하여")."""
    yield from ((infinitive, Base.INFINITIVE) for infinitive in infinitives)
    yield from ((_with_final(infinitive, _SS), Base.PAST) for infinitive in infinitives)
    final = _final(stem)
    short = _with_final(stem, 0) if final == _L else stem  # 돌 → 도세요, 돈다, 돕니다
    closed = final not in {0, _L}
    eu = "으" if closed else ""
    yield from ((stem, Base.STEM), (short, Base.SHORT), (short + eu, Base.SHORT_EU), (stem + eu, Base.STEM_EU))
    if closed:
        yield from ((f"{stem}은", Base.WITH_N), (f"{stem}을", Base.WITH_L))
    else:
        yield from ((_with_final(short, _N), Base.WITH_N), (_with_final(short, _M), Base.WITH_M))
        yield from ((_with_final(short, _B), Base.WITH_B), (_with_final(stem, _L), Base.WITH_L))


def has_final(word: str) -> bool:
    """Whether a word ends in a consonant, for 을/를, 이/가, 은/는, 과/와."""
    return _final(word) != 0


def is_past(word: str) -> bool:
    """Whether a word ends as a past does, whatever its verb: 넘어졌다, 보았습니다; 있다 and 가겠다 are none."""
    base = next((word.removesuffix(end) for end in ("습니다", "어요", "다", "어", "음") if word.endswith(end)), "")
    return bool(base) and _final(base) == _SS and base[-1] not in "있겠"


def takes_euro(word: str) -> bool:
    """Whether 으로, not 로, follows: a consonant other than ㄹ."""
    return _final(word) not in {0, _L}


def _final(word: str) -> int:
    code = ord(word[-1]) - _FIRST
    return code % _FINALS if 0 <= code < 11172 else 0


def _with_final(word: str, final: int) -> str:
    code = ord(word[-1]) - _FIRST
    return word[:-1] + chr(_FIRST + code - code % _FINALS + final)
