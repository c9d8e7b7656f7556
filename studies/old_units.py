"""Results of units as versions before 0.3 wrote them: a Parquet file each, without a digest.

Nothing says whether such a file is damaged, and one that is, or is made to, may end the process
that reads it: the library panics, or allocates what there is not. So another process reads them,
whose memory and time have a limit, and tells what is in them.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from selftuning.configs.errors import ConfigError
from selftuning.training.provenance import ROOT

_MOST_BYTES = 2**32  # of the memory of the process that reads
_SECONDS = 60.0  # that it has to begin, and for ten files
_MOST_ROWS = 10_000_000
_LETTERS = 500  # of an error
_ABOUT, _ERROR = "about", "error"  # keys of what is told, beside the columns
_LENGTH = struct.Struct("<Q")  # of what is told of a file, before that


class Old(NamedTuple):
    """What is in a file.

    Attributes:
      columns: of its table, by name [N].
      about: how the unit ran.
    """

    columns: dict[str, np.ndarray]
    about: dict[str, Any]


def read(paths: Mapping[str, Path]) -> dict[str, Old | ConfigError]:
    """What is in files, or what is wrong with them, by any name; those that are not there are not.

    Args:
      paths: of the files.
    """
    found: dict[str, Old | ConfigError] = {}
    left = {name: path for name, path in paths.items() if path.exists()}
    while left:
        told = list(_told(list(left.values())))
        for (name, path), content in zip(list(left.items()), told, strict=False):
            found[name] = _old(path, content)
            del left[name]
        if left:  # the process has not come to its end
            name = next(iter(left))
            found[name] = ConfigError(f"cannot read {left.pop(name)}: it breaks what reads it")
    return found


def _told(paths: Sequence[Path]) -> Iterator[dict[str, np.ndarray]]:
    """What another process says of files, until it has ended."""
    # Not with the working directory on its path: modules there may be anybody's.
    command = [sys.executable, "-P", "-m", __name__, *map(str, paths)]
    search = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": search, "POLARS_MAX_THREADS": "1"}
    seconds = _SECONDS * (1 + len(paths) / 10)
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=seconds, check=False
        )
        said = io.BytesIO(done.stdout)
    except subprocess.TimeoutExpired as late:
        said = io.BytesIO(late.stdout or b"")
    while len(head := said.read(_LENGTH.size)) == _LENGTH.size:
        content = said.read(_LENGTH.unpack(head)[0])
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            yield dict(arrays)


def _old(path: Path, told: dict[str, np.ndarray]) -> Old | ConfigError:
    if _ERROR in told:
        return ConfigError(f"cannot read {path}: {told[_ERROR]}")
    try:
        about = json.loads(str(told.pop(_ABOUT)))
    except (ValueError, RecursionError) as error:
        return ConfigError(f"cannot read {path}: {error}")
    if not isinstance(about, dict):
        return ConfigError(f"cannot read {path}: it does not say how it was made")
    return Old(told, about)


def main(paths: Sequence[str]) -> None:
    """Tells what is in files; this is what the other process does."""
    _limit_memory()
    for path in paths:
        buffer = io.BytesIO()
        try:
            np.savez(buffer, **_content(path))
        except BaseException as error:  # panics of the library are none of the usual ones
            buffer = io.BytesIO()
            np.savez(buffer, error=np.array(" ".join(str(error).split())[:_LETTERS]))
        content = buffer.getvalue()
        sys.stdout.buffer.write(_LENGTH.pack(len(content)) + content)
        sys.stdout.buffer.flush()


def _content(path: str) -> dict[str, Any]:
    import polars as pl

    about = pl.read_parquet_metadata(path)[_ABOUT]
    rows = pl.scan_parquet(path).select(pl.len()).collect().item()
    if rows > _MOST_ROWS:
        raise ValueError(f"{rows} rows are too many")
    table = pl.read_parquet(path)
    method = table["method"].unique().to_list()
    columns = {
        name: table[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for name in table.columns
        if name != "method"
    }
    return {_ABOUT: np.array(about), **columns, "method": np.array([str(x) for x in method])}


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not everywhere
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))


if __name__ == "__main__":
    main(sys.argv[1:])
