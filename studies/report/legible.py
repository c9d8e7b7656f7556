"""Names that users or strangers chose, so that they can be read and change nothing around them.

Letters that run from right to left take the numbers beside them along, unless they are isolated.
Characters that turn the direction of a line, or that cannot be seen, are left out. Words that would
fill lines are cut.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from markupsafe import Markup, escape

_FIRST_ISOLATE, _END_OF_ISOLATE = "\u2068", "\u2069"
_TURNS = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what sets or turns a direction
_UNSEEN = re.compile(rf"[{_TURNS}]|[^\S ]+|[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_LEFTWARDS = r"\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_FIRST, _LAST = 40, 20  # letters of a word that is cut
_LONG_WORD = re.compile(r"[^\s<>]{81,}")  # but no markup of charts
# From one such letter to the last one, without letters, brackets or signs of sentences between.
_RUN = re.compile(rf"[{_LEFTWARDS}](?:[^a-zA-Z<>()\[\]{{}}%:;]*[{_LEFTWARDS}])?")


def legible(words: str) -> str:
    """Words in one line that is read from left to right, whatever is in them."""
    seen = _UNSEEN.sub(_space_or_nothing, words)
    seen = _LONG_WORD.sub(lambda word: f"{word[0][:_FIRST]}…{word[0][-_LAST:]}", seen)
    return _RUN.sub(lambda run: f"{_FIRST_ISOLATE}{run[0]}{_END_OF_ISOLATE}", seen)


def shown(value: Any) -> Any:
    """What a template writes of a value: text is made `legible`, and the rest is as it was."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return legible(value)
    return value


def code(text: str) -> Markup:
    """A file's text as HTML, line by line; what would turn its lines around is spelled out."""
    spelled = re.sub(rf"[{_TURNS}\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", _spelled, text)
    return Markup(escape(spelled))


def _space_or_nothing(found: re.Match[str]) -> str:
    return "" if unicodedata.category(found[0][0]) in ("Cf", "Cs") else " "


def _spelled(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
