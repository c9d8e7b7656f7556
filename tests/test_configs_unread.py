"""Settings of tuning without effect: which they are, and that who gives one by name is told."""

import re
import shlex
from dataclasses import replace

import jax
import pytest

import selftuning as st
from selftuning.agents import self_tuning, window
from selftuning.configs import cli, studies, study_checks
from selftuning.configs.errors import ConfigError
from selftuning.configs.unread import unread
from selftuning.configs.validate import validate
from tests.test_agents_self_tuning import ACTIONS, OBSERVATIONS, make_settings, trajectory

SPACES = OBSERVATIONS, ACTIONS["discrete"]
OTHERS = {  # another value of each setting that an update, or what judges it, may read
    "target_steps": 3,
    "target_by": "learned",
    "target_last": "policy",
    "target_state": "own",
    "matching": "kl",
    "value_weight": 3.0,
    "parameter_weight": 0.5,
    "outer_kl": 0.5,
    "implicit_damping": 0.5,
    "implicit_iterations": 7,
    "horizon_mixing": 0.5,
    "context_hidden": (16,),
    "trust_region": 0.01,
    "trust_region_cut": 0.5,
    "trust_region_repay": 0.01,
}
METHODS = {
    "mg": ({}, {"method": "mg", "inner_steps": 2}, ()),
    "outer critic": ({"outer_critic": True}, {"method": "bmg"}, ("learning_rate",)),
    "implicit": ({}, {"method": "bmg", "differentiation": "implicit"}, ("learning_rate",)),
    "context": ({}, {"method": "bmg", "context": "rich", "inner_steps": 2}, ("learning_rate",)),
    "q_lambda": (
        {"algorithm": "q_lambda"},
        {"method": "bmg", "inner_steps": 0, "matching": "kl"},
        ("gamma", "lambda", "learning_rate"),
    ),
}


def settings_of(name):
    agent, tuning, fixed = METHODS[name]
    settings = make_settings(agent=agent, period=4, **tuning)
    hyperparameters = {
        key: replace(spec, tuned=spec.tuned and key not in fixed)
        for key, spec in settings.hyperparameters.items()
    }
    settings = replace(settings, hyperparameters=hyperparameters)
    validate(settings)
    return settings


def program(settings):
    """Four updates and the meta-step after them, as text."""
    agent = self_tuning.make(*SPACES, settings)

    def cycle(state, batches):
        steps = []
        for batch in batches:
            state, step = agent.inner_step(state, batch)
            steps.append(step)
        return agent.meta_step(state, window.kept(agent.window, steps))

    state = jax.eval_shape(agent.init, jax.random.PRNGKey(0))
    text = str(jax.make_jaxpr(cycle)(state, [trajectory(seed, SPACES[1]) for seed in range(4)]))
    return re.sub("0x[0-9a-f]+", "", text)


def with_other(settings, field):
    return replace(settings, tuning=replace(settings.tuning, **{field: OTHERS[field]}))


def test_a_value_weight_that_is_unread_leaves_the_program_as_it_is():
    settings = settings_of("outer critic")
    assert "tuning.value_weight" in unread(settings)
    assert program(with_other(settings, "value_weight")) == program(settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_what_is_unread_and_nothing_else_leaves_the_program_as_it_is(name):
    settings = settings_of(name)
    first = program(settings)
    for field in OTHERS:
        changed = with_other(settings, field)
        try:
            validate(changed)
        except ConfigError:
            continue
        if changed != settings:
            assert (program(changed) == first) == (f"tuning.{field}" in unread(settings)), field


REFUSED = {
    "--preset actor_critic --outer-critic --value-weight 5": "value-weight: 5.0 .* outer_critic",
    "--meta mg --target-steps 4": "target-steps: 4 .* with mg, which has no target",
    "--meta mg --matching kl": "matching: kl .* with mg",
    "--outer-kl 1": "outer-kl: 1.0 .* with bmg",
    "--implicit-damping 2": "implicit-damping: 2.0 .* unrolled",
    "--differentiation implicit --inner-steps 2 --horizon-mixing 0.5": "horizon-mixing: 0.5 .* imp",
    "--horizon-mixing 0.5": "horizon-mixing: 0.5 .* fewer than 2 inner_steps",
    "--trust-region 0.1": "trust-region: 0.1 .* unless learning_rate is tuned",
    "--meta-epsilon 0.1": "meta-epsilon: 0.1 .* ftrl, which has no step size",
    "--context-hidden 8": r"context-hidden: \(8,\) .* where context is none",
    "--preset q_lambda --value-weight 5": "value-weight: 5.0 .* q_lambda",
    "--meta none --outer lambda=0.9": "outer lambda: 0.9 .* with meta none",
    "--meta none --no-normalize-rewards --outer gamma=0.9": "outer gamma: 0.9 .* with meta none",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_a_flag_without_effect_is_refused_in_one_line(flags):
    with pytest.raises(ConfigError, match=rf"^--{REFUSED[flags]}") as error:
        cli.parse(shlex.split(flags))
    assert "\n" not in str(error.value)


def test_a_keyword_and_a_change_of_a_method_are_refused_as_flags_are():
    with pytest.raises(ConfigError, match=r"^outer_kl: 1\.0 .* left out with bmg"):
        st.train(outer_kl=1.0)
    changes = {"tuning": {"outer_kl": 1.0}}
    study = studies.layered([{"methods": {"mine": {"of": "bmg", "changes": changes}}}])
    with pytest.raises(ConfigError, match=r"^methods\.mine\.changes\.tuning\.outer_kl: 1\.0"):
        study_checks.check(study)


@pytest.mark.parametrize(
    "flags",
    [
        "--env TwoColors --meta mg",  # whose preset has targets
        "--preset stacx --meta bmg",  # which has an outer KL
        "--env TwoColors --meta none",
        "--preset actor_critic --outer-critic --target-by mixed --value-weight 5",
        "--preset actor_critic --outer-critic --meta mg --value-weight 5",
        "--tune learning_rate --trust-region 0.1",
    ],
)
def test_what_was_not_given_and_what_has_an_effect_is_allowed(flags):
    assert cli.parse(shlex.split(flags)) is not None
