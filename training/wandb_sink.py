"""Weights & Biases as one more place to which a run is logged."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selftuning.configs import files
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings, WandbMode
from selftuning.training.sinks import Sink

PROJECT = "selftuning"  # unless WANDB_PROJECT names another
FOLDER = "wandb"  # of a run directory


def check(mode: WandbMode) -> None:
    """Tells early whether a run can be logged.

    Raises:
      ConfigError: if Weights & Biases is not installed, or does not know who logs.
    """
    if mode == "off":
        return
    wandb = _library(mode)
    if mode == "online":
        try:
            wandb.login()
        except wandb.Error as error:
            raise _refused(mode, error) from error


def sinks(mode: WandbMode, settings: RunSettings, directory: Path) -> list[Sink]:
    """Begins a run there, with the settings as its configuration; nothing if it is off.

    All of its files are in the run directory. An offline run is sent by `wandb sync` later.

    Args:
      mode: "off", "offline" for files alone, or "online".
      settings: of the run.
      directory: of the run, whose name it has.

    Raises:
      ConfigError: if Weights & Biases is not installed, or refuses.
    """
    if mode == "off":
        return []
    # Where it would otherwise write logs of its own into the user's home.
    os.environ.setdefault("WANDB_CACHE_DIR", str(directory.absolute() / FOLDER / "cache"))
    wandb = _library(mode)
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=directory.name,
            id=_identity(directory),
            resume="allow",
            dir=directory,
            mode=mode,
            config=files.plain(settings),
            reinit="create_new",  # a process may have several runs
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )
    except wandb.Error as error:
        raise _refused(mode, error) from error
    return [_Run(run)]


def _identity(directory: Path) -> str:
    """The id of a run, by which it is the same one there when it goes on."""
    file = directory / FOLDER / "run-id"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(secrets.token_hex(4), encoding="utf-8")
    return file.read_text(encoding="utf-8")


class _Run:
    """A run of Weights & Biases."""

    def __init__(self, run: Any):
        self._run = run

    def log(self, scalars: Mapping[str, float | None], step: int) -> None:
        """Adds a row to its history, without the scalars that are not known."""
        self._run.log({k: x for k, x in scalars.items() if x is not None}, step=step)

    def close(self) -> None:
        """Waits until all rows are written, or sent."""
        self._run.finish()


def _refused(mode: WandbMode, error: Exception) -> ConfigError:
    return ConfigError(f"wandb: {mode} cannot begin: {error}")


def _library(mode: WandbMode) -> Any:
    if mode == "offline":
        # Its reports of how it is used and of its own errors would call home all the same.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb

        wandb.init  # noqa: B018 (a folder of that name could be imported as well)
    except (ImportError, AttributeError) as error:
        raise ConfigError("wandb is not installed: pip install wandb") from error
    return wandb
