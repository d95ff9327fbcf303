"""What follows a Korean verb and changes it: 하지 마세요, 가야 합니다, 간 다음, 가면 안 돼, 돌아 주세요. Knows no verb's meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edge_vla.parse.korean.forms import NOT_WORDS, Form
from edge_vla.parse.korean.verbs import VERB_NOUNS, Role, verb_at
from edge_vla.parse.korean.words import AFTER, AUXILIARY, STOP_SOON
from edge_vla.parse.numerals import get

_INSTEAD = frozenset("대신 대신에".split())
_NEED = frozenset("필요 필요는 필요가 생각은".split())
_THAT = frozenset("것을 것은 것이 건 걸 게".split())  # 가는 것을 금지합니다, 가는 게 좋겠습니다
_BETTER = ("좋", "추천", "권장", "바람직")
_WILL = ("것", "거", "겁", "예정", "계획")  # 갈 것입니다
_MAY_NOT = ("안돼", "안되", "안됩", "안된")


class Ending(NamedTuple):
    """The form a verb comes to with what follows it, and the index behind that."""

    form: Form
    end: int


def ending_at(words: Sequence[str], at: int, form: Form) -> Ending:
    """A verb's form once its auxiliaries, which start at `at`, are read."""
    after = get(words, at)
    if form is Form.STEM:
        ending = Ending(Form.FORBID if after in NOT_WORDS else Form.FORBID_THEN, at + 1)
    elif form is Form.IF and (after == "안" or after.startswith(_MAY_NOT) or after in STOP_SOON):
        ending = Ending(Form.FORBID, at + (2 if after == "안" else 1))
    elif form is Form.NEED:
        ending = Ending(Form.IMPERATIVE, at + (1 if _is(after, Role.DO) or after in {"돼", "됩니다", "된다"} else 0))
    elif form is Form.MODIFIER:
        ending = _behind_modifier(words, at, after)
    elif form is Form.PLAIN and after in {"줄", "주실"} and get(words, at + 1) == "수":
        ending = Ending(Form.IMPERATIVE, at + 3)  # 가 줄 수 있어?
    elif form is Form.PLAIN and after in AUXILIARY:
        ending = Ending(Form.IMPERATIVE, at)
    elif form is Form.THEN and _is(after, Role.BE):
        ending = Ending(Form.ASIDE, at + 1)  # 가고 있다: what somebody is doing
    else:
        ending = Ending(form, at)
    end = ending.end
    while get(words, end) in AUXILIARY:
        end += 1
    return Ending(ending.form, min(end, len(words)))


def nominal(after: str) -> bool:
    """Whether this word makes a verb of the modifier before it: 간 다음, 갈 것, 가는 대신; else it is a noun's."""
    return after in AFTER or after in _INSTEAD or after in _NEED or after in _THAT or after == "수" or after.startswith(_WILL)


def is_verb(word: str) -> bool:
    """Whether a word is a verb's form or its noun."""
    return bool(word) and (word in VERB_NOUNS or verb_at(word) is not None)


def _behind_modifier(words: Sequence[str], at: int, after: str) -> Ending:
    if after in AFTER:
        return Ending(Form.THEN, at + 1)
    if after in _INSTEAD:
        return Ending(Form.FORBID_THEN, at + 1)
    if after in _NEED:
        return Ending(Form.FORBID, at + 2)  # 갈 필요 없다
    if after in _THAT:
        last = get(words, at + 1)
        form = Form.FORBID if last in STOP_SOON else Form.IMPERATIVE if last.startswith(_BETTER) else Form.ASIDE
        return Ending(form, at + 2)
    return Ending(Form.IMPERATIVE if after.startswith(_WILL) else Form.ASIDE, at + 1)  # 갈 수 있다 is no command


def _is(word: str, role: Role) -> bool:
    found = verb_at(word) if word else None
    return found is not None and found[0].role is role
