"""Optuna's trials as arrays: what is asked, what ends, what goes on. Nothing runs here."""

import sys

import numpy as np
import optuna
import pytest

from selftuning.configs.errors import ConfigError
from selftuning.studies import plan, programs
from selftuning.studies.searches import optuna_trials, optuna_turns
from selftuning.studies.searches.optuna_trials import COMPLETE, PRUNED, RUNNING, Rules
from selftuning.studies.searches.optuna_turns import Course
from tests.small_studies import small

SPACE = {"entropy": (-10.0, 0.0), "gamma": (-6.0, -1.0)}
RULES = Rules(random=3, warmup=1)
BEST = np.array([-4.0, -2.0])  # positions


def searched(life=5, intervals=60, seeds=(3, 8), score=None, space=SPACE, rules=RULES):
    """Searches from beginning to end; a trial has the score of its positions in each interval."""
    course = Course(space, rules, life, intervals)
    score = score or (lambda positions, age: 10 + age - np.abs(positions - BEST).sum(1))
    progress, turns = optuna_turns.first(seeds, course), []
    for done in range(1, intervals + 1):
        now = score(optuna_turns.positions(progress), progress.age)
        known = ~np.isnan(now)
        # As the sum over four episodes, or none.
        progress = progress._replace(total=4 * np.nan_to_num(now), weight=4.0 * known)
        progress, turn = optuna_turns.turn(progress, done, course, seeds)
        turns.append((progress, turn))
    return progress, turns


@pytest.fixture(scope="module")
def found():
    return searched()


def test_every_interval_is_spent_on_a_trial_or_on_the_best(found):
    progress, turns = found
    assert progress.alone.all()
    for search in range(2):
        trials, number = progress.trials.of(search), progress.number[search]
        ages = (~np.isnan(trials.scores)).sum(1)
        alone = [bool(p.alone[search]) for p, _ in turns]
        assert ages.sum() == alone.index(True) + 1
        # It goes on only where no whole trial fits in any more.
        assert 60 - ages.sum() < 5
        assert (ages[trials.state == COMPLETE] == 5).all()
        assert (ages[trials.state == PRUNED] < 5).all()
        assert set(trials.state[: number + 1]) <= {COMPLETE, PRUNED}
        assert (trials.state[number + 1 :] == 0).all()
        # Pruning has made room for more trials than there would be without.
        assert number + 1 > 60 // 5


def test_nothing_is_pruned_before_there_is_something_to_compare_it_with(found):
    progress, _ = found
    assert (progress.trials.state[:, :3] == COMPLETE).all()
    pruned = progress.trials.state == PRUNED
    assert pruned.any()
    ages = (~np.isnan(progress.trials.scores)).sum(2)
    assert ages[pruned].min() >= RULES.warmup + 1


def test_what_is_pruned_is_below_the_median(found):
    trials = found[0].trials.of(0)
    for number in np.flatnonzero(trials.state == PRUNED):
        step = (~np.isnan(trials.scores[number])).sum() - 1
        whole = np.flatnonzero(trials.state[:number] == COMPLETE)
        median = np.median(trials.scores[whole, step])
        assert np.nanmax(trials.scores[number]) < median


def test_the_best_whole_trial_goes_on_and_nothing_moves_it(found):
    progress, turns = found
    for search in range(2):
        trials, best = progress.trials.of(search), progress.best[search]
        last = np.where(trials.state == COMPLETE, trials.scores[:, -1], -np.inf)
        assert best == last.argmax()
        kept = [n for n, (_, turn) in enumerate(turns) if turn.kept[search]]
        assert turns[kept[-1]][0].best[search] == best
        resumed = [n for n, (_, turn) in enumerate(turns) if turn.resumed[search]]
        assert len(resumed) == 1
        assert not any(turn.begun[search] for _, turn in turns[resumed[0] :])
    at_end = turns[-2][0]
    np.testing.assert_array_equal(at_end.trials.scores, progress.trials.scores)


def test_each_search_has_trials_of_its_own_whoever_is_beside_it(found):
    (alone, _), both = searched(seeds=(8,)), found[0]
    for one, two in zip(alone.trials.of(0), both.trials.of(1), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(both.trials.positions[0], both.trials.positions[1])


def test_the_estimator_learns_where_the_best_is():
    """From random trials on it comes closer, in the mean over searches."""
    progress, _ = searched(life=1, intervals=40, seeds=range(6), rules=Rules(10, 0))
    distance = np.abs(progress.trials.positions - BEST).sum(2).mean(0)
    assert distance[20:].mean() < 0.6 * distance[:10].mean()
    low, high = zip(*SPACE.values(), strict=True)
    assert ((progress.trials.positions >= low) & (progress.trials.positions <= high)).all()


def test_a_suggestion_depends_on_arrays_seed_and_number_alone(found):
    trials = found[0].trials.of(0)
    asked = optuna_trials.suggest(trials, 9, SPACE, RULES, 3)
    np.testing.assert_array_equal(asked, optuna_trials.suggest(trials, 9, SPACE, RULES, 3))
    for other in ((10, SPACE, RULES, 3), (9, SPACE, RULES, 4)):
        assert not np.array_equal(asked, optuna_trials.suggest(trials, *other))


def test_trials_of_which_nothing_is_known_are_passed_over():
    """No episode ends in the first three trials."""

    def score(positions, age):
        unknown = seen[0] < 3 * 5
        seen[0] += 1
        return np.full(len(positions), np.nan if unknown else 1.0)

    seen = [0]
    progress, turns = searched(score=score)
    assert np.isnan(progress.trials.scores[:, :3]).all()
    assert (progress.trials.state[:, :3] == COMPLETE).all()
    assert turns[4][0].best.tolist() == [0, 0]  # for want of a better one
    assert (progress.best == 3).all()


def test_scores_last_until_there_are_others():
    course = Course(SPACE, RULES, 5, 60)
    progress = optuna_turns.first([0], course)
    for number, (total, weight) in enumerate([(0.0, 0.0), (6.0, 3.0), (0.0, 0.0)]):
        progress = progress._replace(total=np.array([total]), weight=np.array([weight]))
        progress, _ = optuna_turns.turn(progress, number + 1, course, [0])
    np.testing.assert_array_equal(progress.trials.scores[0, 0], [np.nan, 2, 2, np.nan, np.nan])
    assert progress.trials.state[0, 0] == RUNNING


def test_half_of_the_trials_are_random_and_a_third_of_each_is_safe():
    assert optuna_trials.rules_for(8, 10) == Rules(4, 3)
    assert optuna_trials.rules_for(2, 1) == Rules(2, 0)


def test_optuna_says_nothing(found, capfd):
    searched(intervals=12)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR


def test_without_optuna_it_is_said_what_to_install(monkeypatch):
    (unit,) = plan.units_of(small("--methods", "optuna").settings)
    for name in [
        name for name in sys.modules if name.startswith("selftuning.studies.searches.optuna")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("selftuning.studies.searches.optuna_search", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"^optuna: .*not installed; pip install optuna"):
        programs.make(unit)
