"""Passwords in addresses, out of every text that is shown or written down."""

from __future__ import annotations

import re

_LOGIN = re.compile(r"(\w+://[^\s:/@'\"]*):[^\s/'\"]*@")


def hide_passwords(text: str) -> str:
    """`rtsp://me:secret@10.0.0.7/live` as `rtsp://me:***@10.0.0.7/live`."""
    return _LOGIN.sub(r"\1:***@", text)
