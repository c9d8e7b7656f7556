"""JAX's persistent compilation cache, set up through the environment before JAX is imported."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

APPLICATION = "selftuning"


def enable() -> None:
    """Keeps compiled programs in a user cache folder, so that the next run starts at once.

    A `JAX_COMPILATION_CACHE_DIR` in the environment is used instead of the default folder.
    If the folder cannot be written, a line on standard error says so and nothing is cached.
    """
    default = user_cache_path(APPLICATION) / "jax"
    directory = Path(os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(default)))
    # Programs of this size compile in less time than JAX thinks worth keeping.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        del os.environ["JAX_COMPILATION_CACHE_DIR"]
        print(f"warning: compiled programs are not kept: {error}", file=sys.stderr)


def tell_jax() -> None:
    """Tells JAX what `enable` has set up, in case that an extension imported it before."""
    if "jax" not in sys.modules:
        return
    for name, kind in (
        ("JAX_COMPILATION_CACHE_DIR", str),
        ("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", float),
        ("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", int),
    ):
        if name in os.environ:
            sys.modules["jax"].config.update(name.lower(), kind(os.environ[name]))
