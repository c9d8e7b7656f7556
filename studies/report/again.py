"""How a study runs again from its page alone: the command, the settings and the user's modules."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import quote

from markupsafe import Markup

# Flags that say where and how a study runs, and change none of its results; some have a value.
_WHERE = {"--out": True, "--workers": True, "--launcher": True, "--address": True, "--trust": False}


def command(typed: str) -> str:
    """A command as it was typed, without what belongs to the machine that it was typed on.

    Args:
      typed: of the study; of two that are compared, with " | " between them.
    """
    return " | ".join(_one(part) for part in typed.split(" | "))


def _one(typed: str) -> str:
    try:
        words = shlex.split(typed)
    except ValueError:  # of a stranger's file
        return typed
    words = [_local(word) for word in _without_where(words)]
    if len(words) > 1 and words[0] == "python" and not words[1].endswith(".py"):
        words = words[1:]  # it was installed
    return shlex.join(words)


def _without_where(words: Sequence[str]) -> Iterator[str]:
    skip = False
    for word in words:
        name, equals, _ = word.partition("=")
        if not skip and name not in _WHERE:
            yield word
        skip = not skip and _WHERE.get(name, False) and not equals


def _local(word: str) -> str:
    """A word in which an absolute path is no more than its last part."""
    name, equals, value = word.rpartition("=")
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(value).is_absolute():
            value = kind(value).name
    return f"{name}{equals}{value}"


def download(text: str) -> Markup:
    """A text as the address of a link that saves it."""
    return Markup(f"data:text/plain;charset=utf-8,{quote(text)}")
