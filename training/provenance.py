"""Which version of this project made a result, and which versions of what it needs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement

import selftuning
from selftuning.configs import files

_FOR_DEVELOPERS = ("docs", "test")  # extras that no result depends on
ROOT = Path(selftuning.__file__).parents[1]  # of the checkout, or where packages are installed


@cache
def code_version() -> str:
    """The version of the package, with the commit where it runs from a checkout of its own.

    An installed package may lie inside of a checkout of its user's. Their commit says nothing
    about this code, so it is asked for only where this package is what the checkout holds.
    """
    number = selftuning.__version__
    try:
        top = _git("rev-parse", "--show-toplevel")
        _git("ls-files", "--error-unmatch", "selftuning/__init__.py")
        if not ROOT.samefile(top):
            return number
        commit = _git("describe", "--always", "--dirty", "--abbrev=12")
        # Two states of one commit are two versions.
        changes = hashlib.sha256(_git("diff", "HEAD").encode()).hexdigest()[:12]
        changed = f", changes {changes}" if commit.endswith("-dirty") else ""
        return f"{number}, commit {commit}{changed}"
    except (OSError, subprocess.SubprocessError):
        return number


def versions() -> dict[str, str]:
    """Of this package, Python and all direct dependencies, by name.

    Those of extras are there if this process has imported them.
    """
    found = files.versions() | {"python": platform.python_version()}
    for name in _needed():
        with suppress(importlib.metadata.PackageNotFoundError):  # not needed on this machine
            found[name] = importlib.metadata.version(name)
    return dict(sorted(found.items()))


def _needed() -> Iterator[str]:
    """Names of direct dependencies, and of extras that are in use."""
    try:
        requires = importlib.metadata.requires("selftuning") or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that was not installed
        return
    tops = {name.partition(".")[0] for name in sys.modules}
    holding = _holding()
    loaded = {name.lower().replace("_", "-") for top in tops for name in holding.get(top, ())}
    extras = importlib.metadata.metadata("selftuning").get_all("Provides-Extra") or []
    kept = [extra for extra in extras if extra not in _FOR_DEVELOPERS]
    for needed in map(Requirement, requires):
        of = ["", *kept] if needed.name.lower() in loaded else [""]
        if needed.marker is None or any(needed.marker.evaluate({"extra": x}) for x in of):
            yield needed.name


@cache
def _holding() -> Mapping[str, list[str]]:
    """Installed packages by the modules that they hold."""
    return importlib.metadata.packages_distributions()


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
