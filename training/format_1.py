"""Agents in checkpoints of format 1, as version 0.1 wrote them.

They hold the training state and nothing else: parameters of a small network are one vector, and
hyperparameters are raw values, whose meaning depends on the code of their time. The log of the
run has them as they were used, and exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from selftuning.configs.errors import ConfigError
from selftuning.training import run_directory
from selftuning.training.checkpoints import Checkpoint

_NAME = "learner/inner/params"


def parameters(file: Checkpoint, template: Any) -> Any:
    """The parameters by network and layer.

    Args:
      file: of format 1.
      template: pytree of `jax.ShapeDtypeStruct`.

    Raises:
      ConfigError: if they are of another agent.
    """
    if _NAME not in file.arrays:  # those of a large network have their names
        return file.under(_NAME).tree(template)
    packed = jax.eval_shape(lambda tree: ravel_pytree(tree)[0], template)
    vector = file._replace(arrays={_NAME: file.arrays[_NAME]}).tree({_NAME: packed})[_NAME]
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
    return jax.device_get(ravel_pytree(zeros)[1](vector))


def hyperparameters(run: Path, env_steps: int) -> dict[str, np.ndarray]:
    """Values by name after so many environment steps, scalars or one for each head [H].

    A run that was killed has no summary: the last line of its log up to there is taken.

    Args:
      run: its directory.
      env_steps: those of its checkpoint.

    Raises:
      ConfigError: if the run has neither, or they are damaged.
    """
    try:
        return _hyperparameters(run, env_steps)
    except ConfigError:
        raise
    except (OSError, LookupError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{run}: {run_directory.SUMMARY} is damaged: {error!r}") from error


def _hyperparameters(run: Path, env_steps: int) -> dict[str, np.ndarray]:
    for summary in _entries(run / run_directory.SUMMARY, whole=True):
        if summary["env_steps"] == env_steps:
            ends = {name: value["end"] for name, value in summary["hyperparameters"].items()}
            return {name: np.asarray(end, np.float32) for name, end in ends.items()}
    lines = _entries(run / run_directory.METRICS)
    known = [line for line in lines if line["env_steps"] <= env_steps]
    if not known:
        raise ConfigError(
            f"{run}: neither {run_directory.SUMMARY} nor {run_directory.METRICS} has the "
            f"hyperparameters at {env_steps} environment steps"
        )
    return _of_line(known[-1])


def _entries(path: Path, whole: bool = False) -> list[dict[str, Any]]:
    """A file of JSON, or one of JSON lines, as far as it was written."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    entries = []
    for part in [text] if whole else text.splitlines():
        try:
            entries.append(json.loads(part))
        except (ValueError, RecursionError):
            break
    return entries


def _of_line(line: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """`hyperparameters/NAME`, or `hyperparameters/NAME/HEAD` for each head, as arrays by name."""
    values: dict[str, Any] = {}
    for key, value in line.items():
        part, _, rest = key.partition("/")
        name, _, head = rest.partition("/")
        if part == "hyperparameters":
            values[name] = [*values.get(name, ()), value] if head else value
    return {name: np.asarray(value, np.float32) for name, value in values.items()}
