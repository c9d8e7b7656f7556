"""Which version of this project made a result."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

import selftuning

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


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
