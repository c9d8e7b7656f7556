"""One run of several processes: the first one alone writes and shows anything."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import numpy as safetensors_numpy

from selftuning.configs import files
from selftuning.configs.settings import RunSettings
from selftuning.configs.validate import validate
from selftuning.training import checkpoints, devices, going_on, parallel, run_directory


def train_together(settings: RunSettings, out: Path | None, train: Callable[..., Any]) -> Any:
    """Trains on all devices of all processes.

    A run that goes on does so in all of them: the first process sends the others what it has saved.

    Args:
      settings: of the run, whose `devices` become all there are.
      out: run directory of the first process.
      train: (settings, run directory, whether to show anything) -> result.

    Raises:
      ConfigError: as training does, and if the environments cannot be divided by the devices.
    """
    devices.start()
    settings = replace(settings, devices=jax.device_count())
    validate(settings)
    if jax.process_index() == 0:
        parallel.from_first(_saved(out))
        return train(settings, out, True)
    with tempfile.TemporaryDirectory() as directory:
        _write(Path(directory), parallel.from_first(None))
        return train(settings, Path(directory), False)


def _saved(out: Path | None) -> bytes:
    """What a process must have of a run to go on with it."""
    if out is None or not run_directory.holds_run(out):
        return safetensors_numpy.save({})
    last = checkpoints.path_in(out)
    own = out / files.NAME, out / run_directory.METRICS, going_on.path_of_history(out)
    paths = {path: path for path in (*own, checkpoints.path_in(out, best=True))}
    paths[last] = going_on.last_whole(out) or last
    there = {str(n.relative_to(out)): p.read_bytes() for n, p in paths.items() if p.exists()}
    return safetensors_numpy.save({n: np.frombuffer(x, np.uint8) for n, x in there.items()})


def _write(directory: Path, saved: bytes) -> None:
    for name, content in safetensors_numpy.load(saved).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.tobytes())
