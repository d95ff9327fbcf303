"""One Korean sentence, eojeol by eojeol. Knows what endings and auxiliaries do to a clause; `kinds` knows the verbs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from edge_vla.parse.command import Command, Cue
from edge_vla.parse.korean.args import Args, direction_of, take
from edge_vla.parse.korean.endings import ending_at, is_verb, nominal
from edge_vla.parse.korean.forms import NOT_IF_WORDS, NOT_THEN_WORDS, NOT_WORDS, Form, is_past
from edge_vla.parse.korean.kinds import build, build_bare
from edge_vla.parse.korean.verbs import VERB_NOUNS, Role, Verb, verb_at
from edge_vla.parse.korean.words import (
    AFTER,
    ASIDE_ENDINGS,
    AT_ONCE,
    BEFORE,
    CONDITION_NOUNS,
    CORRECTIONS,
    EVIDENTLY,
    FILLERS,
    LITTLE,
    ME_AND_ROBOT,
    NOT_THIS_BUT,
    PACES,
    PICTURES,
    STOP_SOON,
    THEREFORE,
    WHENEVER,
)
from edge_vla.parse.numerals import get
from edge_vla.parse.quantities import measure_at, merge
from edge_vla.types import ActionType

_COMMANDING = frozenset({Form.IMPERATIVE, Form.STATEMENT, Form.PLAIN, Form.THEN, Form.SO, Form.WHILE})
_GOES_ON = frozenset({Form.THEN, Form.SO, Form.WHILE})
_TELLING = _COMMANDING - {Form.IMPERATIVE}  # forms that tell what somebody does as well as what to do
_ENDED_ONLY = ("감", "봄")  # 감 찾아: a persimmon, not "going"
_NOUN_ENDING = re.compile("(?:[을를은는도만]|이?요|입니다)$")
_NEED = frozenset("필요 필요가 필요는".split())
_SUBJECT_ENDING = re.compile("[이가]$")  # 회전이 필요하다


class Reader:
    """Reads a sentence once, left to right."""

    def __init__(self, words: Sequence[str], *, question: bool) -> None:
        self._words = words
        self._question = question
        self._at = 0
        self._since = 0  # where this clause's words begin
        self._args = Args()
        self._noun: Verb | None = None  # a verb's noun waiting for what becomes of it: 회전, 회전을
        self._not = False  # 안, 못
        self._conditional = False
        self._replaces = False
        self._found: list[Command] = []
        self._open = False  # the last clause goes on into the next: 가고

    def read(self) -> list[Command]:
        """The commands, in order."""
        while self._at < len(self._words):
            self._step()
        if self._noun:
            self._close(self._noun, Form.STATEMENT)
        self._bare()
        if self._open and self._words and is_past(self._words[-1]):
            self._found.clear()  # 간 뒤 넘어졌다: all of it is told
        if self._found and self._found[-1].cue is Cue.MANNER:
            self._found[-1] = replace(self._found[-1], cue=Cue.PLAIN)
        return self._found

    def _step(self) -> None:
        """One eojeol, or one quantity."""
        word = self._words[self._at]
        quantity = measure_at(self._words, self._at)
        if quantity is not None:
            self._args.measure = merge(self._args.measure, quantity.measure)
            self._at = quantity.end
        elif not (self._mark(word) or self._verb_noun(word) or self._verb(word)):
            if self._noun and not (word in PACES or word in LITTLE or word in FILLERS or direction_of(word)):
                self._noun = None  # 이동 경로를: the noun belongs to the next one and is no command
                self._args.loose.append(self._words[self._at - 1])
            after = get(self._words, self._at + 1)
            counted = bool(after) and measure_at(self._words, self._at + 1) is not None
            take(word, after, self._args, before_verb=counted or is_verb(after))
            self._at += 1

    def _mark(self, word: str) -> bool:
        """Words that change what is around them."""
        if word == ",":
            self._comma()
        elif word in CORRECTIONS and self._at == self._since:
            self._replaces = True
        elif word in NOT_THIS_BUT:  # 왼쪽 말고
            self._args, self._noun = Args(measure=self._args.measure, pace=self._args.pace), None
        elif word == "없이":
            self._forbid(Cue.LIMITS)
        elif self._forbids(word):
            self._forbid(Cue.PLAIN)
        elif word in {"안", "못"} and is_verb(get(self._words, self._at + 1)):
            self._not = True
        elif self._noun and word in BEFORE:
            self._args, self._noun = Args(), None  # 전진 전에
        elif self._tells_why(word):
            self._args = Args()
        elif word in WHENEVER or self._is_condition(word):
            self._conditional, self._args = True, Args()
        elif not (word in THEREFORE and self._at == self._since):
            return False
        self._at += 1
        return True

    def _forbids(self, word: str) -> bool:
        """이동 금지, and behind a verb's noun 꼼짝 마, 회전이 필요 없다."""
        needless = word.startswith("없") and get(self._words, self._at - 1) in _NEED
        return word in STOP_SOON or (self._noun is not None and (needless or (word in NOT_WORDS and word != "말")))

    def _tells_why(self, word: str) -> bool:
        """The end of an aside: 이미지를 보면, 상황에 따르면, 보일 때까지, 있으니까."""
        shown = word in EVIDENTLY or (word == "보면" and self._args.noun in PICTURES)
        return shown or word == "때까지" or (word.endswith(ASIDE_ENDINGS) and verb_at(word) is None)

    def _verb_noun(self, word: str) -> bool:
        """회전, 이동을: a verb's noun, a command of its own unless more follows."""
        bare = word if word in VERB_NOUNS else _NOUN_ENDING.sub("", word)
        if get(self._words, self._at + 1).startswith(("필요", "적절", "적합", "바람직")):
            bare = _SUBJECT_ENDING.sub("", bare)
        if bare not in VERB_NOUNS:
            return False
        if self._noun and VERB_NOUNS[bare].role is not Role.STOP:  # 이동 정지 is one command
            self._close(self._noun, Form.THEN)
        self._noun = VERB_NOUNS[bare]
        self._at += 1
        if get(self._words, self._at) in AFTER:  # 전진 후
            self._close(self._noun, Form.THEN)
            self._at += 1
        return True

    def _verb(self, word: str) -> bool:
        found = verb_at(word)
        if found is None:
            return False
        verb, form = found
        after = get(self._words, self._at + 1)
        joined = verb_at(word + after) if form is Form.PLAIN and after else None
        if joined and joined[0].role is not Role.DO:
            (verb, form), self._at = joined, self._at + 1  # 찾아 가, 멈춰 서
        elif word.endswith(("라고", "자고")) and after not in {"", ","} and verb.role is not Role.STOP:
            form = Form.ASIDE  # 출발하라고 할 때
        elif form is Form.STEM and after not in NOT_WORDS and after not in NOT_THEN_WORDS and after not in NOT_IF_WORDS:
            return False  # 잡지: a magazine
        elif word in _ENDED_ONLY and after not in {"", ","}:
            return False
        elif form is Form.MODIFIER and not nominal(after):
            return self._relative(word, after)
        ending = ending_at(self._words, self._at + 1, form)
        self._at = ending.end
        self._close(verb, ending.form)
        return True

    def _relative(self, word: str, after: str) -> bool:
        """A verb before a noun, 왼쪽으로 가는 사람을: what was said so far is about that noun."""
        if word[-1] in "을를" or is_verb(after):
            return False  # 집을 (the house), 돌 (a stone)
        self._args = Args(side=self._args.side)
        self._at += 1
        return True

    def _close(self, verb: Verb, form: Form) -> None:
        """A verb is complete: make its command of what was said before it."""
        args, words = self._args, " ".join(self._words[self._since : self._at])
        if self._noun and (verb.role is Role.DO or self._noun.role is Role.STOP or (verb.role is Role.GO and not args.ways)):
            verb = self._noun  # 회전을 해, 그만 움직여, 직진 가
        self._open = form in _GOES_ON
        negated = self._not or form in {Form.FORBID, Form.FORBID_THEN}
        self._args, self._noun, self._since, self._not = Args(), None, self._at, False
        if form is Form.PURPOSE:
            self._args = args  # 컵을 찾으러 가: the cup stays what it is about
        elif form is Form.TOLD:
            self._found.clear()  # 돈 뒤 갔다
        elif form is Form.IF:
            self._conditional = True
        elif negated or (form in _COMMANDING and not self._tells(args, form)):
            stays = verb.role is Role.BE and args.stay and not args.subject  # 가만히 있어
            command = Command(ActionType.STOP) if stays else build(verb, args)
            if command is not None:
                self._add(replace(command, negated=negated, words=words), form)

    def _tells(self, args: Args, form: Form) -> bool:
        """Whether a clause tells what somebody else does, or asks."""
        return form in _TELLING and bool(args.subject or (self._question and form in {Form.STATEMENT, Form.PLAIN}))

    def _add(self, command: Command, form: Form) -> None:
        last = self._found[-1] if self._found else None
        if last and last.cue is Cue.MANNER:  # the clause before said how: 피해서, 돌면서
            self._found[-1] = replace(last, cue=Cue.PLAIN)
            if command.assumed and not command.negated:
                return  # 피해서 가: going is part of it
            if not command.negated:
                self._found.pop()
        if self._conditional and command.kind is not ActionType.STOP and not command.negated:
            command = replace(command, cue=Cue.CONDITIONAL)
        elif self._replaces:
            command, self._replaces = replace(command, cue=Cue.REPLACES), False
        elif form is Form.WHILE or (form in {Form.SO, Form.PLAIN} and command.kind is ActionType.AVOID):
            command = replace(command, cue=Cue.MANNER)
        self._found.append(command)

    def _forbid(self, cue: Cue) -> None:
        """회전 금지, 회전 없이."""
        command = build(self._noun, self._args) if self._noun else None
        if command:
            words = " ".join(self._words[self._since : self._at + 1])
            self._found.append(replace(command, negated=True, cue=cue, words=words))
        self._args, self._noun, self._since = Args(), None, self._at + 1

    def _comma(self) -> None:
        """Closes what is complete and forgets loose nouns; 왼쪽으로, 90도 돌아 goes on."""
        if self._noun:
            self._close(self._noun, Form.STATEMENT)
        elif self._args.only_ways and direction_of(get(self._words, self._at + 1)):
            self._bare()
        else:
            self._args.clear_nouns()
        if not self._args.ways:
            self._since = self._at + 1

    def _bare(self) -> None:
        command = None if self._question else build_bare(self._args)
        if self._args.only_detail and self._found and not self._found[-1].negated:  # 우회전, 45도
            last, args = self._found[-1], self._args
            pace = args.pace if args.pace != 1.0 else last.pace
            self._found[-1] = replace(last, measure=merge(last.measure, args.measure), pace=pace)
        elif command:
            self._add(replace(command, words=" ".join(self._words[self._since : self._at])), Form.STATEMENT)
        self._args = Args()

    def _is_condition(self, word: str) -> bool:
        """보이면, 없으면: a verb nobody knows, in its if-form."""
        if word in AT_ONCE:
            before = get(self._words, self._at - 1)
            return before.endswith("는") and before not in FILLERS and self._args.subject is None and before[:-1] not in ME_AND_ROBOT
        known = word in CONDITION_NOUNS or word in FILLERS or word[:-1] in VERB_NOUNS or verb_at(word) is not None
        return len(word) > 1 and word.endswith("면") and not known
