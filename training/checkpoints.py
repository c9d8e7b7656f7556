"""Checkpoints: a pytree of arrays in one safetensors file that notices when it was damaged.

safetensors holds named arrays and no code, so loading a stranger's file is safe. It does not
check its contents; a digest of them travels in its header, with the version that wrote it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors_numpy

from selftuning.configs import versions
from selftuning.configs.errors import ConfigError
from selftuning.training import run_directory

BEST = "best.safetensors"  # of a run directory, beside the last one
_HEADER = "selftuning"
# What the library raises for files that are none: also for types that NumPy does not have.
_UNREADABLE: tuple[type[Exception], ...] = (OSError, SafetensorError, MemoryError)
_UNREADABLE += (LookupError, TypeError, ValueError, AttributeError)
_DIGITS = 20  # of a number of steps, more than any has
_HEADER_OF_FORMAT_1 = "env_steps and sha256"


class Checkpoint(NamedTuple):
    """A file that was read whole, and found undamaged.

    Attributes:
      path: of the file.
      arrays: by name; the parts of a name are the path in the pytree, with / between.
      env_steps: environment steps that went into it.
      origin: who wrote it.
      about: what else is known of the arrays, as plain data.
    """

    path: Path
    arrays: Mapping[str, np.ndarray]
    env_steps: int
    origin: versions.Origin
    about: Mapping[str, Any]

    def under(self, prefix: str) -> Checkpoint:
        """The part of it whose names begin with `prefix/`, without that beginning."""
        begin = f"{prefix}/"
        part = {n.removeprefix(begin): x for n, x in self.arrays.items() if n.startswith(begin)}
        return self._replace(arrays=part)

    def tree(self, template: Any) -> Any:
        """The pytree with the structure, shapes and dtypes of a template.

        Args:
          template: pytree of arrays or of `jax.ShapeDtypeStruct`.

        Raises:
          ConfigError: if the file does not have just these arrays.
        """
        expected = named(template)
        for name in sorted(expected.keys() ^ self.arrays.keys()):
            raise self._of_another_agent(f"{name} is missing or unknown")
        for name, want in expected.items():
            have = self.arrays[name]
            if (have.shape, have.dtype) != (want.shape, want.dtype):
                raise self._of_another_agent(
                    f"{name} is {have.dtype}{have.shape} and should be {want.dtype}{want.shape}"
                )
        leaves = [self.arrays[name] for name in expected]
        return jax.tree.unflatten(jax.tree.structure(template), leaves)

    def _of_another_agent(self, problem: str) -> ConfigError:
        remark = self.origin.remark
        return ConfigError(f"checkpoint: {self.path} is of another agent: {problem}{remark}")


def path_in(run: Path, best: bool = False) -> Path:
    """Where a run directory keeps its checkpoint, of the last agent or of the best one."""
    return run / "checkpoints" / (BEST if best else "agent.safetensors")


def save(path: Path, state: Any, env_steps: int, about: Mapping[str, Any] | None = None) -> None:
    """Writes the arrays of a pytree; a reader sees the old file or the new one, never half.

    Args:
      path: file to write; its directory is made.
      state: pytree of arrays.
      env_steps: environment steps that went into it.
      about: what else is to be known of them, as data that JSON can hold.
    """
    # The library writes memory as it lies there, and takes it for rows one after the other.
    arrays = {name: np.asarray(x, order="C") for name, x in named(jax.device_get(state)).items()}
    header = versions.stamp() | {"env_steps": env_steps, "about": dict(about or {})}
    header["sha256"] = _digest(arrays, json.dumps(header, sort_keys=True))
    # One entry: the library writes several in random order, and equal runs have equal files.
    metadata = {_HEADER: json.dumps(header, sort_keys=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with run_directory.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(safetensors_numpy.save(arrays, metadata))
        file.flush()
        os.fsync(file.fileno())  # a machine that goes down has the old file, or the new one


def load(path: Path, template: Any) -> tuple[Any, int]:
    """Reads a pytree with the structure, shapes and dtypes of `template`.

    Args:
      path: file that `save` wrote.
      template: pytree of arrays or of `jax.ShapeDtypeStruct`; or a function that makes one of
        the environment steps in the file.

    Returns:
      The pytree, with NumPy arrays, and the environment steps that went into it.

    Raises:
      ConfigError: if the file is missing, damaged, of a newer format or of another agent.
    """
    file = read(path)
    template = template(file.env_steps) if callable(template) else template
    return file.tree(template), file.env_steps


def read(path: Path) -> Checkpoint:
    """Reads whatever arrays a file has.

    Raises:
      ConfigError: if the file is missing, damaged or of a newer format.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe has no end
            raise OSError("it is no file")
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except _UNREADABLE as error:
        missing = not path.exists()
        problem = "does not exist" if missing else f"cannot be read: {error}"
        raise ConfigError(f"checkpoint: {path} {problem}") from error
    if _HEADER_OF_FORMAT_1 in metadata:
        header = _header_of_format_1(metadata[_HEADER_OF_FORMAT_1])
        seal = str(header.get("env_steps"))
    else:
        header = _header(metadata.get(_HEADER, ""))
        seal = json.dumps({k: x for k, x in header.items() if k != "sha256"}, sort_keys=True)
    if header.get("sha256") != _digest(arrays, seal):
        raise ConfigError(f"checkpoint: {path} is damaged: its contents do not match their digest")
    origin = versions.origin(header, f"checkpoint: {path}")
    env_steps, about = header.get("env_steps"), header.get("about", {})
    if type(env_steps) is not int or env_steps < 0 or not isinstance(about, dict):
        raise ConfigError(f"checkpoint: {path} does not say what it holds")
    return Checkpoint(path, arrays, env_steps, origin, about)


def _header(text: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def _header_of_format_1(text: str) -> dict[str, Any]:
    env_steps, _, digest = text.partition(" ")
    right = env_steps.isascii() and env_steps.isdecimal() and len(env_steps) < _DIGITS
    return {"env_steps": int(env_steps), "sha256": digest} if right else {}


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their paths, with / between the parts."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _digest(arrays: Mapping[str, np.ndarray], header: str) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
