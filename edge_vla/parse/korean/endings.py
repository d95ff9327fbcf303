"""What follows a Korean verb and changes it: 하지 마세요, 가야 합니다, 간 다음, 가면 안 돼, 돌아 주세요. Knows no verb's meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edge_vla.parse.korean.forms import NOT_IF_WORDS, NOT_WORDS, Form
from edge_vla.parse.korean.verbs import VERB_NOUNS, Role, verb_at
from edge_vla.parse.korean.words import AFTER, AUXILIARY, BEFORE, STOP_SOON
from edge_vla.parse.numerals import get

_INSTEAD = frozenset("대신 대신에".split())
_NEED = frozenset("필요 필요는 필요가 생각은".split())
_THAT = frozenset("것을 것은 것이 건 걸 게 편이 쪽이 편을".split())  # 가는 것을 금지합니다, 가는 게 좋겠습니다
_BETTER = ("좋", "추천", "권장", "바람직", "맞", "최선", "적절", "적합", "필요", "낫", "나을", "현명", "옳", "타당", "제안")
_WILL = ("것", "거", "겁", "예정", "계획")  # 갈 것입니다
_ABLE = frozenset("수 수가 수는 순".split())
_WISHED = ("좋겠", "됩니다", "된다")
_HOPED = frozenset("돼 돼요 해 해요 합니다 하는데 한다".split())
_MAY_NOT = ("안돼", "안되", "안됩", "안된")


class Ending(NamedTuple):
    """The form a verb comes to with what follows it, and the index behind that."""

    form: Form
    end: int


def ending_at(words: Sequence[str], at: int, form: Form) -> Ending:
    """A verb's form once its auxiliaries, which start at `at`, are read."""
    after = get(words, at)
    match form:
        case Form.STEM:
            ending = _behind_stem(words, at, after)
        case Form.IF:
            ending = _behind_if(at, after)
        case Form.NEED:
            ending = _behind_need(at, after)
        case Form.MODIFIER:
            ending = _behind_modifier(words, at, after)
        case Form.PLAIN:
            ending = _behind_plain(words, at, after)
        case Form.THEN:
            ending = _behind_then(words, at, after)
        case Form.STATEMENT if after in BEFORE:
            ending = Ending(Form.ASIDE, at + 1)  # 가기 전에
        case _:
            ending = Ending(form, at)
    end = ending.end
    while get(words, end) in AUXILIARY:
        end += 1
    return Ending(ending.form, min(end, len(words)))


def nominal(after: str) -> bool:
    """Whether this word makes a verb of the modifier before it: 간 다음, 갈 것, 가는 대신; else it is a noun's."""
    return after in AFTER or after in _INSTEAD or after in _NEED or after in _THAT or after in _ABLE or after.startswith(_WILL)


def is_verb(word: str) -> bool:
    """Whether a word is a verb's form or its noun."""
    return bool(word) and (word in VERB_NOUNS or verb_at(word) is not None)


def _behind_stem(words: Sequence[str], at: int, after: str) -> Ending:
    if after in NOT_IF_WORDS:  # 가지 않았으면 (좋겠다)
        hoped = _hoped(get(words, at + 1))
        return Ending(Form.FORBID if hoped else Form.IF, at + 1 + hoped)
    return Ending(Form.FORBID if after in NOT_WORDS else Form.FORBID_THEN, at + 1)


def _behind_need(at: int, after: str) -> Ending:
    found = verb_at(after) if after else None
    done = found is not None and found[0].role is Role.DO
    told = found is not None and done and found[1] is Form.TOLD  # 돌아야 했다
    return Ending(Form.TOLD if told else Form.IMPERATIVE, at + (done or after in {"돼", "됩니다", "된다"}))


def _behind_if(at: int, after: str) -> Ending:
    if _hoped(after):
        return Ending(Form.STATEMENT, at + 1)  # 가면 됩니다, 가 줬으면 좋겠어
    if after == "안" or after.startswith(_MAY_NOT) or after in STOP_SOON:
        return Ending(Form.FORBID, at + (2 if after == "안" else 1))
    return Ending(Form.IF, at)


def _behind_plain(words: Sequence[str], at: int, after: str) -> Ending:
    if after in {"가지고", "갖고"}:
        return Ending(Form.THEN, at + 1)
    if after in {"줄", "주실"} and get(words, at + 1) == "수":
        return Ending(Form.IMPERATIVE, at + 3)  # 가 줄 수 있어?
    return Ending(Form.IMPERATIVE if after in AUXILIARY else Form.PLAIN, at)


def _behind_then(words: Sequence[str], at: int, after: str) -> Ending:
    if after.startswith("싶"):  # 가고 싶지 않다
        hoped_not = after.startswith("싶지") and get(words, at + 1) in NOT_WORDS
        return Ending(Form.FORBID, at + 2) if hoped_not else Ending(Form.STATEMENT, at + 1)
    return Ending(Form.ASIDE, at + 1) if _is(after, Role.BE) else Ending(Form.THEN, at)  # 가고 있다: what somebody is doing


def _behind_modifier(words: Sequence[str], at: int, after: str) -> Ending:
    if after in AFTER:
        return Ending(Form.THEN, at + 1)
    if after in _INSTEAD:
        return Ending(Form.FORBID_THEN, at + 1)
    if after in _ABLE and get(words, at + 1).startswith("없"):
        return Ending(Form.FORBID, at + 2)  # 갈 수 없다
    if after in _NEED:
        return Ending(Form.FORBID, at + 2)  # 갈 필요 없다
    if after in _THAT:
        last = get(words, at + 1)
        if _is(last, Role.STOP) or last in VERB_NOUNS:
            return Ending(Form.ASIDE, at + 1)  # 가는 것을 멈춰
        not_so = last.endswith(("지", "지는", "진")) and get(words, at + 2) in NOT_WORDS  # 가는 게 좋지 않다
        form = Form.FORBID if not_so or last in STOP_SOON else Form.IMPERATIVE if last.startswith(_BETTER) else Form.ASIDE
        return Ending(form, at + 2)
    return Ending(Form.IMPERATIVE if after.startswith(_WILL) else Form.ASIDE, at + 1)  # 갈 수 있다 is no command


def _hoped(word: str) -> bool:
    """가면 좋겠다, 가면 된다: what is behind a wish's if."""
    return word in _HOPED or word.startswith(_WISHED)


def _is(word: str, role: Role) -> bool:
    found = verb_at(word) if word else None
    return found is not None and found[0].role is role
