"""Settings that contradict each other get one line: the field, its value, and what is allowed."""

import math
import re
from dataclasses import replace

import pytest

from selftuning.configs.errors import ConfigError
from selftuning.configs.hyperparameters import default_hyperparameters
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from selftuning.configs.validate import validate

ACTOR_CRITIC = {"algorithm": "actor_critic"}
PPO = {"algorithm": "ppo"}
Q_LAMBDA = {"algorithm": "q_lambda"}
EXPLORING = {"inner_steps": 0, "matching": "kl"}
STUDENT = {"continue_from": "student"}
CONTEXT = {"context": "rich"}


def settings_of(agent=None, tuning=None, tuned=None, devices=1, **starts):
    """Settings with these names tuned, or those that are by default."""
    hyperparameters = {
        name: replace(
            spec,
            tuned=spec.tuned if tuned is None else name in tuned,
            start=starts.get(name, spec.start),
        )
        for name, spec in default_hyperparameters().items()
    }
    return RunSettings(
        devices=devices,
        hyperparameters=hyperparameters,
        agent=AgentSettings(**(agent or {})),
        tuning=TuningSettings(**(tuning or {})),
    )


ALLOWED = [
    {},
    {"agent": Q_LAMBDA, "tuning": EXPLORING, "tuned": {"epsilon"}},
    {"agent": Q_LAMBDA, "tuning": {"method": "none"}, "tuned": set()},
    {
        "agent": ACTOR_CRITIC | {"heads": 3, "correction": "vtrace"},
        "tuned": {"alpha_rho", "alpha_c", "policy"},
    },
    {"agent": ACTOR_CRITIC | {"outer_critic": True, "max_grad_norm": math.inf}},
    {"agent": PPO, "tuned": {"clip"}},
    {"tuning": {"differentiation": "implicit", "implicit_damping": 0.0}},
    {"tuning": {"horizon_mixing": 0.0, "inner_steps": 5}},
    {"tuning": {"horizon_mixing": 1.0, "value_weight": 0.0}},
    {"tuning": {"matching": "none"}},
    {"tuning": {"matching": "none", "value_weight": 0.0, "parameter_weight": 1.0}},
    {"tuning": {"target_by": "mixed", "target_last": "policy", "target_steps": 2}},
    {"tuning": {**STUDENT, "inner_steps": 2, "target_steps": 2, "period": 4}},
    {"tuning": {**STUDENT, "method": "mg", "target_steps": 9, "period": 2}},
    {"tuning": CONTEXT, "tuned": {"gamma", "learning_rate"}},
    # What is not used forbids nothing.
    {"tuning": {"method": "none", "inner_steps": 0, **STUDENT, "period": 1}},
]


@pytest.mark.parametrize("changes", ALLOWED, ids=range(len(ALLOWED)))
def test_allowed(changes):
    validate(settings_of(**changes))


REFUSED = [
    ({"agent": {"algorithm": "sarsa"}}, r"agent\.algorithm: sarsa .* \| ppo \| q_lambda"),
    ({"agent": ACTOR_CRITIC | {"epochs": 2}}, r"agent\.epochs: 2 .* left out for actor_critic"),
    ({"agent": PPO | {"minibatches": 5}}, r"agent\.minibatches: 5 .* a divisor of 1024"),
    ({"agent": PPO | {"heads": 2}}, r"agent\.heads: 2 .* 1 for ppo"),
    (
        {"agent": PPO | {"epochs": 1}, "tuning": {"inner_steps": 5}},
        r"tuning\.inner_steps: 5 .* at most 4, epochs \* minibatches",
    ),
    ({"agent": PPO | {"outer_critic": True}}, r"agent\.outer_critic: True .* False for ppo"),
    (
        {"agent": ACTOR_CRITIC, "tuned": {"clip"}},
        r"agent\.algorithm: actor_critic .* ppo to tune clip",
    ),
    ({"agent": {"correction": "clip"}}, r"agent\.correction: clip .* none \| vtrace"),
    ({"agent": {"heads": 0}}, r"agent\.heads: 0 .* between 1 and 1000"),
    (
        {"agent": ACTOR_CRITIC | {"heads": 2}},
        r"agent\.correction: none .* vtrace: all heads but the first",
    ),
    ({"agent": {"max_grad_norm": 0.0}}, r"agent\.max_grad_norm: 0\.0 .* above 0"),
    ({"agent": {"max_grad_norm": math.nan}}, r"agent\.max_grad_norm: nan .* above 0"),
    (
        {"agent": Q_LAMBDA | {"heads": 2}, "tuned": set()},
        r"agent\.heads: 2 .* 1 for q_lambda",
    ),
    (
        {"agent": Q_LAMBDA | {"correction": "vtrace"}, "tuned": set()},
        r"agent\.correction: vtrace .* none for q_lambda",
    ),
    (
        {"agent": Q_LAMBDA | {"outer_critic": True}, "tuned": set()},
        r"agent\.outer_critic: True .* False for q_lambda",
    ),
    (
        {"agent": Q_LAMBDA | {"overlap": True}, "tuned": set()},
        r"agent\.overlap: True .* False for q_lambda",
    ),
    ({"agent": {"overlap": True}, "devices": 2}, r"devices: 2 .* 1 with overlap"),
    ({"tuned": {"alpha_c"}}, r"agent\.correction: none .* vtrace to tune alpha_c"),
    (
        {"agent": Q_LAMBDA, "tuned": {"alpha_c"}},
        r"agent\.algorithm: q_lambda .* actor_critic \| ppo to tune alpha_c",
    ),
    (
        {"agent": ACTOR_CRITIC, "tuned": {"alpha_rho"}},
        r"agent\.correction: none .* vtrace to tune alpha_rho",
    ),
    (
        {"agent": ACTOR_CRITIC, "tuned": {"alpha_c"}},
        r"agent\.correction: none .* vtrace to tune alpha_c",
    ),
    ({"tuned": {"epsilon"}}, r"agent\.algorithm: ppo .* q_lambda to tune epsilon"),
    (
        {"agent": Q_LAMBDA, "tuning": EXPLORING, "tuned": {"entropy"}},
        r"agent\.algorithm: q_lambda .* actor_critic \| ppo to tune entropy",
    ),
    (
        {"agent": {"inner_optimizer": "rms"}, "tuned": {"momentum"}},
        r"agent\.inner_optimizer: rms .* momentum \| adam \| accelerated",
    ),
    (
        {"agent": Q_LAMBDA, "tuning": EXPLORING | {"method": "mg"}, "tuned": {"epsilon"}},
        r"tuning\.method: mg .* none \| bmg for q_lambda",
    ),
    (
        {"agent": Q_LAMBDA, "tuning": {"inner_steps": 0}, "tuned": {"epsilon"}},
        r"tuning\.matching: reverse_kl .* kl for q_lambda",
    ),
    (
        {"agent": Q_LAMBDA, "tuning": EXPLORING, "tuned": {"epsilon", "gamma", "lambda"}},
        r"tuned hyperparameters: gamma, lambda .* epsilon alone for q_lambda",
    ),
    (
        {"agent": Q_LAMBDA, "tuning": EXPLORING | {"inner_steps": 1}, "tuned": {"epsilon"}},
        r"tuning\.inner_steps: 1 .* 0 for q_lambda",
    ),
    ({"tuning": {"inner_steps": 0}}, r"tuning\.inner_steps: 0 .* at least 1"),
    ({"tuning": {"inner_steps": -1}}, r"tuning\.inner_steps: -1 .* between 0 and 1000"),
    ({"tuning": {"target_steps": 0}}, r"tuning\.target_steps: 0 .* between 1 and 1000"),
    ({"tuning": {"target_by": "inner"}}, r"tuning\.target_by: inner .* outer \| learned \| mixed"),
    ({"tuning": {"target_last": "value"}}, r"tuning\.target_last: value .* full \| policy"),
    ({"tuning": {"target_state": "new"}}, r"tuning\.target_state: new .* student \| own"),
    (
        {"tuning": {"target_by": "learned", "target_last": "policy"}},
        r"tuning\.target_last: policy .* full where target_by is learned",
    ),
    ({"tuning": {"matching": "l2"}}, r"tuning\.matching: l2 .* reverse_kl \| kl \| none"),
    (
        {"tuning": {"matching": "none", "value_weight": 0.0}},
        r"tuning\.matching: none .* reverse_kl \| kl where nothing else is matched",
    ),
    ({"tuning": {"value_weight": -1.0}}, r"tuning\.value_weight: -1\.0 .* at least 0"),
    ({"tuning": {"parameter_weight": -1.0}}, r"tuning\.parameter_weight: -1\.0 .* at least 0"),
    ({"tuning": {"outer_kl": math.inf}}, r"tuning\.outer_kl: inf .* finite number of at least 0"),
    ({"tuning": {"outer_kl": math.nan}}, r"tuning\.outer_kl: nan .* at least 0"),
    ({"tuning": {"horizon_mixing": 1.1}}, r"tuning\.horizon_mixing: 1\.1 .* between 0 and 1"),
    ({"tuning": {"horizon_mixing": -0.1}}, r"tuning\.horizon_mixing: -0\.1 .* between 0 and 1"),
    (
        {"tuning": {"differentiation": "forward"}},
        r"tuning\.differentiation: forward .* unrolled \| implicit",
    ),
    (
        {"tuning": {"differentiation": "implicit"}, "tuned": {"gamma", "learning_rate"}},
        r"tuning\.differentiation: implicit .* unrolled to tune learning_rate",
    ),
    (
        {
            "agent": {"inner_optimizer": "adam"},
            "tuning": {"differentiation": "implicit"},
            "tuned": {"momentum"},
        },
        r"tuning\.differentiation: implicit .* unrolled to tune momentum",
    ),
    ({"tuning": {"implicit_damping": -1.0}}, r"tuning\.implicit_damping: -1\.0 .* at least 0"),
    (
        {"tuning": {"implicit_iterations": 0}},
        r"tuning\.implicit_iterations: 0 .* between 1 and 1000",
    ),
    (
        {"tuning": {"continue_from": "target"}},
        r"tuning\.continue_from: target .* latest \| student",
    ),
    (
        {
            "agent": ACTOR_CRITIC,
            "tuning": {
                **STUDENT,
                "inner_steps": 2,
                "target_steps": 3,
                "period": 4,
            },
        },
        r"tuning\.period: 4 .* at least 5 ",
    ),
    (
        {"tuning": {**STUDENT, "inner_steps": 2, "target_steps": 3, "period": 1}},
        r"tuning\.period: 1 .* at least 2 ",
    ),
    (
        {
            "agent": ACTOR_CRITIC,
            "tuning": {**STUDENT, "method": "mg", "period": 1},
        },
        r"tuning\.period: 1 .* at least 2 ",
    ),
    ({"tuning": {"context": "task"}}, r"tuning\.context: task .* none \| reward \| rich"),
    (
        {"tuning": CONTEXT | {"context_hidden": (0,)}},
        r"tuning\.context_hidden: 0 .* widths between 1 and 65536",
    ),
    (
        {"tuning": CONTEXT, "tuned": {"gamma"}, "gamma": 0.9999},
        r"start of gamma: 0\.9999 .* between its bounds 0\.1:0\.9999, and not on them",
    ),
    (
        {"tuning": {"optimizer": "ao_ftrl"}, "tuned": {"learning_rate"}},
        r"tuning\.optimizer: ao_ftrl .* adam \| ogd \| omega to tune learning_rate",
    ),
    ({"alpha_rho": 1.1}, r"start of alpha_rho: 1\.1 .* between 0 and 1"),
    ({"alpha_c": -0.1}, r"start of alpha_c: -0\.1 .* between 0 and 1"),
    ({"policy": -1.0}, r"start of policy: -1\.0 .* at least 0"),
    ({"epsilon": 2.0}, r"start of epsilon: 2\.0 .* between 0 and 1"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refused_in_one_line(changes, message):
    with pytest.raises(ConfigError) as error:
        validate(settings_of(**changes))
    text = str(error.value)
    assert "\n" not in text and "it must be" in text
    assert re.match(message, text), text
