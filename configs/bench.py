"""What `run.py bench` can be asked for, and the first complaint."""

from __future__ import annotations

from dataclasses import dataclass

from selftuning.configs.errors import ConfigError, not_allowed


@dataclass(frozen=True)
class BenchSettings:
    """Settings of `run.py bench`, allowed ones only.

    Attributes:
      num_envs: numbers of environments side by side, in-graph.
      widths: units of each of the two hidden layers.
      repeats: turns that each contestant gets.
      scale: of the environment steps of a turn; 1 is a second or less of most contestants.
    """

    num_envs: tuple[int, ...] = (64, 256, 1024)
    widths: tuple[int, ...] = (64, 256)
    repeats: int = 7
    scale: float = 1.0


def settings(
    quick: bool = False,
    num_envs: tuple[int, ...] | None = None,
    widths: tuple[int, ...] | None = None,
    repeats: int | None = None,
    scale: float = 1.0,
) -> BenchSettings:
    """Checks and completes what was asked for.

    Raises:
      ConfigError: naming the setting, the value it has and the values it may have.
    """
    full = BenchSettings()
    result = BenchSettings(
        num_envs or ((256,) if quick else full.num_envs),
        widths or ((64,) if quick else full.widths),
        full.repeats if repeats is None else repeats,
        scale,
    )
    for name, values, high in (
        ("num_envs", result.num_envs, 2**17),
        ("widths", result.widths, 2**16),
        ("repeats", (result.repeats,), 1000),
    ):
        for value in values:
            if not 1 <= value <= high:
                raise not_allowed(name, value, f"a whole number between 1 and {high}")
        if len(set(values)) < len(values):
            raise ConfigError(f"{name}: {' '.join(map(str, values))} has one of them twice")
    if not 0 < scale <= 1000:
        raise not_allowed("scale", scale, "a number above 0, at most 1000")
    return result
