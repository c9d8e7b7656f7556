"""Values of flags, read for what they are: nothing is rounded, guessed, or left out for `none`.

The parser's own reading rounds 5.5 to 6, takes 0x10 for 16, and `none` for a flag not given.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from cyclopts import Parameter, Token

from selftuning.configs.settings import without_none

_LONGEST_NAME, _LONGEST_PATH = 255, 3_900  # bytes; of the 4,096 some are for files inside
_WHOLE = re.compile(r"[+-]?\d+(_\d+)*")
_NUMBER = re.compile(r"[+-]?(\d+(_\d+)*\.?|\d*\.\d+)\d*(e[+-]?\d+)?|[+-]?inf|nan", re.IGNORECASE)
_SWITCH = {"true": True, "false": False}


class NotAValueError(ValueError):
    """A text is no value of its flag. The parser knows the flag's name, which the message needs."""

    def __init__(self, text: str, allowed: str):
        super().__init__(allowed)
        self.text, self.allowed = text, allowed


def read(kind: Any, tokens: Sequence[Token]) -> Any:
    """The value of a flag, of the type that its parameter has.

    Args:
      kind: int, float, bool, str, Path, a Literal of texts, or a tuple of one of them.
      tokens: what was typed, one text each.

    Raises:
      NotAValueError: if a text is none of these.
    """
    kind = without_none(kind)
    if get_origin(kind) is tuple:
        return tuple(_one(get_args(kind)[0], token) for token in tokens)
    return _one(kind, tokens[0])


def allowed(kind: Any) -> str:
    """What a value of that type must be, in words that follow "it must be"."""
    kind = without_none(kind)
    if get_origin(kind) is tuple:
        return {int: "whole numbers", str: "texts"}[get_args(kind)[0]] + ", with spaces between"
    if get_origin(kind) is Literal:
        return " | ".join(get_args(kind))
    words = {int: "a whole number", float: "a number", bool: "true | false, or left out"}
    return words.get(kind, "the name of a file or directory" if kind is Path else "a name")


def number(text: str) -> float:
    """A number as people type it; infinite only if they say so.

    Raises:
      ValueError: if it is none, or larger than any number here.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a number")
    value = float(text)
    if math.isinf(value) and "inf" not in text.lower():
        raise ValueError(f"{text!r} is too large for a number")
    return value


def whole(text: str) -> int:
    """A whole number as people type it: 500000, 500_000 and 5e5 alike.

    Raises:
      ValueError: if it is none, or larger than any number here.
    """
    if _WHOLE.fullmatch(text) and len(text) < 400:
        return int(text)
    value = number(text)
    if not value.is_integer():
        raise ValueError(text)
    return int(value)


def _one(kind: Any, token: Token) -> Any:
    text = token.value
    try:
        if get_origin(kind) is Literal:
            return {name: name for name in get_args(kind)}[text]
        return _READERS[kind](text)
    except NotAValueError:
        raise
    except (ValueError, KeyError) as error:
        raise NotAValueError(text, allowed(kind)) from error


def _text(text: str) -> str:
    text.encode()  # bytes that are no text of the terminal's encoding cannot be written to files
    if not text.strip() or "\0" in text:
        raise ValueError(text)
    return text


def _path(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise ValueError(text)
    path = Path(text)
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > _LONGEST_NAME or len(os.fsencode(text)) > _LONGEST_PATH:
        names, whole = f"names of at most {_LONGEST_NAME} bytes", f"{_LONGEST_PATH} together"
        raise NotAValueError(text, f"{names}, {whole}")
    return path


_READERS = {
    int: whole,
    float: number,
    bool: lambda text: _SWITCH[text.lower()],
    str: _text,
    Path: _path,
}

# What all flags have in common. JSON would be a second way to write lists.
STRICT = Parameter(converter=read, json_list=False, json_dict=False, negative_iterable=())
