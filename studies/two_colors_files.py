"""The directory of a study: what was asked for, and a result for every method that has run.

A method's arrays are written last and moved into place, so that what is there is complete.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from configs import files
from configs.errors import ConfigError
from configs.settings import RunSettings
from configs.studies import TwoColorsSettings
from studies import two_colors_methods
from studies.two_colors_results import Measured
from training import run_directory

NAME = "two-colors"
REQUEST = "study.json"
METHODS = "methods"
_VERSIONS_OF = ("jax", "dm-haiku", "rlax", "optax", "gymnasium", "numpy")


def check(out: Path | None) -> None:
    """Tells early whether results can go into a directory: a new or empty one, or a study's.

    Raises:
      ConfigError: if they cannot.
    """
    if out is None or not (out / REQUEST).is_file():
        run_directory.check(out)


def open_directory(
    settings: TwoColorsSettings, out: Path | None, asked: bool
) -> tuple[TwoColorsSettings, Path]:
    """Makes the directory of a study, or finds one that was begun.

    Args:
      settings: what to run.
      out: the directory; None makes runs/study-NAME-N.
      asked: whether the settings were asked for. If not, those of the directory hold.

    Returns:
      The settings that hold, and the directory.

    Raises:
      ConfigError: if the directory cannot be used, or holds a study with other settings.
    """
    if out is None or not (out / REQUEST).is_file():
        directory = run_directory.create_named(out, f"study-{NAME}")
        text = json.dumps({"study": NAME, **asdict(settings)}, indent=2)
        replace(directory / REQUEST, lambda path: path.write_text(text + "\n", encoding="utf-8"))
        (directory / METHODS).mkdir(exist_ok=True)
        return settings, directory
    there = _read_request(out / REQUEST)
    if not asked:
        return there, out
    for field in fields(settings):
        old, new = getattr(there, field.name), getattr(settings, field.name)
        if old != new:
            raise ConfigError(
                f"out: {out} holds a study with {field.name} {_listed(old)}, not {_listed(new)}; "
                "name a new directory"
            )
    return there, out


def _read_request(path: Path) -> TwoColorsSettings:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("study") != NAME:
            raise ConfigError(f"out: {path.parent} holds another study; name a new directory")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in content.items()
        }
        return TwoColorsSettings(**values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"out: {path} is no request of a study: {error}") from error


def _listed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def finished(directory: Path, settings: TwoColorsSettings) -> list[str]:
    """The methods that have run."""
    return [name for name in settings.methods if _arrays(directory, name).is_file()]


def check_methods(directory: Path, settings: TwoColorsSettings) -> None:
    """Raises ConfigError if a method has run with other settings than it would run with now."""
    for name in finished(directory, settings):
        now = two_colors_methods.run_settings(settings, name)
        if _settings(directory, name) != now:
            raise ConfigError(
                f"out: {directory} has a result of {name} with other settings than it has now; "
                "name a new directory"
            )


def write(directory: Path, name: str, measured: Measured) -> None:
    """Adds the result of a method."""
    text = files.dump(measured.settings)
    replace(_yaml(directory, name), lambda path: path.write_text(text, encoding="utf-8"))
    about = {
        key: getattr(measured, key)
        for key in ("length", "seconds", "wall_seconds", "device", "versions")
    }
    save(
        _arrays(directory, name),
        reward=measured.reward,
        tuned=measured.tuned,
        about=np.array(json.dumps(about)),
    )


def read(directory: Path, name: str) -> Measured:
    """The result of a method.

    Raises:
      ConfigError: if it is damaged.
    """
    path = _arrays(directory, name)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            settings = _settings(directory, name)
            return Measured(settings, arrays["reward"], arrays["tuned"], **about)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(f"out: cannot read {path}: {error}") from error


def versions() -> dict[str, str]:
    """Of the libraries that results depend on, by name."""
    return {name: version(name) for name in _VERSIONS_OF}


def save(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays into one file, or none if it is interrupted."""

    def write_to(beside: Path) -> None:
        with beside.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    replace(path, write_to)


def replace(path: Path, write_to: Callable[[Path], object]) -> None:
    """Writes a file beside the path, and moves it there when it is complete."""
    beside = path.with_name(f"{path.stem}.part{path.suffix}")
    write_to(beside)
    os.replace(beside, path)


def _settings(directory: Path, name: str) -> RunSettings:
    return files.load(_yaml(directory, name))


def _yaml(directory: Path, name: str) -> Path:
    return directory / METHODS / f"{name}.yaml"


def _arrays(directory: Path, name: str) -> Path:
    return directory / METHODS / f"{name}.npz"
