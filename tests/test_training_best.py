"""Evaluations while a run goes on: when they are, what they change, and what is kept."""

import json

import numpy as np
import pytest

import selftuning as st
from selftuning.configs.errors import ConfigError
from selftuning.training.best import Best
from selftuning.training.evaluation import Evaluation

SMALL = {"steps": 4096, "num_envs": 4, "rollout_length": 32, "epochs": 2, "minibatches": 2}
SMALL |= {"hidden": (8,), "eval_episodes": 3, "progress": False}


def chooser(every, means):
    seen = []

    def evaluate(agent, more):
        seen.append(more)
        return Evaluation(np.array([means[agent]]), np.array([1]), np.array([True]))

    return Best(every, lambda state, steps: state, evaluate), seen


def test_the_best_is_kept_and_the_last_of_equals():
    best, seen = chooser(10, {"a": 1.0, "b": 3.0, "c": 3.0, "d": 2.0})
    states = ((10, "a"), (20, "b"), (30, "c"), (40, "d"))
    assert [best(state, steps) for steps, state in states] == [True, True, True, False]
    assert best.evaluations == {10: 1.0, 20: 3.0, 30: 3.0, 40: 2.0}
    assert best.agent == "c"
    assert set(seen) == {2**32}, "not the episodes of the end"


def test_what_is_not_a_number_is_never_the_best():
    best, _ = chooser(10, {"a": float("nan"), "b": 1.0, "c": float("nan")})
    states = ((10, "a"), (20, "b"), (30, "c"))
    assert [best(state, steps) for steps, state in states] == [False, True, False]
    assert best.agent == "b"
    again, _ = chooser(10, {"d": 0.5, "e": 2.0})
    again.go_on(best.evaluations, "b")
    assert not again("d", 39) and not again("d", 40) and again("e", 50)
    assert again.agent == "e" and list(again.evaluations) == [10, 20, 30, 40, 50]


@pytest.mark.parametrize(
    ("every", "expected"), [(0, []), (1, [8, 16, 24, 32, 40]), (10, [16, 24, 32, 40]), (25, [32])]
)
def test_evaluations_are_at_the_first_chunks_after_they_are_due(every, expected):
    best, _ = chooser(every, dict.fromkeys("abcde", 0.0))
    for number, state in enumerate("abcde", start=1):
        best(state, 8 * number)
    assert list(best.evaluations) == expected


@pytest.fixture(scope="module", params=["jax", "host"])
def both(request, tmp_path_factory):
    """A run that is evaluated on the way, and the same run that is not."""
    folder = tmp_path_factory.mktemp(request.param)
    with_it = st.train(backend=request.param, eval_every=1000, out=folder / "with", **SMALL)
    return with_it, st.train(backend=request.param, out=folder / "without", **SMALL)


def test_training_does_not_notice(both):
    watched, alone = both
    np.testing.assert_array_equal(watched.returns, alone.returns)
    np.testing.assert_array_equal(watched.evaluation.returns, alone.evaluation.returns)
    assert alone.best is None and alone.evaluations == {} and alone.summary["best"] is None


def test_what_a_run_says_of_its_best_agent_is_so(both):
    run, alone = both
    assert [steps // 1000 for steps in run.evaluations] == [1, 2, 3, 4]
    assert run.evaluations[run.best.env_steps] == max(run.evaluations.values())
    found = run.best.evaluate(3, seed=2**32).mean  # the episodes that chose it
    assert found == run.evaluations[run.best.env_steps]
    judged = {"env_steps": run.best.env_steps, "eval_mean": run.best.evaluate().mean}
    assert run.summary["best"] == judged
    lines = [json.loads(x) for x in (run.directory / "metrics.jsonl").read_text().splitlines()]
    logged = {x["env_steps"]: x["eval_mean"] for x in lines if "eval_mean" in x}
    assert logged == run.evaluations
    loaded = st.load(run.directory, best=True)
    assert loaded.env_steps == run.best.env_steps
    assert loaded.evaluate().mean == run.best.evaluate().mean
    with pytest.raises(ConfigError, match=r"best: .* has no best agent; runs with --eval-every"):
        st.load(alone.directory, best=True)


def test_many_runs_have_none():
    with pytest.raises(ConfigError, match="eval_every: 5 is not allowed; it must be 0 for many"):
        st.train_many(seeds=[0], eval_every=5, **SMALL)
