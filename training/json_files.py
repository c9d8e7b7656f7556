"""JSON that is JSON: numbers that are not finite are null, for the format has no others."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selftuning.training import run_directory


def text(content: Any, indent: int | None = 2) -> str:
    """Content as JSON, on one line if `indent` is None, with a line break at its end.

    Args:
      content: plain data, in which mappings may be of any kind, and numbers and arrays NumPy's.
      indent: of nested lines.
    """
    return json.dumps(_finite(content), indent=indent, allow_nan=False, ensure_ascii=False) + "\n"


def write(path: Path, content: Any, indent: int | None = 2) -> None:
    """Writes a file, anew if it is there; a reader sees the old one or the new one, never half.

    Raises:
      OSError: if it cannot be written.
    """
    run_directory.write_whole(path, text(content, indent))


def write_new(path: Path, content: Any) -> None:
    """Writes a new file.

    Raises:
      FileExistsError: if there is one already.
      OSError: if it cannot be written.
    """
    with path.open("x", encoding="utf-8") as file:
        file.write(text(content))


def _finite(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
