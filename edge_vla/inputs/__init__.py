"""The buttons this package can read, by name. A new one is one file and one line here; tests/inputs/ then tests it by itself."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from importlib import import_module

from edge_vla.errors import ConfigError
from edge_vla.inputs.button import Button, InputGone

__all__ = ["INPUTS", "Button", "InputGone", "make_button"]

INPUTS: dict[str, str] = {  # imported when it is asked for
    "evdev": "edge_vla.inputs.evdev:EvdevButton",
    "gpio": "edge_vla.inputs.gpio:GpioButton",
    "keyboard": "edge_vla.inputs.keyboard:KeyboardButton",
}


def make_button(name: str, options: Mapping[str, object] | None = None) -> Button:
    """The button called `name`, open. Raises ConfigError for an unknown name or option, InputGone where it is not there."""
    if name not in INPUTS:
        raise ConfigError(f"input {name!r} is unknown; did you mean {_nearest(name, INPUTS)!r}? There are: {', '.join(INPUTS)}")
    module, _, kind = INPUTS[name].partition(":")
    make = getattr(import_module(module), kind)
    known = {key: item for key, item in inspect.signature(make).parameters.items() if item.kind is item.POSITIONAL_OR_KEYWORD}
    given = dict(options or {})
    for option in given:
        if option not in known:
            said = f"input {name!r}: option {option!r} is unknown; did you mean {_nearest(option, known)!r}?"
            raise ConfigError(f"{said} There are: {', '.join(known)}")
    if missing := [key for key, item in known.items() if item.default is item.empty and key not in given]:
        raise ConfigError(f"input {name!r} wants {', '.join(missing)}")
    button: Button = make(**given)
    return button


def _nearest(word: str, known: Iterable[str]) -> str:
    return difflib.get_close_matches(word, list(known), n=1, cutoff=0.0)[0]
