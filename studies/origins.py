"""origin.json: where a study comes from, and what its directory has to hold to be that study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selftuning.configs.errors import ConfigError
from selftuning.studies import known
from selftuning.studies.known import Known
from selftuning.training import json_files

ORIGIN = "origin.json"
_FIELDS = ("command", "begun", "code")
_STUDY, _KNOWN, _SEAL = "study", "known", "sha256"


class Origin(NamedTuple):
    """Where a study comes from.

    Attributes:
      said: the command that made the directory, when it was begun, and the version of the code.
      study: digest of study.yaml; None in studies of versions before 0.3, which had none.
      known: of environment and extensions; None in these.
    """

    said: dict[str, str]
    study: str | None
    known: Known | None


def digest(text: str) -> str:
    """Of settings in a file; comments, such as that with versions of libraries, do not count."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write(directory: Path, said: Mapping[str, Any], study: str, found: Known) -> None:
    """Writes origin.json.

    Raises:
      OSError: if it cannot be written.
    """
    content = {**said, _STUDY: study, _KNOWN: known.to_plain(found)}
    json_files.write(directory / ORIGIN, {**content, _SEAL: _seal(content)})


def read(directory: Path) -> Origin:
    """Reads origin.json.

    Raises:
      ConfigError: if it is missing, or damaged.
    """
    path = directory / ORIGIN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"cannot read {path}: it is no mapping")
    said = {name: str(content.get(name, "unknown")) for name in _FIELDS}
    if not {_STUDY, _KNOWN, _SEAL} & content.keys():
        return Origin(said, None, None)
    seal = content.pop(_SEAL, None)
    if seal != _seal(content):
        raise ConfigError(f"{path} is damaged: its content does not match its digest")
    study = content.get(_STUDY) or ""
    return Origin(said, str(study), known.from_plain(content.get(_KNOWN), str(path)))


def check(directory: Path, origin: Origin, study: str) -> None:
    """Raises ConfigError if study.yaml is no more what the study was begun with."""
    if origin.study not in (None, study):
        raise ConfigError(
            f"{directory}: study.yaml was changed since the study began, whose results are of what "
            "it was; put it back, or begin another study: run.py study --config FILE --out NEW"
        )


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
