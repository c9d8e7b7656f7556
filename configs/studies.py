"""What `run.py study` can be asked for: names as plain data, and the first complaint.

`studies.two_colors_methods` has the settings behind the methods; tests hold the names equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from configs.errors import ConfigError

STUDIES: Mapping[str, str] = {
    "two-colors": "entropy weights, tuned and fixed, on a task whose rewards change sign",
}

METHODS: Mapping[str, str] = {
    "fixed": "actor-critic at entropy weights that stay as they are",
    "mg": "plain meta-gradients of one number",
    "mg_reward": "of a network that sees the latest rewards",
    "mg_rich": "of a network that sees rewards, values and TD errors",
    "bmg": "bootstrapped meta-gradients of one number",
    "bmg_reward": "of a network that sees the latest rewards",
    "bmg_rich": "of a network that sees rewards, values and TD errors",
    "q_fixed": "Q(lambda) at values of epsilon that stay as they are",
    "q_bmg": "Q(lambda) with bootstrapped epsilon, one number",
    "q_bmg_reward": "of a network that sees the latest rewards",
}


class Scale(NamedTuple):
    """How large a study is, unless told otherwise.

    Attributes:
      methods: keys of `METHODS`.
      entropy: weights of "fixed".
      steps: environment steps of each run.
      seeds: runs of each row.
    """

    methods: tuple[str, ...]
    entropy: tuple[float, ...]
    steps: int
    seeds: int


_MAIN = ("fixed", "mg_reward", "bmg_reward")
SCALES: Mapping[str, Scale] = {
    "full": Scale(tuple(METHODS), (0.0, 0.05, 0.1, 0.2, 0.4, 0.8), 10_000_000, 10),
    "main": Scale(_MAIN, (0.05, 0.1, 0.2), 10_000_000, 3),
    "quick": Scale(_MAIN, (0.05, 0.1, 0.2), 1_000_000, 5),
}
_EPSILON = (0.05, 0.1, 0.3)


@dataclass(frozen=True)
class TwoColorsSettings:
    """Settings of `run.py study two-colors`, allowed ones only.

    Attributes:
      methods: keys of `METHODS`, each once.
      steps: environment steps of each run.
      seeds: runs of each row, of seeds `seed`, `seed` + 1, ...
      seed: of the first run.
      entropy: weights of "fixed", a row each.
      epsilon: values of "q_fixed", a row each.
      env: id of a Two Colors task.
    """

    methods: tuple[str, ...]
    steps: int
    seeds: int
    seed: int
    entropy: tuple[float, ...]
    epsilon: tuple[float, ...] = _EPSILON
    env: str = "TwoColors-v0"


def settings(
    study: str = "two-colors",
    quick: bool = False,
    main: bool = False,
    methods: str | None = None,
    steps: int | None = None,
    seeds: int | None = None,
    seed: int | None = None,
) -> TwoColorsSettings:
    """Checks and completes what was asked for; `methods` are separated by commas.

    Raises:
      ConfigError: naming the setting, the value it has and the values it may have.
    """
    if study not in STUDIES:
        raise _error("study", repr(study), " | ".join(STUDIES))
    if quick and main:
        raise ConfigError("quick and main are different sizes; name one of them")
    scale = SCALES["quick" if quick else "main" if main else "full"]
    names = scale.methods if methods is None else tuple(methods.replace(" ", "").split(","))
    for number, name in enumerate(names):
        if name not in METHODS:
            raise _error("methods", repr(name), f"some of {', '.join(METHODS)}, comma separated")
        if name in names[:number]:
            raise ConfigError(f"methods: {name} is there twice")
    steps = scale.steps if steps is None else steps
    seeds = scale.seeds if seeds is None else seeds
    seed = 0 if seed is None else seed
    for label, value, low, high in (
        ("steps", steps, 1, 10**9),
        ("seeds", seeds, 1, 1000),
        ("seed", seed, 0, 2**31 - seeds),
    ):
        if not low <= value <= high:
            raise _error(label, value, f"a whole number between {low} and {high}")
    return TwoColorsSettings(names, steps, seeds, seed, scale.entropy)


def help_text() -> str:
    """What the command does, its studies and the methods that they compare."""
    studies = "".join(f"\n  {name}: {text}" for name, text in STUDIES.items())
    methods = "".join(f"\n  {name}: {text}" for name, text in METHODS.items())
    return (
        "Compare methods over many seeds: one program for each, all its seeds side by side.\n\n"
        "Each result is written when it is there. The same command with --out DIR goes on where "
        "it was stopped; without other flags it takes the settings of DIR, and draws a finished "
        f"study anew.\n\nStudies:{studies}\n\nMethods:{methods}"
    )


def _error(name: str, value: object, allowed: str) -> ConfigError:
    return ConfigError(f"{name}: {value} is not allowed; it must be {allowed}")
