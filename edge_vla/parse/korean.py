"""Korean sentences to commands, verb by verb. Knows words and their order; knows no speeds.

The verb ends its clause, so a sentence is read left to right: what stands before a verb is its own. A statement with
somebody else as its subject (사람이 왼쪽으로 갑니다) and a sentence without a known verb are descriptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edge_vla.parse.command import Command, Cue
from edge_vla.parse.korean_args import Args, direction_of, sideways_of, take
from edge_vla.parse.korean_forms import NOT_THEN_WORDS, NOT_WORDS, Form
from edge_vla.parse.korean_kinds import build, build_bare
from edge_vla.parse.korean_words import (
    AFTER,
    ASIDE_ENDINGS,
    AUXILIARY,
    CONDITION_NOUNS,
    CORRECTIONS,
    FILLERS,
    LITTLE,
    NOT_THIS_BUT,
    PACES,
    QUESTION_WORDS,
    STOP_SOON,
    VERB_NOUNS,
    Role,
    Verb,
    verb_at,
)
from edge_vla.parse.quantities import UNITS, measure_at, merge
from edge_vla.types import ActionType

_LONGEST_EOJEOL = 24  # syllables; longer ones are nobody's command
_COMMANDING = frozenset({Form.IMPERATIVE, Form.STATEMENT, Form.PLAIN, Form.THEN, Form.SO, Form.WHILE})


def is_korean(tokens: Sequence[str]) -> bool:
    """Whether any token holds a Hangul syllable."""
    return any("가" <= char <= "힣" for token in tokens for char in token)


def read(tokens: Sequence[str], *, question: bool = False) -> list[Command]:
    """The commands of one sentence, in order; negated, conditional and limiting ones are marked, not left out."""
    words = _split_glued(tokens)
    if any(word in QUESTION_WORDS for word in words):
        return []
    reader = _Reader(words, question=question)
    while reader.at < len(words):
        reader.step()
    reader.finish()
    return reader.found


@dataclass(slots=True)
class _Reader:
    words: list[str]
    question: bool
    at: int = 0
    args: Args = field(default_factory=Args)
    noun: Verb | None = None  # a verb's noun waiting: 회전, 회전을
    since: int = 0  # where this clause's words begin
    not_: bool = False  # 안, 못
    conditional: bool = False
    replaces: bool = False
    found: list[Command] = field(default_factory=list)

    def step(self) -> None:
        """One eojeol, or one quantity."""
        word = self.words[self.at]
        quantity = measure_at(self.words, self.at)
        if quantity is not None:
            self.args.measure = merge(self.args.measure, quantity.measure)
            self.at = quantity.end
        elif not (self._mark(word) or self._noun(word) or self._verb(word)):
            if self.noun and word not in PACES | LITTLE | FILLERS and direction_of(word) is None:
                self._compound()
            take(word, self._get(1), self.args, before_verb=self._is_verb(self._get(1)))
            self.at += 1

    def finish(self) -> None:
        """What is left at the end: a noun that is a command, or a direction alone."""
        if self.noun:
            self._close(self.noun, Form.STATEMENT)
        self._bare()
        if self.found and self.found[-1].cue is Cue.MANNER:
            self.found[-1] = replace(self.found[-1], cue=Cue.PLAIN)

    def _mark(self, word: str) -> bool:
        """Words that change what is around them."""
        if word == ",":
            self._flush()
        elif word in CORRECTIONS and self.at == self.since:
            self.replaces = True
        elif word in NOT_THIS_BUT:
            self._drop()
        elif word == "없이":
            self._forbid(Cue.LIMITS)
        elif word in STOP_SOON:
            self._forbid(Cue.PLAIN)
        elif word in {"안", "못"} and self._is_verb(self._get(1)):
            self.not_ = True
        elif word in {"때", "때는", "때마다", "경우", "경우에", "경우에는"} or (word.endswith("면") and self._conditional(word)):
            self.conditional = True
            self.args = Args()
        elif (word.endswith(tuple(ASIDE_ENDINGS)) and verb_at(word) is None) or word == "때까지":
            self.args = Args()
        else:
            return False
        self.at += 1
        return True

    def _noun(self, word: str) -> bool:
        """회전, 이동을: a verb's noun, a command of its own unless more follows."""
        bare = word[:-1] if word[-1] in "을를은는도만" and word not in VERB_NOUNS else word
        if bare not in VERB_NOUNS or (self._get(1) == "것" and bare == word):
            return False
        if self.noun:
            self._close(self.noun, Form.THEN)
        self.noun = VERB_NOUNS[bare]
        self.at += 1
        if self._get(0) in AFTER:
            self._close(self.noun, Form.THEN)
            self.at += 1
        return True

    def _verb(self, word: str) -> bool:
        found = verb_at(word)
        if found is None:
            return False
        verb, form = found
        joined = verb_at(word + self._get(1)) if form is Form.PLAIN and self._get(1) else None
        if joined and joined[0].role is not Role.DO:
            (verb, form), self.at = joined, self.at + 1  # 찾아 가, 멈춰 서
        if form is Form.STEM and self._get(1) not in NOT_WORDS | NOT_THEN_WORDS:
            return False
        if form is Form.MODIFIER and not self._nominal():
            return self._relative(word)
        if word[-1:] in {"감", "봄"} and self._get(1) not in {"", ","}:
            return False
        self._predicate(verb, form)
        return True

    def _predicate(self, verb: Verb, form: Form) -> None:
        """A verb with its auxiliaries: 하지 마세요, 가야 합니다, 간 다음, 돌아 주세요."""
        self.at += 1
        after = self._get(0)
        if form is Form.STEM:
            form = Form.FORBID if after in NOT_WORDS else Form.FORBID_THEN
            self.at += 1
        elif form is Form.IF and after in STOP_SOON | {"안"}:
            form, self.at = Form.FORBID, self.at + (2 if after == "안" else 1)
        elif form is Form.NEED:
            form, self.at = Form.IMPERATIVE, self.at + (1 if self._is_do(after) or after in {"돼", "됩니다", "한다"} else 0)
        elif form is Form.MODIFIER:
            form = self._after_modifier(after)
        elif form is Form.PLAIN and after in AUXILIARY:
            form = Form.IMPERATIVE
        elif form is Form.THEN and (following := verb_at(after)) and following[0].role is Role.BE:
            form, self.at = Form.ASIDE, self.at + 1  # 가고 있다: what somebody is doing
        while self._get(0) in AUXILIARY:
            self.at += 1
        self._close(verb, form)

    def _after_modifier(self, after: str) -> Form:
        """간 다음 · 갈 것 · 갈 필요 없다 · 가는 대신 · 갈 수 있다."""
        self.at += 1
        if after in AFTER:
            return Form.THEN
        if after in {"대신", "대신에"}:
            return Form.FORBID_THEN
        if after in {"필요", "필요는", "필요가", "생각은"}:
            self.at += 1
            return Form.FORBID
        if after in {"것을", "것은", "건", "걸", "것이", "게", "게요"}:
            last = self._get(0)
            self.at += 1
            return Form.FORBID if last in STOP_SOON else (Form.IMPERATIVE if last.startswith(("좋", "추천", "권장", "바람직")) else Form.ASIDE)
        return Form.IMPERATIVE if after.startswith(("것", "거", "겁", "예정", "계획")) else Form.ASIDE

    def _close(self, verb: Verb, form: Form) -> None:
        """A verb is complete: make its command of what was said before it."""
        args, words = self.args, " ".join(self.words[self.since : self.at])
        if verb.role is Role.DO and self.noun:
            verb = self.noun
        stays = verb.role is Role.BE and args.stay and form in {Form.IMPERATIVE, Form.STATEMENT, Form.PLAIN}
        self.args, self.noun, self.since = Args(), None, self.at
        negated, self.not_ = self.not_ or form in {Form.FORBID, Form.FORBID_THEN}, False
        if form is Form.PURPOSE:
            self.args = replace(args, loose=[])  # 컵을 찾으러 가: the cup stays what it is about
            return
        if form is Form.IF:
            self.conditional = True
        if not (form in _COMMANDING or negated) or (self.question and form in {Form.STATEMENT, Form.PLAIN}):
            return
        if args.subject and form in {Form.STATEMENT, Form.PLAIN, Form.THEN, Form.SO, Form.WHILE} and not negated:
            return
        command = Command(ActionType.STOP) if stays else build(verb, args)
        if command is not None:
            self._add(replace(command, negated=negated, words=words), form)

    def _add(self, command: Command, form: Form) -> None:
        last = self.found[-1] if self.found else None
        if last and last.cue is Cue.MANNER:  # the clause before said how: 피해서, 돌면서
            self.found[-1] = replace(last, cue=Cue.PLAIN)
            if command.assumed and not command.negated:
                return  # 피해서 가: going is part of it
            if not command.negated:
                self.found.pop()
        if self.conditional and command.kind is not ActionType.STOP and not command.negated:
            command = replace(command, cue=Cue.CONDITIONAL)
        elif self.replaces:
            command, self.replaces = replace(command, cue=Cue.REPLACES), False
        elif form is Form.WHILE or (form in {Form.SO, Form.PLAIN} and command.kind is ActionType.AVOID):
            command = replace(command, cue=Cue.MANNER)
        self.found.append(command)

    def _forbid(self, cue: Cue) -> None:
        """회전 금지, 회전 없이."""
        if self.noun:
            command = build(self.noun, self.args)
            if command:
                self.found.append(replace(command, negated=True, cue=cue, words=" ".join(self.words[self.since : self.at + 1])))
        self.args, self.noun, self.since = Args(), None, self.at + 1

    def _drop(self) -> None:
        """왼쪽 말고, 컵이 아니라: not this."""
        self.args, self.noun = Args(measure=self.args.measure, pace=self.args.pace), None

    def _flush(self) -> None:
        """A comma: close what is complete, forget loose nouns."""
        if self.noun:
            self._close(self.noun, Form.STATEMENT)
        elif self.args.only_ways and direction_of(self._get(1)):
            self._bare()
        else:
            self.args.clear_nouns()
        self.since = self.at + 1 if not self.args.ways else self.since

    def _bare(self) -> None:
        command = build_bare(self.args) if not self.question else None
        if command:
            self._add(replace(command, words=" ".join(self.words[self.since : self.at])), Form.STATEMENT)
        self.args = Args()

    def _compound(self) -> None:
        """이동 경로를: the noun belongs to the next one and is no command."""
        self.noun = None
        self.args.loose.append(self.words[self.at - 1])

    def _relative(self, word: str) -> bool:
        """A verb before a noun, 왼쪽으로 가는 사람을: what was said so far is about that noun."""
        if word[-1] in "을를" or self._is_verb(self._get(1)):
            return False  # 집을 (the house), 돌 (a stone)
        side = self.args.side
        self.args = Args(side=side)
        self.at += 1
        return True

    def _nominal(self) -> bool:
        after = self._get(1)
        return after in AFTER | {"대신", "대신에", "필요", "필요는", "필요가", "수", "것", "거", "걸", "건", "게"} or after.startswith(
            ("것", "거예요", "거야", "겁니다", "예정", "계획")
        )

    def _conditional(self, word: str) -> bool:
        return len(word) > 1 and word not in CONDITION_NOUNS and word not in FILLERS and verb_at(word) is None and word[:-1] not in VERB_NOUNS

    def _is_verb(self, word: str) -> bool:
        return bool(word) and (word in VERB_NOUNS or verb_at(word) is not None)

    def _is_do(self, word: str) -> bool:
        found = verb_at(word) if word else None
        return found is not None and found[0].role is Role.DO

    def _get(self, ahead: int) -> str:
        return self.words[self.at + ahead] if self.at + ahead < len(self.words) else ""


def _split_glued(tokens: Sequence[str]) -> list[str]:
    """Spaces many people leave out: 왼쪽으로돌아, 컵을잡아, 도회전해 (behind a number), 이동금지."""
    words: list[str] = []
    for token in tokens:
        if len(token) < 3 or len(token) > _LONGEST_EOJEOL or verb_at(token) or token in VERB_NOUNS or token in FILLERS:
            words.append(token)
        else:
            words.extend(_glued(token))
    return words


def _glued(token: str) -> tuple[str, ...]:
    for cut in range(len(token) - 1, 0, -1):
        first, rest = token[:cut], token[cut:]
        if rest in STOP_SOON and first in VERB_NOUNS:
            return first, rest
        if verb_at(rest) is None and rest not in VERB_NOUNS:
            continue
        direction = direction_of(first)
        marked = len(first) > 1 and len(rest) > 1 and first.endswith(("을", "를", "까지"))
        if (direction and direction.sense != "at") or sideways_of(first) or first in UNITS or first in PACES or marked:
            return first, rest
    return (token,)

