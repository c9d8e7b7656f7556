"""Pictures of grids, with NumPy alone."""

from __future__ import annotations

import numpy as np

Color = tuple[int, int, int]

_PIXELS = 64  # of a cell and one of the lines around it
_LINE: Color = (205, 205, 205)

# Where the pixels of a cell are, from its middle, and shapes as masks of them.
_X, _Y = np.meshgrid(*[np.arange(_PIXELS - 1) - (_PIXELS - 2) / 2] * 2)
ALL = np.ones_like(_X, bool)
SQUARE = np.maximum(np.abs(_X), np.abs(_Y)) < 24
DISC = np.hypot(_X, _Y) < 21
MINUS = (np.abs(_X) < 14) & (np.abs(_Y) < 3.5)
PLUS = MINUS | MINUS.T


def grid(rows: int, columns: int, background: Color = (250, 250, 250)) -> np.ndarray:
    """An image [64 rows + 1, 64 columns + 1, 3] uint8 of empty cells."""
    image = np.full((rows * _PIXELS + 1, columns * _PIXELS + 1, 3), background, np.uint8)
    image[::_PIXELS] = image[:, ::_PIXELS] = _LINE
    return image


def paint(image: np.ndarray, row: int, column: int, mask: np.ndarray, color: Color) -> None:
    """Colors the pixels of one cell of `image` where `mask` is true."""
    top, left = 1 + _PIXELS * row, 1 + _PIXELS * column
    image[top : top + len(mask), left : left + len(mask)][mask] = color
