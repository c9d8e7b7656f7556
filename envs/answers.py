"""What environments return, checked: nobody learns from what is no number, or from another one.

Gymnasium's own checker looks at the first step alone, and only warns.
"""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from selftuning.configs import modules
from selftuning.configs.errors import ConfigError, FailedEnvironmentError, one_line

_LARGEST = float(np.finfo(np.float32).max)
_NUMBERS = "biuf"  # kinds of NumPy's types
_LONGEST = 60  # letters of a value that are shown
_UNKNOWN = re.compile(r"unexpected keyword argument '(\w+)'")


class BadAnswerError(ValueError):
    """An environment has returned what nobody can learn from."""


class Answers(gym.Wrapper):
    """Checks what the environment in it returns, before wrappers and agents rely on it.

    Rewards and ends are plain numbers and truth values then, and `info` is a dictionary.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """As `gymnasium.Env.reset`."""
        return begun(self.env.reset(seed=seed, options=options))

    def step(self, action: Any):
        """As `gymnasium.Env.step`."""
        return stepped(self.env.step(action))


def around_innermost(env: gym.Wrapper) -> None:
    """Puts `Answers` between an environment and the wrappers around it."""
    while isinstance(env.env, gym.Wrapper):
        env = env.env
    env.env = Answers(env.env)


def begun(result: Any) -> tuple[Any, Mapping[str, Any]]:
    """What `reset` returns: (observation, info).

    Raises:
      BadAnswerError: if it is anything else, such as the observation alone.
    """
    two = isinstance(result, tuple) and len(result) == 2
    if not (two and (result[1] is None or isinstance(result[1], Mapping))):
        raise BadAnswerError(f"reset() returned {shown(result)}, not (observation, info)")
    return result[0], dict(result[1] or {})


def stepped(result: Any) -> tuple[Any, float, bool, bool, Mapping[str, Any]]:
    """What `step` returns, with a reward that float32 holds, and ends that are True or False.

    Raises:
      BadAnswerError: if it cannot be had.
    """
    if type(result) is tuple and len(result) == 5:  # as most are; this costs a quarter of the rest
        _, reward, terminated, truncated, info = result
        plain = (terminated is True or terminated is False) and type(info) is dict
        plain = plain and (truncated is True or truncated is False) and type(reward) is float
        if plain and -_LARGEST <= reward <= _LARGEST:
            return result
    if not (isinstance(result, tuple | list) and len(result) == 5):
        count = f"{len(result)} values" if isinstance(result, tuple | list) else shown(result)
        wanted = "(observation, reward, terminated, truncated, info)"
        raise BadAnswerError(f"step() returned {count}, not {wanted}")
    observation, reward, terminated, truncated, info = result
    if not (info is None or isinstance(info, Mapping)):
        raise BadAnswerError(f"info is {shown(info)}, and no dictionary")
    if type(reward) is not float:
        reward = number("a reward", reward)
    if not -_LARGEST <= reward <= _LARGEST:
        why = ", which no float32 holds" if math.isfinite(reward) else ""
        raise BadAnswerError(f"a reward of {reward}{why}")
    ends = _flag("terminated", terminated), _flag("truncated", truncated)
    return observation, reward, *ends, dict(info or {})


def number(what: str, value: Any) -> float:
    """One number, which may be in an array; raises BadAnswerError if it is none."""
    found = np.asarray(value)
    if found.dtype.kind not in _NUMBERS or found.size != 1:
        raise BadAnswerError(f"{what} of {shown(value)}, and not one number")
    return float(found.item())


def array(observation: Any) -> np.ndarray:
    """An observation as an array of numbers.

    Raises:
      BadAnswerError: if it is none.
    """
    found = np.asarray(observation)
    if found.dtype.kind not in _NUMBERS:
        raise BadAnswerError(f"{shown(observation)} in place of numbers")
    return found


def as_type(found: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A new array of a type, with the same numbers or, of floats, the closest ones.

    Raises:
      BadAnswerError: if the type has no such numbers.
    """
    if found.dtype == dtype:
        return found.copy()
    if np.can_cast(found.dtype, dtype):
        return found.astype(dtype)
    if found.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is found later
            same = found.astype(dtype)
    else:
        same = found.astype(dtype)
    if dtype.kind != "f" and not (same == found).all():
        wrong = found[same != found].flat[0]
        raise BadAnswerError(f"an observation with {wrong}, which no {dtype} is")
    return same


def unfit(space: gym.Space, seen: np.ndarray) -> tuple[int, str] | None:
    """The first of observations [B, ...] that nobody can learn from, and why; None if all is well.

    Args:
      space: of one of them, as agents see it.
      seen: of the type of the space.
    """
    if seen.dtype.kind == "f":
        wrong = ~np.isfinite(seen)
    elif isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        count = space.n if isinstance(space, spaces.Discrete) else space.nvec
        wrong = (seen < 0) | (seen >= count)
    else:
        return None
    if not wrong.any():
        return None
    first, *place = (int(i) for i in np.argwhere(wrong)[0])
    at = f" at {place if len(place) > 1 else place[0]}" if place else ""
    why = "and no finite float32" if seen.dtype.kind == "f" else f"which is not in {space}"
    return first, f"an observation with {seen[wrong][0]}{at}, {why}"


def failed(
    name: str, error: BaseException, env: gym.Env | None = None, method: str = "step"
) -> FailedEnvironmentError:
    """What an environment has done, in one line.

    Args:
      name: of the environment, and when it happened.
      error: that was caught.
      env: the environment in its wrappers, to say where its code is.
      method: of it, that was called.
    """
    said = told(error, env and _of_users(env, method))
    return FailedEnvironmentError(f"{name}: {said}", modules.trace(error))


def told(error: BaseException, function: Any = None) -> str:
    """An error in a line; `function` is the user's, as of `modules.said`."""
    said = modules.said(error, function)
    return said if isinstance(error, BadAnswerError) else f"{type(error).__name__}: {said}"


@contextmanager
def created(env_id: str, arguments: Collection[str] = ()) -> Iterator[None]:
    """A context in which an environment is made: whatever its constructor raises is one line.

    Nothing has been done yet that could be lost.

    Args:
      env_id: of the environment.
      arguments: names of those that the user has given it, as in `EnvSettings.env_kwargs`.

    Raises:
      ConfigError: for anything that is raised inside; of the argument, if that is to blame.
    """
    try:
        yield
    except ConfigError as error:
        if str(error).partition(":")[0] not in arguments:
            raise
        raise ConfigError(f"env_kwargs of {error}") from error
    except (Exception, SystemExit) as error:
        unknown = _UNKNOWN.search(str(error)) if isinstance(error, TypeError) else None
        if unknown and unknown[1] in arguments:
            said = f"env_kwargs of {unknown[1]}: {env_id} has no such argument"
            raise ConfigError(said) from error
        raise ConfigError(f"env: {env_id!r} cannot be created: {why(error)}") from error


def why(error: BaseException) -> str:
    """Why an environment cannot be made. Errors of Gymnasium and of imports say what to do."""
    says = isinstance(error, gym.error.Error | ImportError) and str(error)
    return str(error) if says else told(error)


def close(env: Any) -> None:
    """Closes an environment. If it cannot be closed, a line says so, and nothing is lost by it."""
    try:
        env.close()
    except (Exception, SystemExit) as error:
        _warn(f"an environment cannot be closed: {told(error)}")


@functools.cache
def _warn(text: str) -> None:
    """Says something once, however many environments it is true of."""
    print(f"warning: {text}", file=sys.stderr)


def shown(value: Any) -> str:
    """A value in a message: itself if that is short, and else what it is."""
    if isinstance(value, np.ndarray) and value.size > 1:
        return f"an array of shape {value.shape} and type {value.dtype}"
    try:
        text = one_line(repr(value))
    except Exception:  # of a user's class
        text = ""
    return text if 0 < len(text) <= _LONGEST else f"a {type(value).__name__}"


def rewards(values: Any, count: int) -> np.ndarray:
    """Rewards of environments that are stepped together, [B] float64.

    Raises:
      BadAnswerError: if one is no number that float32 holds.
    """
    found = array(values).astype(np.float64)
    if found.shape != (count,):
        raise BadAnswerError(f"rewards of shape {found.shape}, not ({count},)")
    wrong = ~(np.abs(found) <= _LARGEST)  # NaN too
    if wrong.any():
        first = int(wrong.argmax())
        raise BadAnswerError(f"environment {first} of {count}: a reward of {found[first]}")
    return found


def _flag(name: str, value: Any) -> bool:
    if value is True or value is False:
        return value
    found = np.asarray(value)
    if found.dtype.kind not in _NUMBERS or found.size != 1 or found.item() not in (0, 1):
        raise BadAnswerError(f"{name} is {shown(value)}, and neither True nor False")
    return bool(found.item())


def _of_users(env: gym.Env, method: str) -> Any:
    """The method of the outermost wrapper that is a user's, or of the environment itself."""
    while isinstance(env, gym.Wrapper):
        found = getattr(type(env), method)
        if modules.definition(found):
            return found
        env = env.env
    return getattr(type(env), method, None)
