"""Modules that files of others name: to import one is to run what its author wrote.

Settings in the directory of a run or a study name extensions, wrappers, and the module that
registers an environment. Whoever goes on with such a directory imports them, and it may be a
stranger's. Nothing is asked about modules that this process has imported already, about Gymnasium
and the libraries of environments that this package knows, and about installed packages that depend
on Gymnasium or on this one. All others are named, and imported only if the user says so.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from types import MappingProxyType
from typing import Any

from selftuning.configs.errors import ConfigError

FLAG = "--trust"
ARGUMENT, IMPORT = "import it first or give trust=True", "import it first"
_LIBRARIES = ("gymnasium", "selftuning", "ale_py", "minigrid")
_CALLED = ("brax", "envpool", "gymnax", "jumanji", "navix", "pgx")
_NONE: Mapping[str, Any] = MappingProxyType({})
_NEEDED = re.compile(r"(gymnasium|selftuning)\b", re.IGNORECASE)


def check(
    data: Mapping[str, Any], where: Path, trusted: bool, how: str, named: Mapping[str, Any] = _NONE
) -> None:
    """Asks before modules that a file names are imported, where somebody can answer.

    Args:
      data: content of the file.
      where: it is.
      trusted: whether the user has said so already.
      how: they say it, `FLAG`, `ARGUMENT` or `IMPORT`; who types flags on a terminal can be asked.
      named: settings that the user gave: what these name is theirs.

    Raises:
      ConfigError: if it names some, and the user did not say that they may be imported.
    """
    found = [] if trusted else strange(data, named)
    if not found or (how == FLAG and _said_yes(where, found)):
        return
    raise ConfigError(
        f"{where} names {' and '.join(found)}, which would be run; {how} if you trust the author"
    )


def strange(data: Mapping[str, Any], named: Mapping[str, Any] = _NONE) -> list[str]:
    """Modules that settings name and that nobody vouches for, each with its file."""
    found = []
    for name in sorted(set(named_in(data)) - set(named_in(named))):
        path = _file_of(name)
        if path is not None:
            found.append(f"module {name} ({path})")
    return found


def named_in(data: Any, key: str = "") -> Iterator[str]:
    """Names of modules in settings of a run or a study, wherever they stand.

    Args:
      data: settings, or a part of them, as plain data.
      key: of the part.
    """
    if isinstance(data, Mapping):
        for name, value in data.items():
            yield from named_in(value, str(name))
    elif isinstance(data, list | tuple):
        for value in data:
            yield from named_in(value, key)
    elif isinstance(data, str):
        if key == "extensions":
            yield data.partition(":")[0]
        elif key in ("env", "wrappers") and ":" in data:
            yield data.rpartition(":")[0]


def _file_of(name: str) -> str | None:
    """The file of a module that is to be asked about; None if it is not."""
    top = name.partition(".")[0]
    if name in sys.modules or not top.isidentifier():  # which is an error later
        return None
    # As `modules.imported` finds it; nothing is imported to find out.
    spec = PathFinder.find_spec(top, [os.getcwd(), *sys.path])
    if spec is None:
        return None
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    place = Path(places[0] if places else top).resolve()
    return None if _is_installed(top, place) else str(place)


def _is_installed(top: str, place: Path) -> bool:
    """Whether a module is of an installed package that is made for agents or their environments."""
    for name in importlib.metadata.packages_distributions().get(top, ()):
        distribution = importlib.metadata.distribution(name)
        needs = [top, name.lower(), *(distribution.requires or ())]
        known = top in (*_LIBRARIES, *_CALLED) or any(_NEEDED.match(need) for need in needs)
        files = Path(str(distribution.locate_file(""))).resolve()
        if known and place.is_relative_to(files) and files != Path.cwd():
            return True
    return False


def _said_yes(where: Path, found: list[str]) -> bool:
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{where} names {' and '.join(found)}, which would be run.", file=sys.stderr)
    print("Do you trust the author? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
