"""Gymnasium spaces as plain data, so that an agent can be loaded where its environment is not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

_LARGEST = 2**25  # numbers in an observation: more than in pictures of 4K


def to_plain(space: gym.Space) -> dict[str, Any]:
    """A space as data that JSON can hold; `from_plain` makes an equal one of it.

    Args:
      space: Box, Discrete, MultiDiscrete, MultiBinary, or Dict or Tuple of these.

    Raises:
      TypeError: if it is another.
    """
    match space:
        case spaces.Box():
            bounds = {"low": _numbers(space.low), "high": _numbers(space.high)}
            return _as("Box", space, shape=list(space.shape), **bounds)
        case spaces.Discrete():
            return _as("Discrete", space, n=int(space.n), start=int(space.start))
        case spaces.MultiDiscrete():
            return _as("MultiDiscrete", space, nvec=space.nvec.tolist(), start=space.start.tolist())
        case spaces.MultiBinary():
            n = space.n if isinstance(space.n, int) else list(space.shape)
            return {"kind": "MultiBinary", "n": n}
        case spaces.Dict():
            parts = {name: to_plain(part) for name, part in space.spaces.items()}
            return {"kind": "Dict", "spaces": parts}
        case spaces.Tuple():
            return {"kind": "Tuple", "spaces": [to_plain(part) for part in space.spaces]}
    raise TypeError(f"no plain data stand for the space {space}")


def read(data: Any) -> gym.Space:
    """The space that `to_plain` made data of, which may be anybody's.

    Raises:
      ValueError: if they are no such data, or of a space too large to be meant.
    """
    try:
        return from_plain(data)
    except (LookupError, TypeError, AttributeError, AssertionError, OverflowError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError("it is too deep, or too large") from error


def from_plain(data: Mapping[str, Any]) -> gym.Space:
    """The space that `to_plain` made data of."""
    match data["kind"]:
        case "Box":
            shape, dtype = tuple(data["shape"]), np.dtype(data["dtype"])
            low, high = (_array(data[bound], shape, dtype) for bound in ("low", "high"))
            return spaces.Box(low, high, dtype=dtype.type)
        case "Discrete":
            start = np.dtype(data["dtype"]).type(data["start"])
            return spaces.Discrete(data["n"], start=start, dtype=np.dtype(data["dtype"]).type)
        case "MultiDiscrete":
            dtype = np.dtype(data["dtype"])
            nvec, start = (np.array(data[name], dtype) for name in ("nvec", "start"))
            return spaces.MultiDiscrete(nvec, dtype=dtype.type, start=start)
        case "MultiBinary":
            return spaces.MultiBinary(data["n"])
        case "Dict":
            return spaces.Dict({name: from_plain(part) for name, part in data["spaces"].items()})
        case "Tuple":
            return spaces.Tuple([from_plain(part) for part in data["spaces"]])
    raise ValueError(f"kind: {data['kind']!r} is no space")


def _as(kind: str, space: gym.Space, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "dtype": np.dtype(space.dtype).name, **fields}


def _numbers(bound: np.ndarray) -> Any:
    """Bounds as a list, or as one number where all are equal, as those of images are."""
    if bound.size and (bound == bound.flat[0]).all():
        return _number(bound.flat[0].item())
    return [_number(x) for x in bound.reshape(-1).tolist()]


def _number(x: float) -> float | str:
    # JSON has no infinity; `float` reads these words.
    return x if math.isfinite(x) else str(x)


def _array(numbers: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if not 0 <= math.prod(shape) <= _LARGEST or min(shape, default=1) < 0:
        raise ValueError(f"shape {list(shape)} has too many numbers")
    flat = numbers if isinstance(numbers, list) else [numbers]
    if dtype.kind == "f":
        flat = [float(x) for x in flat]
    return np.broadcast_to(np.array(flat, dtype).reshape(shape if len(flat) > 1 else ()), shape)
