"""Optuna's trials: what is asked, what ends, what goes on. No agent runs here."""

import sys

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from selftuning.configs.errors import ConfigError
from selftuning.studies import execute, plan
from selftuning.studies.programs import Program
from selftuning.studies.searches.optuna_storage import GOES_ON, SCORE, Journal
from selftuning.studies.searches.optuna_trials import DIED, Course, Searches, course_of
from selftuning.studies.searches.ranges import Range
from tests.small_studies import small

SPACE = {"entropy": (-10.0, 0.0), "gamma": (-6.0, -1.0)}
COURSE = Course(SPACE, life=5, intervals=60, random=3, warmup=1)
BEST = np.array([-4.0, -2.0])  # positions


def by_distance(positions, age):
    return 10 + age - np.abs(positions - BEST).sum(1)


def searched(seeds=(3, 8), course=COURSE, score=by_distance):
    """Searches from beginning to end; a trial has the score of its positions in each interval."""
    searches, scores, turns = Searches(course), np.zeros((len(seeds), 0)), []
    turn, ages = searches.turn(seeds, scores), np.zeros(len(seeds), int)
    for _ in range(course.intervals):
        now = score(searches.positions, ages)
        scores = np.concatenate([scores, np.where(alone(searches), -1e9, now)[:, None]], 1)
        turn = searches.turn(seeds, scores)
        ages = np.where(turn.begun, 0, ages + 1)
        turns.append((turn, alone(searches), np.array([one.best for one in searches.each])))
    return searches, turns, scores


def alone(searches):
    return np.array([one.alone for one in searches.each])


def trials_of(searches, search, *states):
    """(Trials, those of some states) of one of them."""
    trials = searches.each[search].study.trials
    return trials, [one for one in trials if one.state in states]


def positions_of(searches):
    """Of all trials, as many as each search has [R, N, D]."""
    trials = [one.study.trials for one in searches.each]
    least = min(map(len, trials))
    return np.array([[[t.params[n] for n in SPACE] for t in one[:least]] for one in trials])


@pytest.fixture(scope="module")
def found():
    return searched()


def test_every_interval_is_spent_on_a_trial_or_on_the_best(found):
    searches, turns, _ = found
    assert alone(searches).all()
    for search in range(2):
        trials, whole = trials_of(searches, search, TrialState.COMPLETE)
        _, pruned = trials_of(searches, search, TrialState.PRUNED)
        ages = sum(len(one.intermediate_values) for one in trials)
        assert ages == [bool(then[search]) for _, then, _ in turns].index(True) + 1
        # It goes on only where no whole trial fits in any more.
        assert 60 - ages < 5
        assert {len(one.intermediate_values) for one in whole} == {5}
        assert all(len(one.intermediate_values) < 5 for one in pruned)
        assert len(whole) + len(pruned) == len(trials)
        # Pruning has made room for more trials than there would be without.
        assert len(trials) > 60 // 5


def test_nothing_is_pruned_before_there_is_something_to_compare_it_with(found):
    for search in range(2):
        trials, pruned = trials_of(found[0], search, TrialState.PRUNED)
        assert all(one.state == TrialState.COMPLETE for one in trials[:3])
        assert pruned
        assert min(len(one.intermediate_values) for one in pruned) >= COURSE.warmup + 1


def test_what_is_pruned_is_below_the_median(found):
    trials, pruned = trials_of(found[0], 0, TrialState.PRUNED)
    for one in pruned:
        before = [x for x in trials[: one.number] if x.state == TrialState.COMPLETE]
        median = np.median([x.intermediate_values[one.last_step] for x in before])
        assert max(one.intermediate_values.values()) < median


def test_the_best_whole_trial_goes_on_and_nothing_moves_it(found):
    searches, turns, _ = found
    for search, one in enumerate(searches.each):
        assert one.best == one.study.best_trial.number
        kept = [n for n, (turn, _, _) in enumerate(turns) if turn.kept[search]]
        assert turns[kept[-1]][2][search] == one.best
        resumed = [n for n, (turn, _, _) in enumerate(turns) if turn.resumed[search]]
        assert len(resumed) == 1
        assert not any(turn.begun[search] for turn, _, _ in turns[resumed[0] :])


def test_each_search_has_trials_of_its_own_whoever_is_beside_it(found):
    (alone_, *_), both = searched(seeds=(8,)), found[0]
    one, two = alone_.each[0].study.trials, both.each[1].study.trials
    assert [x.params for x in one] == [x.params for x in two]
    assert [x.intermediate_values for x in one] == [x.intermediate_values for x in two]
    assert one[0].params != both.each[0].study.trials[0].params


@pytest.mark.parametrize("done", [0, 7, 33])
def test_searches_that_hear_their_scores_again_go_on_the_same(found, done):
    """As after a kill, of which nothing is left but scores and seeds."""
    searches, _, scores = found
    other = Searches(COURSE)
    other.turn((3, 8), scores[:, :done])
    other.turn((3, 8), scores)
    for one, two in zip(searches.each, other.each, strict=True):
        assert [x.params for x in one.study.trials] == [x.params for x in two.study.trials]
        assert [x.state for x in one.study.trials] == [x.state for x in two.study.trials]
        assert (one.best, one.alone) == (two.best, two.alone)
    # And so do those that had gone further, or were others.
    other.turn((3, 8), scores[:, :done])
    again = Searches(COURSE)
    again.turn((4, 4), scores[:, :20])
    again.turn((3, 8), scores[:, :done])
    np.testing.assert_array_equal(other.positions, again.positions)


def test_the_estimator_learns_where_the_best_is():
    """From random trials on it comes closer, in the mean over searches."""
    course = Course(SPACE, life=1, intervals=40, random=10, warmup=0)
    positions = positions_of(searched(seeds=range(6), course=course)[0])
    distance = np.abs(positions - BEST).sum(2).mean(0)
    assert distance[20:].mean() < 0.6 * distance[:10].mean()
    low, high = zip(*SPACE.values(), strict=True)
    assert ((positions >= low) & (positions <= high)).all()


def test_trials_of_which_nothing_is_known_are_passed_over():
    """No episode ends in the first three trials."""

    def score(positions, age):
        unknown = seen[0] < 3 * 5
        seen[0] += 1
        return np.full(len(positions), np.nan if unknown else 1.0)

    seen = [0]
    searches, turns, _ = searched(score=score)
    for one in searches.each:
        first = one.study.trials[:3]
        assert [(t.state, t.intermediate_values) for t in first] == [(TrialState.FAIL, {})] * 3
        assert one.best == 3
    assert turns[4][2].tolist() == [0, 0]  # for want of a better one
    assert turns[4][0].begun.all()


def test_scores_last_until_there_are_others():
    searches = Searches(COURSE)
    searches.turn([0], np.array([[np.nan, 2.0, np.nan]]))
    (trial,) = searches.each[0].study.trials
    assert trial.intermediate_values == {1: 2.0, 2: 2.0}
    assert trial.state == TrialState.RUNNING


def test_half_of_the_trials_are_random_and_a_third_of_each_is_safe():
    assert course_of(SPACE, 8, 10, 60) == Course(SPACE, 10, 60, random=4, warmup=3)
    assert course_of(SPACE, 2, 1, 60) == Course(SPACE, 1, 60, random=2, warmup=0)


def test_optuna_says_nothing(capfd):
    searched(course=COURSE._replace(intervals=12))
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
        execute.make(unit)


@pytest.mark.parametrize("died", [DIED, np.nan])
def test_trials_that_died_have_failed_and_make_room(died):
    """Nothing that is no number reaches Optuna, and none of them goes on as the best."""
    bad = -6.0  # entropy weights up to here

    def score(positions, ages):
        return np.where((positions[:, 0] < bad) & (ages > 0), died, by_distance(positions, ages))

    searches, _, _ = searched(score=score)
    for search in range(2):
        trials, failed = trials_of(searches, search, TrialState.FAIL)
        dead = [one for one in trials if one.params["entropy"] < bad]
        if died == DIED:
            assert dead and all(one.state != TrialState.COMPLETE for one in dead)
            assert failed and all(len(one.intermediate_values) == 1 for one in failed)
            best = trials[searches.each[search].best]
            assert best.state == TrialState.COMPLETE and best.params["entropy"] >= bad
        else:  # unknown is not dead: the trial keeps the score that it had
            assert not failed


def test_a_search_in_which_all_died_goes_on_with_its_first_trial():
    searches, _, _ = searched(score=lambda positions, ages: np.full(len(positions), DIED))
    assert alone(searches).all()
    trials, failed = trials_of(searches, 0, TrialState.FAIL)
    assert len(failed) == len(trials) and searches.each[0].best == -1


def studies_in(path):
    storage = JournalStorage(JournalFileBackend(str(path)))
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}


SPACES = {"entropy": Range(np.exp(-10.0), 1.0, "log"), "gamma": Range(0.0025, 0.27, "unit")}


def test_optunas_own_storage_has_all_trials_with_values_of_the_agent(found, tmp_path):
    searches, *_ = found
    named = dict(zip("ab", searches.each, strict=True))
    journal = Journal(tmp_path / "optuna" / "x.journal", SPACES, "return")
    journal.add(named)
    journal.add(named)  # nothing has ended since
    there = studies_in(journal.path)
    assert list(there) == list(named)
    for name, study in there.items():
        search = named[name]
        mine = [trial for trial in search.study.trials if trial.state.is_finished()]
        assert len(study.trials) == len(mine)
        for one, two in zip(study.trials, mine, strict=True):
            assert (one.state, one.value) == (two.state, two.value)
            assert one.intermediate_values == two.intermediate_values
            np.testing.assert_allclose(one.params["entropy"], np.exp(two.params["entropy"]), 1e-5)
            odds = one.params["gamma"] / (1 - one.params["gamma"])
            np.testing.assert_allclose(odds, np.exp(two.params["gamma"]), 1e-4)
        assert study.best_trial.number == search.best == study.user_attrs[GOES_ON]
        assert study.user_attrs[SCORE] == "return"


def test_trials_are_added_while_searches_run_and_another_process_begins_anew(found, tmp_path):
    _, _, scores = found
    journal = Journal(tmp_path / "x.journal", SPACES, "return")
    searches, before = Searches(COURSE), 0
    for done in range(scores.shape[1] + 1):
        searches.turn((3, 8), scores[:, :done])
        journal.add(dict(zip("ab", searches.each, strict=True)))
        content = journal.path.read_bytes()
        assert len(content) >= before  # it only grows: readers remember where they were
        before = len(content)
    again = Journal(tmp_path / "y.journal", SPACES, "return")
    again.add(dict(zip("ab", searches.each, strict=True)))
    for name, study in studies_in(journal.path).items():
        other = studies_in(again.path)[name]
        assert [(x.params, x.state) for x in study.trials] == [
            (x.params, x.state) for x in other.trials
        ]
    Journal(journal.path, SPACES, "return")
    assert journal.path.read_bytes() == b""


def test_what_there_is_to_see_goes_into_the_directory_of_the_study(tmp_path, monkeypatch):
    shown = []

    def show(path, runs):
        shown.append((path, [run.seed for run in runs]))

    program = Program(
        2, lambda runs: 0, lambda state, point: (state, {}), lambda p: (), ("x",), show=show
    )
    monkeypatch.setattr(execute, "_program", lambda unit: execute._Kept(program, 0.0))
    (unit,) = plan.units_of(small("--methods", "optuna,-outer").settings)
    execute.run(unit, None, lambda part: None)  # in no directory
    execute.run(unit, tmp_path / "checkpoints" / "x", lambda part: None)  # in one that is gone
    assert not shown
    (tmp_path / "checkpoints").mkdir()
    execute.run(unit, tmp_path / "checkpoints" / "x", lambda part: None)
    assert shown == [(tmp_path / "optuna" / "optuna-0.journal", [0, 1, 2])] * 2
