"""Methods and agents in words: what differs reads differently, with its numbers."""

import dataclasses

import pytest

from selftuning.configs import studies
from selftuning.configs.unread import unread
from selftuning.studies.report import again, citation, words
from tests import synthetic_study

STEPS = "learning_rate", "epsilon"  # of meta-optimisers that take steps
TUNING = {
    "method": "mg",
    "inner_steps": 3,
    "target_steps": 5,
    "target_by": "mixed",
    "target_last": "policy",
    "target_state": "own",
    "matching": "kl",
    "value_weight": 2.5,
    "parameter_weight": 0.75,
    "differentiation": "implicit",
    "continue_from": "student",
    "context": "rich",
    "period": 7,
    "optimizer": "omega",
    "learning_rate": 0.0125,
    "epsilon": 0.00034,
}
AGENT = {
    "algorithm": "actor_critic",
    "torso": "mlp",
    "share_convolutions": True,
    "hidden": (17, 19),
    "activation": "relu",
    "core": "gru",
    "rollout_length": 23,
    "epochs": 29,
    "minibatches": 31,
    "inner_optimizer": "sgd",
    "regularize": "l2_init",
    "anneal_learning_rate": False,
    "anneal_entropy": True,
    "max_grad_norm": 0.37,
    "normalize_observations": False,
    "normalize_rewards": False,
    "normalization_memory": 41_000.0,
    "normalize_advantage": False,
    "heads": 2,
    "correction": "vtrace",
    "overlap": True,
    "outer_critic": True,
}
# That of any study; which of its details matter to whoever reads a page is for study.yaml to say.
LEFT_OUT = {"action_bounds", "normalization_reset"}


def study(run=None, **layer):
    """A study whose only method, "own", tunes as its runs say."""
    own = {"own": {"label": "own"}}
    return studies.layered([{"run": {"env": "CartPole"} | (run or {}), "methods": own, **layer}])


def told(value):
    """A number as it is found in words."""
    return [f"{x:,.0f}" if x >= 1000 else f"{x:g}" for x in value] if value else []


@pytest.mark.parametrize("field", TUNING)
def test_another_way_of_tuning_reads_differently(field):
    plain = {"optimizer": "adam"} | ({"context": "none"} if field in STEPS else {})
    before, after = (
        words.of_method(study({"tuning": plain | extra}), "own")
        for extra in ({}, {field: TUNING[field]})
    )
    assert before != after
    if isinstance(TUNING[field], float | int):
        assert f"{TUNING[field]:g}" in after


@pytest.mark.parametrize(
    ("base", "field", "value"),
    [
        ({"inner_steps": 2}, "horizon_mixing", 0.625),
        ({"differentiation": "implicit"}, "implicit_damping", 1.375),
        ({"differentiation": "implicit"}, "implicit_iterations", 43),
        ({"method": "mg"}, "outer_kl", 0.875),
        ({"context": "reward"}, "context_hidden", (47,)),
        ({}, "trust_region", 0.0375),
        ({}, "trust_region_cut", 0.3125),
        ({}, "trust_region_repay", 0.4375),
    ],
)
def test_what_only_some_methods_read_is_said_there(base, field, value):
    rate = {"hyperparameters": {"learning_rate": {"tuned": field.startswith("trust")}}}
    text = words.of_method(study(rate | {"tuning": base | {field: value}}), "own")
    assert str(value if not isinstance(value, tuple) else value[0]) in text


def test_every_field_of_tuning_is_covered():
    fields = {field.name for field in dataclasses.fields(study().run.tuning)}
    conditional = {"horizon_mixing", "implicit_damping", "implicit_iterations", "outer_kl"}
    conditional |= {"context_hidden", "trust_region", "trust_region_cut", "trust_region_repay"}
    assert fields == set(TUNING) | conditional


@pytest.mark.parametrize("field", AGENT)
def test_another_agent_reads_differently(field):
    before, after = (
        words.of_agent(study({"agent": extra}).run) for extra in ({}, {field: AGENT[field]})
    )
    assert before != after
    if isinstance(AGENT[field], tuple | float | int) and not isinstance(AGENT[field], bool):
        values = AGENT[field] if isinstance(AGENT[field], tuple) else (AGENT[field],)
        assert all(text in after for text in told(values))


def test_every_field_of_the_agent_is_covered():
    fields = {field.name for field in dataclasses.fields(study().run.agent)}
    assert fields == set(AGENT) | LEFT_OUT


def test_start_of_the_learning_rate_and_number_of_environments_are_said():
    run = study({"num_envs": 37, "hyperparameters": {"learning_rate": {"start": 0.00123}}}).run
    assert "37 environments" in words.of_agent(run)
    assert "learning rate 0.00123, falling linearly to 0" in words.of_agent(run)


def test_what_moves_is_said_with_its_bounds_and_its_values_in_the_outer_objective():
    run = {"hyperparameters": {"gamma": {"low": 0.25, "high": 0.9375, "outer": 0.875}}}
    text = words.of_method(study(run), "own")
    assert "It moves gamma (0.25 to 0.9375, in log-odds)." in text
    assert "The outer objective has gamma 0.875, " in text
    lambda_too = {"hyperparameters": {"lambda": {"tuned": True}}}
    assert "lambda (" in words.of_method(study(lambda_too), "own").partition("It moves")[2]


def test_methods_that_do_not_tune_and_searches():
    one = study(
        methods="none,outer,anneal,random_search,pbt,optuna",
        search={"members": 13, "factor": 1.75, "budget": "run"},
    )
    texts = {name: words.of_method(one, name) for name in one.methods}
    assert len(set(texts.values())) == len(texts)
    stay = "No tuning: hyperparameters stay what they are at each start"
    assert texts["none"] == f"{stay}, but for the learning rate, which falls linearly to 0."
    both = "the learning rate and the entropy weight, which fall linearly to 0"
    assert texts["anneal"] == f"{stay}, but for {both}."
    still = study({"agent": {"anneal_learning_rate": False}}, methods="none")
    assert words.of_method(still, "none") == f"{stay}."
    assert "gamma 0.99" in texts["outer"]
    assert all("13 members" in texts[name] for name in ("random_search", "pbt", "optuna"))
    assert "a factor of 1.75" in texts["pbt"]
    assert "the environment steps of one run" in texts["optuna"]
    each = study(methods="pbt", search={"budget": "member"})
    assert "Each member has the environment steps of a whole run." in words.of_method(each, "pbt")


def test_nothing_is_said_that_nothing_reads():
    """A method's words have no number of a field that has no effect on it."""
    settings = study({"tuning": {"method": "mg", "target_steps": 53, "implicit_iterations": 59}})
    run = studies.run_settings(settings, "own")
    assert {"tuning.target_steps", "tuning.implicit_iterations"} <= unread(run).keys()
    text = words.of_method(settings, "own")
    assert "53" not in text
    assert "59" not in text


def test_the_paragraph_has_task_methods_starts_seeds_steps_and_version():
    one = synthetic_study.study(methods="none,outer,bmg", seeds=3, starts={"gamma": (0.7, 0.99)})
    text = citation.paragraph(one, "1.2.3, commit 0123456789ab")
    for part in (
        "We compared no tuning and bmg from every start of gamma 0.7 or 0.99, and fixed at the "
        "outer values, on CartPole-v1, with ",
        "3 seeds",
        "200,000 environment steps",
        "selftuning 1.2.3, commit 0123456789ab",
        words.of_agent(one.measured.settings.run),
    ):
        assert part in text
    papers = citation.references(text, words.of_method(one.measured.settings, "bmg"))
    assert [paper.partition(" (")[0][:12] for paper in papers] == [
        "R. Agarwal, ",
        "S. Flennerha",
        "J. Schulman,",
    ]
    assert "version = {1.2.3}" in citation.bibtex("1.2.3, commit 0123456789ab")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (
            "python /home/me/code/run.py study --env CartPole --out /tmp/x --workers 2",
            "python run.py study --env CartPole",
        ),
        ("python /opt/venv/bin/selftuning study --seeds 3", "selftuning study --seeds 3"),
        (
            "python run.py study --config=/me/study.yaml --trust --launcher ray --address auto",
            "python run.py study --config=study.yaml",
        ),
        (
            "python run.py study --env-kwargs 'map=/home/me/a map.txt' --out=/tmp/x --seeds 2",
            "python run.py study --env-kwargs 'map=a map.txt' --seeds 2",
        ),
        (r"python 'C:\Users\me\run.py' study", "python run.py study"),
        (
            "python run.py study --start gamma=0.7,0.99",
            "python run.py study --start gamma=0.7,0.99",
        ),
        (
            "python /a/run.py study --out /b | python /a/run.py study --out /c",
            "python run.py study | python run.py study",
        ),
        ("python 'unbalanced", "python 'unbalanced"),
    ],
)
def test_commands_without_the_machine_they_were_typed_on(typed, expected):
    assert again.command(typed) == expected


def test_the_report_says_where_runs_start_in_what_is_not_tuned():
    """What nobody could see once: that methods had different weights of a regulariser."""
    settings = study({"agent": {"regularize": "l2_init"}}).run
    starts = [{"l2_init": 1e-4, "learning_rate": 0.01}, {"l2_init": 1e-3, "learning_rate": 0.01}]
    text = words.of_agent(settings, starts)
    assert "with learning rate 0.01," in text and "with a weight of 0.0001 or 0.001" in text
    assert "with a weight of 0.001 " in words.of_agent(settings)


def test_searches_say_where_their_members_begin():
    layer = {
        "methods": {
            "random_search": None,
            "grid": {"of": "pbt", "starts": {"gamma": [0.5, 0.9], "lambda": [0.7, 0.8]}},
        }
    }
    one = studies.layered([layer])
    assert "begin with random hyperparameters" in words.of_method(one, "random_search")
    assert "begin with all combinations of gamma and lambda" in words.of_method(one, "grid")
