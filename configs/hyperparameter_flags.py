"""The repeatable flags that change hyperparameters: --start, --fix, --tune, --bounds, --outer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from cyclopts import Group, Parameter

from selftuning.configs import help_defaults, suggestions
from selftuning.configs.errors import ConfigError
from selftuning.configs.flag_values import number
from selftuning.configs.hyperparameters import BUILT_IN, Hyperparameter

GROUP = Group(
    "Hyperparameters",
    help="".join(f"- {name}: {one.about}\n" for name, one in BUILT_IN.items()),
    sort_key=1,
)


def _flag(text: str, show: Callable[[str, Hyperparameter], str]) -> Parameter:
    return Parameter(
        help=text, group=GROUP, show_default=lambda _: help_defaults.shown_of_each(show)
    )


_START = _flag("NAME=VALUE: value at the first step.", lambda name, h: f"{name}={h.start:g}")
_FIX = _flag("NAME: keep it at its start.", lambda name, h: "" if h.tuned else name)
_TUNE = _flag("NAME: tune it online.", lambda name, h: name if h.tuned else "")
_BOUNDS = _flag(
    "NAME=LOW:HIGH: values that tuning may reach.", lambda name, h: f"{name}={h.low:g}:{h.high:g}"
)
_OUTER = _flag(
    "NAME=VALUE: its value in the outer objective, which is never tuned.",
    lambda name, h: "" if h.outer is None else f"{name}={h.outer:g}",
)


@dataclasses.dataclass(frozen=True)
class HyperparameterFlags:
    """What the flags said, as text."""

    start: Annotated[tuple[str, ...], _START] = ()
    fix: Annotated[tuple[str, ...], _FIX] = ()
    tune: Annotated[tuple[str, ...], _TUNE] = ()
    bounds: Annotated[tuple[str, ...], _BOUNDS] = ()
    outer: Annotated[tuple[str, ...], _OUTER] = ()


def edited(flags: HyperparameterFlags) -> Iterator[tuple[str, str]]:
    """Names that flags say something of, each after the flag: ("start", "gamma")."""
    for flag, texts in vars(flags).items():
        yield from ((flag, text.partition("=")[0]) for text in texts)


def names_in(flags: HyperparameterFlags) -> set[str]:
    """Names of the hyperparameters that flags say something of."""
    return {name for _, name in edited(flags)}


def edit(base: dict[str, Hyperparameter], flags: HyperparameterFlags) -> dict[str, Hyperparameter]:
    """The hyperparameters, those of extensions too, with the changes that flags ask for.

    Raises:
      ConfigError: if a flag is malformed, names no hyperparameter or contradicts another.
    """
    changes: dict[str, dict[str, Any]] = {name: {} for name in base}

    def change(flag: str, name: str, **values: Any) -> None:
        if name not in changes:
            close = suggestions.meant(name.replace("-", "_"), base)
            hint = f"did you mean {close}?" if close else f"they are {', '.join(base)}"
            raise ConfigError(f"{flag}: no hyperparameter is called {name!r}; {hint}")
        if set(values) & set(changes[name]):
            raise ConfigError(f"{flag} {name}: said twice, or against another flag")
        changes[name].update(values)

    for flag, texts in (("start", flags.start), ("outer", flags.outer)):
        for text in texts:
            name, value = _split(f"--{flag}", text, "NAME=VALUE")
            if flag == "outer" and name in base and base[name].outer is None:
                raise ConfigError(f"--outer: {name} is no part of the outer objective")
            change(f"--{flag}", name, **{flag: _number(f"--{flag}", value, text)})
    for text in flags.bounds:
        name, value = _split("--bounds", text, "NAME=LOW:HIGH")
        low, colon, high = value.partition(":")
        if not colon:
            raise ConfigError(f"--bounds: {text!r} is not of the form NAME=LOW:HIGH")
        numbers = {"low": _number("--bounds", low, text), "high": _number("--bounds", high, text)}
        change("--bounds", name, **numbers)
    for name in flags.fix:
        change("--fix", name, tuned=False)
    for name in flags.tune:
        change("--tune", name, tuned=True)
    return {name: dataclasses.replace(old, **changes[name]) for name, old in base.items()}


def _split(flag: str, text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{flag}: {text!r} is not of the form {form}")
    return name, value


def _number(flag: str, text: str, whole: str) -> float:
    try:
        return number(text)
    except ValueError as error:
        raise ConfigError(f"{flag}: {text!r} in {whole!r} is not a number") from error
