"""YAML as people mean it: a strict reading, in bounded time and memory.

YAML 1.1 has 017 for 15, 1:30 for 90, `no` for False as a key, and the last one of equal keys. Text
may be nested or refer to itself so that a reader never ends. All of this is an error here, which
names the field. Numbers as 1e-3, which YAML 1.1 reads as text, are numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from selftuning.configs.errors import ConfigError, not_allowed, shortened

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML was built without libyaml: the same, but slower
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

LARGEST = 250_000  # bytes, which are read in less than a second
_DEEPEST = 50
_MOST = 100_000  # values, after what aliases stand for
_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")
}
_TEXT, _FLOAT, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "float", "merge"))
_UNCLEAR = "!unclear"
_KINDS: tuple[tuple[str, str, str], ...] = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:null", r"null|Null|NULL|~|", "nN~"),
    ("tag:yaml.org,2002:int", r"[-+]?(0|[1-9]\d*(_\d+)*)", "-+0123456789"),
    (
        _FLOAT,
        r"[-+]?(0|[1-9]\d*(_\d+)*)(\.\d*)?([eE][-+]?\d+)?|[-+]?\.\d+([eE][-+]?\d+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    # What YAML 1.1 takes for a number in another base, and others for text.
    (_UNCLEAR, r"[-+]?(0[0-9_]+|0[xXbBoO]\w+|[\d_]+(:[0-5]?\d)+)(\.\d*)?", "-+0123456789"),
    (_MERGE, r"<<", "<"),
)


class _Loader(_SafeLoader):
    """Resolves what `_KINDS` says, and all else to text."""


_PATTERNS = {tag: re.compile(pattern) for tag, pattern, _ in _KINDS}
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _KINDS:
    _Loader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), [*_first, ""])


def read_file(path: Path) -> Any:
    """What a file of YAML holds.

    Raises:
      ConfigError: if it cannot be read, is too large, or as `read`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ConfigError(f"{path}: is too large for settings: more than {LARGEST:,} bytes")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return read(text, str(path), ": ")


def read(text: str, where: str, before: str = ".") -> Any:
    """What a text of YAML holds: mappings with text as keys, lists, text, numbers, bools and None.

    Args:
      text: of one document.
      where: it comes from, for messages.
      before: between that and the names of fields.

    Raises:
      ConfigError: if the text is no YAML, or says something that is not clear, or too much.
    """
    loader = None
    try:
        _refuse_depth(text)
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Check(where, before).size_and_height(node)
        return loader.construct_document(node)
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        problem = str(error).replace('in "<unicode string>", ', "in ")
        raise ConfigError(f"{where}: is not YAML: {problem}") from error
    finally:
        if loader is not None:
            loader.dispose()


def _refuse_depth(text: str) -> None:
    """Raises YAMLError for deep text, before the reader calls itself for every level of it."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"it has more than {_DEEPEST} levels")


class _Check:
    """Looks through the nodes of a text before anything is made of them.

    A node with an alias is looked at once: what it stands for together is counted, and not made.
    """

    def __init__(self, where: str, before: str):
        self._where, self._before = where, before
        self._known: dict[int, tuple[int, int]] = {}

    def size_and_height(
        self, node: yaml.Node, path: str = "", above: tuple[int, ...] = ()
    ) -> tuple[int, int]:
        """How many values a node stands for, and their levels.

        Raises:
          ConfigError: for the first that is not allowed.
        """
        key = id(node)
        if key in above:
            raise self._error(path, "an alias of what it is part of", "without itself inside")
        if key not in self._known:
            if isinstance(node, yaml.ScalarNode):
                self._scalar(node, path)
            elif node.tag not in _TAGS:
                raise self._error(path, node.tag, "a plain mapping or list")
            if len(above) > _DEEPEST:
                raise self._error(path, "a value", f"at most {_DEEPEST} levels deep")
            parts = [
                self.size_and_height(part, name, (*above, key))
                for name, part in self._in(node, path)
            ]
            height = 1 + max((height for _, height in parts), default=0)
            self._known[key] = 1 + sum(size for size, _ in parts), height
        size, height = self._known[key]
        if size > _MOST or len(above) + height > _DEEPEST:
            allowed = f"at most {_MOST:,} values, with aliases, and {_DEEPEST} levels deep"
            raise self._error(path, "so large a value", allowed)
        return size, height

    def _in(self, node: yaml.Node, path: str) -> Iterator[tuple[str, yaml.Node]]:
        """What a node holds, with the paths to it."""
        if isinstance(node, yaml.SequenceNode):
            yield from ((f"{path}[{number}]", part) for number, part in enumerate(node.value))
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, part in node.value:
                if key.tag not in (_TEXT, _MERGE) or not isinstance(key.value, str):
                    shown = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                    raise self._error(path, f"the key {shown}", "text, in quotes if need be")
                name, line = str(key.value), key.start_mark.line + 1
                whole = f"{path}.{name}" if path else name
                if name in lines:
                    twice = f"said twice, in lines {lines[name]} and {line}"
                    raise ConfigError(f"{self._named(whole)}: {twice}")
                lines[name] = line
                yield whole, part

    def _scalar(self, node: yaml.ScalarNode, path: str) -> None:
        text, tag = str(node.value), node.tag
        if tag not in (*_TAGS, _UNCLEAR, _MERGE):
            raise self._error(path, f"the tag {tag}", "left out")
        written = _PATTERNS.get(tag)
        if tag == _UNCLEAR or (written and not written.fullmatch(text)):
            raise self._error(path, text, "a decimal number, or text in quotes")
        if tag == _FLOAT and _is_infinite(text):
            raise self._error(path, text, "a number that is not as large, or .inf")

    def _named(self, path: str) -> str:
        before = "" if path.startswith("[") else self._before
        return f"{self._where}{before}{shortened(path)}" if path else self._where

    def _error(self, path: str, value: str, allowed: str) -> ConfigError:
        return not_allowed(self._named(path), value, allowed)


def _is_infinite(text: str) -> bool:
    try:
        return math.isinf(float(text.replace("_", "")))
    except ValueError:
        return False  # .inf and .nan
