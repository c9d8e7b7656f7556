"""JAX started on the devices that the environment asks for, or one line that says why not."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from selftuning.configs.errors import ConfigError

_PLATFORMS, _X64 = "JAX_PLATFORMS", "JAX_ENABLE_X64"


def import_jax() -> None:
    """Imports JAX, which reads its variables then.

    Raises:
      ConfigError: if it does not know the value of one.
    """
    try:
        import jax  # noqa: F401
    except ValueError as error:
        raise ConfigError(f"JAX cannot start: {_first_line(error)}") from error


def start() -> None:
    """Starts the devices.

    Raises:
      ConfigError: if those of `JAX_PLATFORMS` are not there.
    """
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = _first_line(error) or "JAX finds none of these devices"
        if asked := getattr(jax.config, "jax_platforms", None):
            raise ConfigError(
                f"{_PLATFORMS}: {asked} cannot be used here: {reason}; "
                "it is cpu, or left out for what there is"
            ) from error
        raise ConfigError(f"JAX cannot start: {reason}") from error


def use_float32() -> None:
    """Sets JAX to float32, in which agents compute, here and in processes that this one starts.

    Values that are 64 bits long in some places and 32 in others fit no loop.
    """
    if os.environ.get(_X64, "0").lower() in ("1", "true", "t", "yes", "y", "on"):
        os.environ[_X64] = "0"
        print(f"warning: {_X64} has no effect: agents compute in float32", file=sys.stderr)
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", False)


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """The same for a while, in a program of somebody else."""
    import jax

    with jax.enable_x64(False):
        yield


def _first_line(error: BaseException) -> str:
    # Less what JAX advises its own users to do.
    return next(iter(str(error).splitlines()), "").partition(" (set ")[0].rstrip(".")
