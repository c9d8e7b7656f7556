"""Population-based bandits: members explore as Ray's scheduler would have them."""

import numpy as np
import pytest
from ray.tune.schedulers.pb2 import PB2
from ray.tune.schedulers.pbt import _PBTTrialState

from selftuning.configs.errors import ConfigError
from selftuning.studies import execute, plan
from selftuning.studies.searches import bandit, search_plan
from selftuning.studies.searches.search_plan import Part, Stage
from tests.small_studies import small

ENDS = np.array([[-4.0, 0.0], [-4.0, 0.0]])
BEST = np.array([-1.0, -3.0])
P = 6  # members


def trained(history, interval, scores):
    """Scores [R, P] after another interval, the better the closer positions are to the best."""
    gained = 3 - np.abs(history.positions[:, interval] - BEST).sum(-1)
    return np.nan_to_num(scores) + gained + 0.01 * np.arange(P)  # no two are alike


def population(seeds, intervals, explore=bandit.explored, copies=2):
    """A population whose worst members copy the best one, without agents."""
    searches = len(seeds)
    history = bandit.no_history(searches, intervals, P, 2)
    starts = np.stack([np.random.default_rng(seed).uniform(*ENDS.T, size=(P, 2)) for seed in seeds])
    history.positions[:, 0] = starts
    history, scores = history._replace(seeds=np.array(seeds)), np.zeros((searches, P))
    for interval in range(intervals):
        scores = trained(history, interval, scores)
        history = history._replace(total=scores, weight=np.ones_like(scores))
        order = scores.argsort(1)
        source = np.tile(np.arange(P), (searches, 1))
        np.put_along_axis(source, order[:, :copies], order[:, -1:], 1)
        history = bandit.ended(history, interval, source)
        scores = np.take_along_axis(scores, source, 1)
        if interval + 1 < intervals:
            history = explore(history, interval, source, ENDS)
    return history


class Trial:
    """What Ray's scheduler asks of a trial."""

    def __init__(self, number, config):
        self.number, self.config, self.experiment_tag = number, config, ""

    def __str__(self):
        return str(self.number)


def test_its_choices_are_those_of_rays_scheduler():
    """That is told of the same members and asked in the same order, from the same generator."""
    seed, intervals = 11, 5
    history = population([seed], intervals)
    bounds = {f"h{number}": list(pair) for number, pair in enumerate(ENDS.tolist())}
    scheduler = PB2(
        time_attr="t", metric="r", mode="max", perturbation_interval=1, hyperparam_bounds=bounds
    )
    starts = history.positions[0, 0].tolist()
    trials = [Trial(n, dict(zip(bounds, at, strict=True))) for n, at in enumerate(starts)]
    states = [_PBTTrialState(trial) for trial in trials]
    asked = 0
    for interval in range(intervals - 1):
        for trial, state, score in zip(trials, states, history.scores[0, interval], strict=True):
            result = {"t": interval + 1.0, "r": score}
            scheduler._save_trial_state(state, interval + 1, result, trial)
        best = int(history.scores[0, interval].argmax())
        for member in sorted(history.scores[0, interval].argsort()[:2].tolist()):
            with bandit._drawn_from(seed, interval, member):
                config, _ = scheduler._get_new_config(trials[member], trials[best])
            trials[member].config = config
            found = history.positions[0, interval + 1, member]
            np.testing.assert_allclose([config[name] for name in bounds], found, rtol=1e-6)
            asked += not np.array_equal(found, history.positions[0, interval, best])
    assert asked == np.isfinite(history.entries[..., 0]).sum() >= 4


def test_a_search_is_the_same_again_and_whoever_is_beside_it():
    np.random.seed(3)  # noqa: NPY002 (Ray draws from that generator)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    alone, both = population([5], 4), population([4, 5], 4)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.testing.assert_array_equal(alone.positions[0], both.positions[1])
    assert not np.array_equal(both.positions[0], both.positions[1])


def test_a_member_that_died_is_not_in_rays_table_and_one_that_is_silent_keeps_its_score():
    history = population([7], 3)
    scores = np.array([[1.0, 2.0, -np.inf, 4.0, np.nan, 6.0]])
    history = history._replace(total=scores, weight=np.where(np.isnan(scores), 0.0, 1.0))
    history = bandit.ended(history, 2, np.arange(P)[None])
    table = bandit._table(history, 0, 2, ["a", "b"])
    last = table[table["Time"] == 3]
    assert last["Trial"].tolist() == ["0", "1", "3", "4", "5"]
    assert last["Reward"].tolist() == [1.0, 2.0, 4.0, history.kept[0, 1, 4], 6.0]


@pytest.mark.parametrize(
    "stage", [Stage(4, 23, 5), Stage(4, 20, 5), Stage(4, 3, 3), Stage(2, 7, 1)]
)
def test_parts_are_cut_where_members_are_compared(stage):
    parts = [
        Part(0, first, min(4, stage.cycles - first), False) for first in range(0, stage.cycles, 4)
    ]
    cut = search_plan.cut_at_intervals(parts, stage)
    cycles = [part.first + n for part in cut for n in range(part.cycles)]
    assert cycles == list(range(stage.cycles))
    # As the compiled program has it (`stages`).
    due = [
        n + 1
        for n in range(stage.cycles)
        if (stage.cycles - 1 - n) % stage.interval == 0 and n + 1 >= stage.interval
    ]
    assert due == [n for n in range(1, stage.cycles + 1) if search_plan.is_look(stage, n)]
    assert set(due) <= {part.first + part.cycles for part in cut}
    assert due[-1] == stage.cycles


def test_its_steps_are_those_of_population_based_training():
    units = {
        kind: plan.units_of(small("--methods", f"{kind},-outer").settings)
        for kind in ("pbt", "pb2")
    }
    sizes = {kind: plan.sizes(units[kind])[kind] for kind in units}
    assert sizes["pbt"] == sizes["pb2"]


def test_what_it_does_not_read_is_refused():
    with pytest.raises(ConfigError, match=r"factor: 1.5 .* left out without the method pbt"):
        small("--methods", "pb2,-outer", "--factor", "1.5")
    assert small("--methods", "pb2,-outer", "--fraction", "0.5").settings.search.fraction == 0.5


def test_without_ray_it_is_said_what_to_install(monkeypatch):
    import sys

    for name in ("bandit_search", "bandit"):
        monkeypatch.delitem(sys.modules, f"selftuning.studies.searches.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "ray.tune.schedulers", None)
    (unit,) = plan.units_of(small("--methods", "pb2,-outer").settings)
    with pytest.raises(ConfigError, match=r"pip install 'selftuning\[pb2\]'"):
        execute.make(unit)
