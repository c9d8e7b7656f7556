"""JAX's persistent compilation cache, set up through the environment before JAX is imported."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
from pathlib import Path

from platformdirs import user_cache_path

APPLICATION = "selftuning"
_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_REMOTE_SECONDS = 20.0


def enable() -> None:
    """Keeps compiled programs in a user cache folder, so that the next run starts at once.

    A `JAX_COMPILATION_CACHE_DIR` in the environment is used instead of the default folder. If the
    folder cannot be written, a line on standard error says so and nothing is cached.
    """
    # Programs of this size compile in less time than JAX thinks worth keeping.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    try:
        # Without a home, and a user whom nobody knows, there is no cache folder: RuntimeError.
        folder = os.environ.get(_FOLDER, "") or str(user_cache_path(APPLICATION) / "jax")
        os.environ[_FOLDER] = folder
        reason = _remote(folder) if "://" in folder else _local(Path(folder))
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error)
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would say the same again
    if reason:
        os.environ.pop(_FOLDER, None)
        print(f"warning: compiled programs are not kept: {reason}", file=sys.stderr)


def _local(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"0" * 4096)  # a full disk takes an empty file
    return ""


def _remote(folder: str) -> str:
    """Why a folder like gs://BUCKET/NAME cannot be written; empty if it can."""
    found = [f"{folder} does not answer within {_REMOTE_SECONDS:g} seconds"]

    def probe() -> None:
        try:
            # JAX takes the address for the name of a local folder without this library.
            from etils import epath

            path = epath.Path(folder)
            path.mkdir(parents=True, exist_ok=True)
            (path / ".selftuning").write_text("0")
            found[0] = ""
        except Exception as error:  # of whichever library the address needs
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            found[0] = f"{folder}: {reason}"

    waiting = threading.Thread(target=probe, daemon=True)
    waiting.start()
    waiting.join(_REMOTE_SECONDS)
    return found[0]


def tell_jax() -> None:
    """Tells JAX what `enable` has set up, in case that an extension imported it before."""
    if "jax" not in sys.modules:
        return
    for name, kind in (
        (_FOLDER, str),
        ("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", float),
        ("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", int),
    ):
        if name in os.environ:
            sys.modules["jax"].config.update(name.lower(), kind(os.environ[name]))
