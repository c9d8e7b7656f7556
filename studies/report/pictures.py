"""Pictures that were drawn elsewhere, inside of the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from selftuning.studies.report.parts import Section

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIZE = slice(16, 24)  # of a PNG file: width and height, four bytes each


class Drawn(NamedTuple):
    """A picture that is there as a file.

    Attributes:
      title: of it.
      caption: what it shows and how to read it, also for those who do not see it.
      path: of the PNG file.
    """

    title: str
    caption: str
    path: Path


def section(pictures: Sequence[Drawn | tuple[str, str, Path]]) -> Section:
    """The pictures, one below the other.

    Raises:
      OSError: if one cannot be read.
      ValueError: if one is not a PNG file.
    """
    drawn = [_figure(number, Drawn(*picture)) for number, picture in enumerate(pictures)]
    return Section("pictures", "Pictures of this task", after="\n".join(drawn))


def _figure(number: int, picture: Drawn) -> str:
    data = picture.path.read_bytes()
    if not data.startswith(_SIGNATURE):
        raise ValueError(f"{picture.path} is not a PNG file")
    size = data[_SIZE]
    width, height = (int.from_bytes(part, "big") for part in (size[:4], size[4:]))
    content = base64.b64encode(data).decode("ascii")
    return (
        f"<figure><h3>{escape(picture.title)}</h3>"
        f'<img class="drawn" alt="{escape(picture.title)}" width="{width}" height="{height}" '
        f'aria-describedby="drawn-{number}" src="data:image/png;base64,{content}">'
        f'<figcaption><p id="drawn-{number}">{escape(picture.caption)}</p></figcaption></figure>'
    )
