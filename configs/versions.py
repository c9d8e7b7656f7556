"""Which version wrote a file, and what that means for whoever reads it.

Files of a run carry a stamp: the format that they are in, and the version of this package that
wrote them. The format changes when older programs would misread a file; a new field or
hyperparameter does not change it. Files without a stamp are of format 1, of version 0.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from packaging.version import InvalidVersion, Version

import selftuning
from selftuning.configs.errors import ConfigError

FORMAT = 3
_FORMAT, _VERSION = "format", "selftuning"  # keys of the stamp


class Origin(NamedTuple):
    """Where a file comes from.

    Attributes:
      format: in which it is written.
      version: of this package that wrote it.
    """

    format: int
    version: str

    @property
    def remark(self) -> str:
        """What an error in the file should end with: the versions, if a newer one wrote it."""
        if Version(self.version) <= Version(selftuning.__version__):
            return ""
        return (
            f"; the file was written by selftuning {self.version}, this is {selftuning.__version__}"
        )


def stamp() -> dict[str, Any]:
    """What files written now begin with."""
    return {_FORMAT: FORMAT, _VERSION: selftuning.__version__}


def stamped(data: Mapping[str, Any]) -> bool:
    """Whether a file begins with a stamp: programs write it whole, people as much as they like."""
    return _FORMAT in data


def origin(data: Mapping[str, Any], where: str) -> Origin:
    """Reads the stamp in the data of a file.

    Args:
      data: the stamp, and whatever else is in the file.
      where: the data come from, for messages.

    Raises:
      ConfigError: if the stamp is none, or of a format that this version cannot read.
    """
    found = Origin(data.get(_FORMAT, 1), data.get(_VERSION, "0.1.0"))
    if type(found.format) is not int or found.format < 1:
        raise ConfigError(f"{where}: {_FORMAT}: {found.format!r} is not a format of selftuning")
    try:
        Version(found.version)
    except (InvalidVersion, TypeError) as error:
        raise ConfigError(f"{where}: {_VERSION}: {found.version!r} is not a version") from error
    if found.format > FORMAT:
        raise ConfigError(
            f"{where}: format {found.format} is newer than {FORMAT}, the newest that this version "
            f"reads; the file was written by selftuning {found.version}, this is "
            f"{selftuning.__version__}"
        )
    return found


@contextmanager
def explained(documents: Sequence[Mapping[str, Any]], where: str) -> Iterator[list[dict[str, Any]]]:
    """Yields documents without their stamps, and explains errors in those of a newer version.

    Args:
      documents: contents of files, or parts of such without a stamp.
      where: they come from, for messages.

    Raises:
      ConfigError: as `origin`; and every one raised inside, ending with the versions if a newer
        one wrote a document.
    """
    remarks = [origin(document, where).remark for document in documents]
    try:
        yield [
            {key: value for key, value in document.items() if key not in (_FORMAT, _VERSION)}
            for document in documents
        ]
    except ConfigError as error:
        raise ConfigError(f"{error}{max(remarks, default='')}") from error
