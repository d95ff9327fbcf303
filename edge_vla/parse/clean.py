"""A reply to plain tokens: unicode folded, prompt echo and labels taken off, cut into sentences. Knows no command.

Everything here looks at each character a bounded number of times; no pattern can fail after an unbounded run.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MAX_CHARS = 1 << 20  # 1 MB of ASCII; longer replies are refused unread
_FOLDED_KEPT = 20_000  # characters; hostile text has a million different ones
_ENDS = {".", "!", "?", ";", "\n"}
_NOISE = set("\"'`*#()[]{}<>|~^\\=+$&@%-")  # markdown, quotes and brackets; "-" here is a bullet, a minus is part of its number
_TOKEN = re.compile(
    r"(?:(?<![^\s:=(,\[])-)?(?:\d+(?:[.,]\d+)?|(?<![\d.])\.\d+)(?:e[+-]?\d+)?"  # 0.5  -1  .5  1e308
    r"|[^\W\d_]+(?:'[^\W\d_]+)?"  # a word, an eojeol, don't
    r"|[^\w ]"
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")  # TurnLeft
_TAG = re.compile(r"<(/?)\|?([a-z가-힣 ]{1,20})\|?>")
_ARGUMENTS = re.compile(r"\((?=[a-z가-힣 ]{1,20}[=:])")  # go_forward(distance=0.5)
_SPELLINGS = {
    "°": " degrees ", "º": " degrees ", "˚": " degrees ", "⁄": "/", "∕": "/", "÷": "/", "π": " pi ", "—": " , ", "–": "-",
    "‐": "-", "‑": "-", "−": "-", "‘": "'", "’": "'", "ʼ": "'", "`": "'", "…": " . ", "。": ".", "、": ",", "→": " , ", "_": " ", "\t": " ",
    "\n": "\n", "\r": "\n", "\v": "\n", "\f": "\n", "\u2028": "\n", "\u2029": "\n",
}  # fmt: skip
_SHORT = {
    "won't": "will not", "can't": "can not", "cannot": "can not", "shan't": "shall not", "ain't": "is not", "let's": "let us",
    "lets": "let us", "dont": "do not", "cant": "can not", "wont": "will not", "mustnt": "must not", "shouldnt": "should not",
    "gonna": "going to", "wanna": "want to", "gotta": "have to", "anticlockwise": "counterclockwise", "ccw": "counterclockwise",
    "cw": "clockwise", "there's": "there is", "it's": "it is", "that's": "that is", "what's": "what is", "here's": "here is",
    "who's": "who is", "pls": "please", "plz": "please", "thx": "thanks", "fwd": "forward", "bwd": "backward",
}  # fmt: skip
_SUFFIXES = {"n't": "not", "'ll": "will", "'m": "am", "'re": "are", "'d": "would", "'ve": "have", "'s": ""}

ACTION_LABELS = frozenset(
    """
    action actions command commands cmd tool skill function answer decision instruction motion 행동 동작 명령 액션 답 답변 조치
""".split()
)
_FIELD_UNITS = {
    "distance": "m", "거리": "m", "angle": "degrees", "각도": "degrees", "heading": "degrees", "m": "m", "meters": "m", "metres": "m",
    "cm": "cm", "mm": "mm", "degrees": "degrees", "deg": "degrees", "radians": "rad", "rad": "rad", "seconds": "s", "미터": "m",
    "센티미터": "cm", "도": "degrees",
}  # fmt: skip
_CONTAINERS = frozenset("params parameters arguments args kwargs 매개변수 인자".split())
_BARE_FIELDS = frozenset("amount value magnitude 값".split())  # a number of what the action counts in
FIELD_LABELS = frozenset("direction side target object speed 방향 대상 목표 물체 속도".split()) | _FIELD_UNITS.keys() | _BARE_FIELDS
ASIDE_LABELS = frozenset(
    """
    thought thoughts thinking reasoning reason observation explanation description scene caption note why context question
    confidence image 이유 관찰 설명 생각 근거 장면 질문 신뢰도
    """.split()
)
_PLACES = frozenset(
    "left right front ahead back behind center centre middle forward 왼쪽 오른쪽 앞 뒤 앞쪽 뒤쪽 정면 전방 후방 좌측 우측".split()
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """The tokens of one sentence, commas included, and whether it ends in a question mark."""

    tokens: tuple[str, ...]
    question: bool = False


class _Folding(dict[int, str]):
    """What each character becomes; worked out once for the characters that come first."""

    def __missing__(self, code: int) -> str:
        folded = _fold_char(chr(code))
        if len(self) < _FOLDED_KEPT:
            self[code] = folded
        return folded


def _fold_char(char: str) -> str:
    if char in _SPELLINGS:
        return _SPELLINGS[char]
    category = unicodedata.category(char)
    if category[0] in "MC":  # combining marks, controls, zero-width, surrogates, unassigned
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category[0] == "Z":
        return " "
    plain = unicodedata.normalize("NFKC", char).lower()
    plain = "".join(_SPELLINGS.get(c, c) for c in plain if unicodedata.category(c)[0] not in "MC")
    return f" {plain} " if category == "No" else plain


_FOLD = _Folding()


def _untagged(tag: re.Match[str]) -> str:
    """<action> opens a label, </action> ends its line, <eos> and <|im_end|> end a clause."""
    name = tag[2].strip()
    if tag[1]:
        return "\n"
    label = "thought" if name.startswith("think") else name
    return f" {label} : " if label in ACTION_LABELS or label == "thought" else " , "


def fold(text: str) -> str:
    """Lower case, compatibility forms, decimals of any script to ASCII; marks and invisible characters gone.

    Character by character first: `normalize` alone sorts runs of combining marks in quadratic time.
    """
    folded = unicodedata.normalize("NFC", _CAMEL.sub(" ", text).translate(_FOLD))
    return _ARGUMENTS.sub(" , ", _TAG.sub(_untagged, folded)).replace(" - ", " , ")


def without_prompt(folded: str, prompt: str) -> str:
    """What comes after the prompt's echo. One word alone ("drive") is an echo only where a line or a colon ends it."""
    echo, body = fold(prompt).strip(), folded.lstrip()
    if not echo or not body.startswith(echo):
        return folded
    rest = body[len(echo) :]
    ended = not rest or rest[0] in ":\n" or echo[-1] in ":?.\n"
    whole = " " in echo and not rest[:1].isalnum()
    return rest if ended or whole else folded


def sentences(folded: str) -> list[Sentence]:
    """The sentences that may hold a command. Where a reply labels its action, only that label's value counts."""
    runs = _runs(folded)
    if any(run.label in ACTION_LABELS for run in runs):
        kept = _labelled(runs)
    else:
        kept = _unlabelled(runs)
    return [Sentence(tuple(run.tokens), run.question) for run in kept if run.tokens]


@dataclass(slots=True)
class _Run:
    label: str
    tokens: list[str]
    question: bool = False
    block: bool = False  # the label stood alone on its line: the lines below are its value


def _runs(folded: str) -> list[_Run]:
    """Tokens up to a full stop, a line's end or the next label, with the label they stand under."""
    runs = [_Run("", [])]
    item = 0
    for token in _tokens(folded):
        run = runs[-1]
        if token == "." and run.tokens[-1:] == [str(item + 1)] and (item or len(run.tokens) == 1):
            del run.tokens[-1]  # "1. turn left 2. go forward": an item's number is no quantity
            item += 1
        if token in _ENDS:
            run.question = token == "?"
            runs.append(_after_end(run, token))
        elif token in {":", "="}:
            _relabel(runs)
        else:
            run.tokens.append(token)
    return runs


def _after_end(run: _Run, token: str) -> _Run:
    """The label that goes on behind a full stop or a line's end."""
    block = run.block or (run.label in ACTION_LABELS and not run.tokens and token == "\n")
    goes_on = block or (run.label in ASIDE_LABELS and token != "\n")
    return _Run(run.label if goes_on else "", [], block=block)


def _relabel(runs: list[_Run]) -> None:
    """A colon: the words before it are a label, and stay out of the command, unless they are none we know."""
    tokens = runs[-1].tokens
    label = tokens[-1] if tokens else ""
    if label in ACTION_LABELS or label in FIELD_LABELS or label in ASIDE_LABELS:
        start = len(tokens) - 1
        while start and tokens[start - 1] != "," and len(tokens) - start < 3:
            start -= 1
        del tokens[start:]
        runs.append(_Run(label, []))
    elif len(tokens) == 1 and label in _PLACES:  # "left: a chair" tells what is there
        tokens.clear()
        runs.append(_Run("scene", []))
    elif label in _CONTAINERS:  # `"params": {"angle": 30}`
        del tokens[-1]
    elif len(tokens) == 2 and label[-1].isdigit():  # "step 1:"
        tokens.clear()
    else:
        tokens.append(",")


def _unlabelled(runs: list[_Run]) -> list[_Run]:
    kept: list[_Run] = []
    for run in runs:
        if run.label in FIELD_LABELS and kept:
            kept[-1].tokens.extend(_field(run))
        elif run.label not in ASIDE_LABELS and run.tokens:
            kept.append(run)
    return kept


def _labelled(runs: list[_Run]) -> list[_Run]:
    """Each action's value with the fields around it: `{"direction": "left", "action": "turn"}` is "turn left"."""
    waiting: list[str] = []
    actions: list[_Run] = []
    for run in runs:
        if run.label in FIELD_LABELS:
            (actions[-1].tokens if actions else waiting).extend(_field(run))
        elif run.label in ACTION_LABELS and run.tokens:
            actions.append(_Run("", [*_trim(run.tokens), *waiting], run.question))
            waiting = []
    return actions


def _field(run: _Run) -> list[str]:
    """A field's value, with the unit its name implies: `"distance": 0.5`."""
    value = _trim(run.tokens)
    if len(value) > 2 and value[1] == "," and value[3:4] in ([], [","]) and value[0][-1].isdigit():
        del value[1:]  # behind it is a field nobody knows: `"distance": 0.5, "foo": "bar"`
    if len(value) == 1 and value[0][-1].isdigit():
        unit = _FIELD_UNITS.get(run.label)
        return [*value, unit] if unit else value if run.label in _BARE_FIELDS else []
    return value


def _trim(tokens: list[str]) -> list[str]:
    end = len(tokens)
    while end and tokens[end - 1] == ",":
        end -= 1
    return tokens[:end]


def _tokens(folded: str) -> list[str]:
    """Words with contractions spelt out, numbers, and the punctuation that means something."""
    found: list[str] = []
    for token in _TOKEN.findall(folded):
        if token in _NOISE and token not in {"=", "%"}:
            continue
        if token == "clockwise" and found and found[-1] in {"counter", "anti"}:
            found[-1] = "counterclockwise"
            continue
        if "'" in token or token in _SHORT:
            found.extend(_spell_out(token))
        else:
            found.append(token)
    return found


def _spell_out(word: str) -> list[str]:
    if word in _SHORT:
        return _SHORT[word].split()
    for suffix, full in _SUFFIXES.items():
        if word.endswith(suffix):
            return [part for part in (word[: -len(suffix)], full) if part]
    return [word]
