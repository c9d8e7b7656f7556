"""The methods of the Two Colors study: this table alone says what their runs are made of.

They are the environment's preset, and what is changed in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from configs import presets
from configs.settings import RunSettings
from configs.studies import TwoColorsSettings
from configs.validate import validate

Context = Literal["none", "reward", "rich"]
Changes = Mapping[str, Any]

# Changes of the tuning settings. All were chosen on seeds from 1000 up.
MG: Changes = {"method": "mg", "value_weight": 1.0}
BMG: Changes = {"method": "bmg"}
Q_BMG: Changes = {"target_steps": 128, "period": 128}  # of the q_lambda preset's
Q_LEARNING_RATE = 1e-3  # of RMSProp: with plain gradient descent Q(lambda) does not learn this
FIXED: Changes = {"method": "none", "context": "none"}


class Method(NamedTuple):
    """One program, all rows and seeds of which run side by side.

    Attributes:
      label: of its rows.
      family: "fixed", "mg", "bmg", "q_fixed" or "q_bmg".
      context: what a meta-network sees.
      hyperparameter: what is tuned, or differs between the rows of a fixed method.
      make: id of the environment -> settings, but for steps and seed.
    """

    label: str
    family: str
    context: Context
    hyperparameter: Literal["entropy", "epsilon"]
    make: Callable[[str], RunSettings]

    @property
    def fixed(self) -> bool:
        """Whether it tunes nothing."""
        return self.family in ("fixed", "q_fixed")


def _fixed() -> Method:
    def make(env: str) -> RunSettings:
        return _tuning(presets.for_env(env), FIXED)

    return Method("entropy weight", "fixed", "none", "entropy", make)


def _actor_critic(family: str, changes: Changes, context: Context) -> Method:
    def make(env: str) -> RunSettings:
        return _tuning(presets.for_env(env), {**changes, "context": context})

    return Method(_label(family, context), family, context, "entropy", make)


def _q_lambda(env: str) -> RunSettings:
    settings = presets.with_method(presets.for_env(env), "q_lambda")
    rate = replace(settings.hyperparameters["learning_rate"], start=Q_LEARNING_RATE)
    return replace(
        settings,
        agent=replace(settings.agent, inner_optimizer="rms"),
        hyperparameters=settings.hyperparameters | {"learning_rate": rate},
    )


def _q_fixed() -> Method:
    def make(env: str) -> RunSettings:
        return _tuning(_q_lambda(env), FIXED)

    return Method("Q(λ) at ε =", "q_fixed", "none", "epsilon", make)


def _q_bmg(context: Context) -> Method:
    def make(env: str) -> RunSettings:
        return _tuning(_q_lambda(env), {**Q_BMG, "context": context})

    return Method(_label("Q(λ) bmg", context), "q_bmg", context, "epsilon", make)


def _tuning(settings: RunSettings, changes: Changes) -> RunSettings:
    return replace(settings, tuning=replace(settings.tuning, **changes))


def _label(name: str, context: Context) -> str:
    return f"{name} (scalar)" if context == "none" else f"{name} + {context}"


METHODS: Mapping[str, Method] = {
    "fixed": _fixed(),
    "mg": _actor_critic("mg", MG, "none"),
    "mg_reward": _actor_critic("mg", MG, "reward"),
    "mg_rich": _actor_critic("mg", MG, "rich"),
    "bmg": _actor_critic("bmg", BMG, "none"),
    "bmg_reward": _actor_critic("bmg", BMG, "reward"),
    "bmg_rich": _actor_critic("bmg", BMG, "rich"),
    "q_fixed": _q_fixed(),
    "q_bmg": _q_bmg("none"),
    "q_bmg_reward": _q_bmg("reward"),
}


def run_settings(study: TwoColorsSettings, name: str) -> RunSettings:
    """Settings of the runs of a method.

    Raises:
      ConfigError: if they are not allowed.
    """
    made = METHODS[name].make(study.env)
    settings = replace(made, steps=study.steps, seed=study.seed)
    validate(settings)
    return settings


def fixed_values(study: TwoColorsSettings, name: str) -> tuple[float, ...]:
    """Start values of the rows of a fixed method; () for a tuned one, which has one row."""
    if not METHODS[name].fixed:
        return ()
    return study.entropy if METHODS[name].hyperparameter == "entropy" else study.epsilon
