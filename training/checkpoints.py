"""Checkpoints: a pytree of arrays in one safetensors file that notices when it was damaged.

safetensors holds named arrays and no code, so loading a stranger's file is safe. It does not
check its contents; a digest of them travels in its header.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors_numpy

from selftuning.configs.errors import ConfigError

_HEADER = "env_steps and sha256"


def path_in(run: Path) -> Path:
    """Where a run directory keeps its checkpoint."""
    return run / "checkpoints" / "agent.safetensors"


def save(path: Path, state: Any, env_steps: int) -> None:
    """Writes the arrays of a pytree; a reader sees the old file or the new one, never half.

    Args:
      path: file to write; its directory is made.
      state: pytree of arrays.
      env_steps: environment steps that went into it.
    """
    tensors = _named(jax.device_get(state))
    # One entry: the library writes several in random order, and equal runs have equal files.
    metadata = {_HEADER: f"{env_steps} {_digest(tensors, env_steps)}"}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_bytes(safetensors_numpy.save(tensors, metadata))
    os.replace(temporary, path)


def load(path: Path, template: Any) -> tuple[Any, int]:
    """Reads a pytree with the structure, shapes and dtypes of `template`.

    Args:
      path: file that `save` wrote.
      template: pytree of arrays or of `jax.ShapeDtypeStruct`; or a function that makes one of
        the environment steps in the file.

    Returns:
      The pytree, with NumPy arrays, and the environment steps that went into it.

    Raises:
      ConfigError: if the file is missing, damaged or of another agent.
    """
    tensors, header = _read(path)
    env_steps, _, digest = header.partition(" ")
    if not env_steps.isdecimal() or digest != _digest(tensors, int(env_steps)):
        raise ConfigError(f"checkpoint: {path} is damaged: its contents do not match their digest")
    template = template(int(env_steps)) if callable(template) else template
    expected = _named(template)
    for name in sorted(expected.keys() ^ tensors.keys()):
        raise ConfigError(f"checkpoint: {path} is of another agent: {name} is missing or unknown")
    for name, want in expected.items():
        have = tensors[name]
        if (have.shape, have.dtype) != (want.shape, want.dtype):
            raise ConfigError(
                f"checkpoint: {path} is of another agent: {name} is {have.dtype}{have.shape} "
                f"and should be {want.dtype}{want.shape}"
            )
    leaves = [tensors[name] for name in expected]
    return jax.tree.unflatten(jax.tree.structure(template), leaves), int(env_steps)


def _read(path: Path) -> tuple[dict[str, np.ndarray], str]:
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, (file.metadata() or {}).get(_HEADER, "")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        missing = not path.exists()
        problem = "does not exist" if missing else f"cannot be read: {error}"
        raise ConfigError(f"checkpoint: {path} {problem}") from error


def _named(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _digest(tensors: dict[str, np.ndarray], env_steps: int) -> str:
    digest = hashlib.sha256(str(env_steps).encode())
    for name in sorted(tensors):
        tensor = np.asarray(tensors[name])
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
