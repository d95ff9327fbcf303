"""What a person at the robot is told and asked. Nothing moves before they have agreed."""

from __future__ import annotations

from edge_vla.errors import ConfigError

WORD = "drive"


def ask_to_move(plan: str, *, yes: bool) -> None:
    """Say what is about to move and wait for the word. Raises ConfigError without it, and where nobody can be asked."""
    print(plan, flush=True)
    if yes:
        return
    if _answer(f"Type {WORD!r} to go, anything else leaves it: ", "--yes") != WORD:
        raise ConfigError(f"not confirmed: nothing moved (the word is {WORD!r}, or --yes beforehand)")


def ask_number(question: str, option: str) -> float:
    """A figure that a person has measured. Raises ConfigError for what is none, and where nobody can be asked."""
    answer = _answer(f"{question}: ", option)
    try:
        return float(answer.replace(",", "."))
    except ValueError as err:
        raise ConfigError(f"{answer!r} is no number: measure and use {option}") from err


def _answer(question: str, option: str) -> str:
    try:
        return input(question).strip()
    except EOFError as err:
        raise ConfigError(f"nobody is there to be asked: use {option}") from err
