"""Modules of the user that a study ran: a digest and a copy of each, with which it runs again.

A study names modules with extensions, wrappers and environments. What lies beside these and was
imported by them counts too. Of installed packages the version says all.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selftuning.configs import trust

_LARGEST = 200_000  # bytes of a copy, beyond which a digest has to do
_OURS = ("selftuning", "gymnasium", "__main__")


@dataclass(frozen=True)
class UserModule:
    """A module as it was when the study began.

    Attributes:
      name: by which Python imports it.
      file: to save it as, below the directory that a study is run in; "" of installed packages.
      sha256: of the file; "" of installed packages.
      package: that it belongs to, with its version; "" if it is the user's own.
      text: of the file; None where it is too large, or no text.
    """

    name: str
    file: str = ""
    sha256: str = ""
    package: str = ""
    text: str | None = None


def used_by(settings: Mapping[str, Any], environments: Iterable[str] = ()) -> list[UserModule]:
    """All that settings name, and what these have imported of their neighbours.

    Args:
      settings: of a run or a study, as plain data; what they name has been imported.
      environments: further ids of environments.
    """
    found: dict[str, UserModule] = {}
    for name in sorted(set(trust.named_in({"run": settings, "env": list(environments)}))):
        top = name.partition(".")[0]
        if top in _OURS or name not in sys.modules:
            continue
        if package := _package(top):
            found[top] = UserModule(top, package=package)
        else:
            found |= {one.name: one for one in _own(name)}
    return [found[name] for name in sorted(found)]


def digests(modules: Iterable[UserModule]) -> dict[str, str]:
    """By which two states of the same modules are told apart, by name."""
    return {one.name: one.sha256 or one.package for one in modules}


def _package(top: str) -> str:
    """The installed package that holds a module, with its version; "" if none does."""
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    for name in importlib.metadata.packages_distributions().get(top, ()):
        distribution = importlib.metadata.distribution(name)
        place = Path(str(distribution.locate_file(""))).resolve()
        if "-packages" in place.name and file and Path(file).resolve().is_relative_to(place):
            return f"{distribution.name} {distribution.version}"
    return ""


def _own(name: str) -> Iterator[UserModule]:
    """A module of the user's, and what is imported from its folder or below."""
    root = _root(name)
    for other, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is None or other.partition(".")[0] in _OURS or root is None:
            continue
        path = Path(file).resolve()
        if not path.is_relative_to(root) or path.suffix != ".py":
            continue
        inside = path.relative_to(root)
        # Other projects below, such as an environment of Python.
        if not any(part.startswith(".") or part.endswith("-packages") for part in inside.parts):
            yield _copied(other, path, inside)


def _root(name: str) -> Path | None:
    """The folder from which a module is imported, which for packages is above them."""
    top = sys.modules[name.partition(".")[0]]
    places = (
        [top.__file__] if getattr(top, "__file__", None) else list(getattr(top, "__path__", []))
    )
    if not places or places[0] is None:
        return None
    place = Path(places[0]).resolve()
    return place.parent.parent if place.name == "__init__.py" else place.parent


def _copied(name: str, path: Path, inside: Path) -> UserModule:
    try:
        content = path.read_bytes()
    except OSError:  # it is gone since
        return UserModule(name, inside.as_posix())
    try:
        text = content.decode() if len(content) <= _LARGEST else None
    except UnicodeDecodeError:
        text = None
    return UserModule(name, inside.as_posix(), hashlib.sha256(content).hexdigest(), text=text)
