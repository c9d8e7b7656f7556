"""What a run has recorded, in a file that grows: how a run that goes on knows what was before.

A checkpoint says how much of the file belongs to it. What was appended later, before the run was
killed, is cut off again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from selftuning.configs.errors import ConfigError
from selftuning.training.metrics import Episodes

_LENGTH = 8  # bytes before each entry, which say how long it is


class Chunk(NamedTuple):
    """What is kept of N cycles.

    Attributes:
      episodes: that ended in them; without lengths in files of earlier versions.
      rewards: mean reward of an environment step in each, float32 [N].
      hyperparameters: values by name after each, [N] or [N, H].
      meta_gradients: by name, [N] or [N, H].
    """

    episodes: Episodes
    rewards: np.ndarray
    hyperparameters: dict[str, np.ndarray]
    meta_gradients: dict[str, np.ndarray]

    @property
    def cycles(self) -> int:
        """N."""
        return len(self.rewards)


class Mark(NamedTuple):
    """How much of a file belongs to a checkpoint: its first bytes, and their digest."""

    size: int
    sha256: str


class History:
    """The file, to append chunks to.

    Args:
      path: of it; new, or cut to what `mark` says.
      mark: what is kept of it.
    """

    def __init__(self, path: Path, mark: Mark | None = None):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("r+b" if mark else "wb")
        self._digest = hashlib.sha256()
        if mark:
            self._digest.update(self._file.read(mark.size))
            self._file.truncate()

    def append(self, chunk: Chunk) -> None:
        """Adds a chunk after all before."""
        entry = safetensors_numpy.save(_arrays(chunk))
        entry = len(entry).to_bytes(_LENGTH, "little") + entry
        self._file.write(entry)
        self._digest.update(entry)

    def mark(self) -> Mark:
        """Where it ends now. All of it is on the disk when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return Mark(self._file.tell(), self._digest.hexdigest())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read(path: Path, mark: Mark) -> Iterator[Chunk]:
    """The chunks that belong to a checkpoint, in order.

    Raises:
      ConfigError: if they are not there any more, or damaged.
    """
    try:
        with path.open("rb") as file:
            content = file.read(min(mark.size, path.stat().st_size))
    except OSError as error:
        raise ConfigError(f"history: cannot read {path}: {error.strerror}") from error
    if len(content) < mark.size or hashlib.sha256(content).hexdigest() != mark.sha256:
        raise ConfigError(f"history: {path} is damaged: it is not what its checkpoint knows")
    while content:
        end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
        try:
            yield _chunk(safetensors_numpy.load(content[_LENGTH:end]))
        except (SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"history: {path} is damaged: {error}") from error
        content = content[end:]


def _arrays(chunk: Chunk) -> dict[str, np.ndarray]:
    groups: tuple[tuple[str, dict[str, Any]], ...] = (
        ("episodes", chunk.episodes._asdict()),
        ("hyperparameters", chunk.hyperparameters),
        ("meta_gradients", chunk.meta_gradients),
    )
    named = {f"{group}/{name}": x for group, arrays in groups for name, x in arrays.items()}
    return {name: np.ascontiguousarray(x) for name, x in named.items()} | {"rewards": chunk.rewards}


def _chunk(arrays: dict[str, np.ndarray]) -> Chunk:
    def group(prefix):
        begin = f"{prefix}/"
        return {n.removeprefix(begin): x for n, x in arrays.items() if n.startswith(begin)}

    known = group("episodes")
    known.setdefault("lengths", np.zeros(0, np.int64))  # versions up to 0.2 did not keep them
    episodes = Episodes(**known)
    return Chunk(episodes, arrays["rewards"], group("hyperparameters"), group("meta_gradients"))
