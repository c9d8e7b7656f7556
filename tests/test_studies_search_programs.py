"""Searches as units of a study: what is told of them, and that stopping them changes nothing."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.configs.settings import AgentSettings, RunSettings
from selftuning.envs.task import GraphTask
from selftuning.studies import execute, measures, plan, vmapped
from selftuning.studies.measures import Cycles
from selftuning.studies.searches import search_plan, search_programs
from selftuning.studies.searches import values as search_values
from selftuning.studies.searches.fitness import fitness_of
from selftuning.studies.searches.optuna_trials import Searches, course_of
from selftuning.studies.searches.search import Row
from selftuning.training import checkpoints
from tests import probes
from tests.small_studies import small

SMALL = ("--seeds", "2", "--members", "3", "--steps", "2400", "--points", "7", "--hidden", "4")
SMALL += ("--period", "1", "--rollout-length", "16")


def updates_of(settings):
    """In each cycle."""
    return settings.tuning.period * settings.agent.epochs * settings.agent.minibatches


def unit_of(kind, *more):
    more = (*more, *(("--fraction", "0.5") if kind == "pb2" else ()))  # or nobody would copy
    (unit,) = plan.units_of(small("--methods", kind, *SMALL, *more).settings)
    return unit


SLOW = ("random_search", "pb2", "optuna")


class Walk:
    """A unit from its beginning to its end, with what it was at every point."""

    def __init__(self, kind, folder):
        self.unit, self.folder = unit_of(kind), folder / kind
        self.program = execute.make(self.unit)
        self.values = []
        state = self.program.begin(self.unit.runs)
        for point in range(self.program.points):
            checkpoints.save(self.path(point), state, point)
            state, values = self.program.advance(state, point)
            self.values.append(values)
        checkpoints.save(self.path(self.program.points), state, self.program.points)

    def path(self, point):
        return self.folder / f"{point}.safetensors"

    def at(self, point):
        return checkpoints.load(self.path(point), self.program.shapes)[0]

    def column(self, name):
        return np.stack([values[name] for values in self.values])


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    """Walks by kind, each made once."""
    folder = tmp_path_factory.mktemp("walks")
    return cache(lambda kind: Walk(kind, folder))


@pytest.fixture(
    params=[
        "pbt",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("random_search", "pb2", "optuna")),
    ]
)
def walk(request, walks):
    return walks(request.param)


def test_a_search_that_was_stopped_at_any_point_ends_the_same(walk):
    """From each state as a file has it, to the next one, bit by bit."""
    for point in range(walk.program.points):
        state, values = walk.program.advance(walk.at(point), point)
        jax.tree.map(
            lambda x, y: np.testing.assert_array_equal(np.asarray(x), y),
            state,
            walk.at(point + 1),
        )
        assert list(values) == list(walk.program.columns)
        for name, x in values.items():
            np.testing.assert_array_equal(x, walk.values[point][name], err_msg=name)


def test_steps_are_those_of_all_members_and_no_more_than_those_of_a_run(walk):
    steps = walk.column("env_steps")
    size = walk.unit.settings.steps_per_cycle
    sizes = plan.sizes([walk.unit])[walk.unit.method]
    assert steps[-1].sum() == sizes.env_steps
    assert (steps[-1] <= -(-2400 // size) * size).all()
    gaps = np.diff(steps, axis=0)
    assert gaps.max() - gaps.min() <= 3 * size
    # As many updates were made as the steps say, by all members together.
    state = walk.at(walk.program.points)
    if walk.unit.method == "pbt":
        updates = np.asarray(state.searches.members.agent.updates).sum(1)
        each = updates_of(walk.unit.settings)
        np.testing.assert_array_equal(updates * size // each, steps[-1])


def test_values_are_there_and_within_their_ranges(walk):
    assert (walk.column("finite") == 1).all()
    specs = walk.unit.settings.in_use
    for name, spec in specs.items():
        values = walk.column(name)
        assert np.isfinite(values).all()
        if spec.tuned:
            low, high = np.float32(spec.low), np.float32(spec.high)
            assert ((values >= low * (1 - 1e-6)) & (values <= high * (1 + 1e-6))).all()
            assert len(np.unique(values)) > 1
    episodes = walk.column("episodes")
    assert (episodes == np.round(episodes)).all()
    assert (np.isnan(walk.column("return")) == (episodes == 0)).all()
    known = ~np.isnan(walk.column("greedy"))
    chosen = plan.evaluated(walk.program.points, walk.unit.evaluations)
    assert np.flatnonzero(known.all(1)).tolist() == chosen
    assert known.sum() == 2 * len(chosen)
    np.testing.assert_allclose(walk.column("reward"), 1)


def test_seeds_differ_and_do_not_depend_on_who_is_beside(walk):
    """The second search alone fills both places."""
    alone = walk.unit.runs[1:]
    _, values = walk.program.advance(walk.program.begin(alone), 0)
    for name, x in values.items():
        np.testing.assert_array_equal(x, np.repeat(walk.values[0][name][1:], 2), err_msg=name)
    assert (walk.column("gamma")[-1] != np.roll(walk.column("gamma")[-1], 1)).all()


def test_members_begin_where_a_method_says():
    unit = unit_of("random_search")
    starts = ({"gamma": 0.3}, {"gamma": 0.4}, {"gamma": 0.45})
    program = execute.make(replace(unit, members=starts))
    state = program.begin(unit.runs)
    values = state.searches.members.agent.learner.values.fixed
    np.testing.assert_allclose(values["gamma"], [[0.3, 0.4, 0.45]] * 2, rtol=1e-6)
    np.testing.assert_allclose(values["lambda"], unit.settings.in_use["lambda"].start, rtol=1e-6)


def test_optuna_goes_on_with_its_best_trial(walks):
    walk = walks("optuna")
    end, settings = walk.at(walk.program.points), walk.unit.settings
    search, stages = search_plan.of_study("optuna", settings, walk.unit.search)
    interval, each = stages[0].interval, updates_of(settings)
    cycles = vmapped.cycles_for(settings)
    life = search_plan.life(settings, search, cycles) // interval
    searches = Searches(course_of({"any": (0, 1)}, search.members, life, end.scores.shape[1]))
    alone = []
    for done in range(1, end.scores.shape[1] + 1):
        searches.turn(end.seeds, end.scores[:, :done])
        alone.append([one.alone for one in searches.each])
    assert all(alone[-1])
    left = sum(stage.cycles for stage in stages) - (np.argmax(alone, 0) + 1) * interval
    assert (left >= stages[1].cycles).all()
    # Not a cycle is lost: all updates of the best trial are in its state.
    np.testing.assert_array_equal(end.best.train.agent.updates, [life * interval * each] * 2)
    updates = (life * interval + left) * each
    np.testing.assert_array_equal(end.running.train.agent.updates, updates)


# By hand


def test_what_is_told_is_of_the_best_member_by_the_past():
    """Two members for two cycles, of which one is known from the second on; then it alone."""
    first = Row(
        Cycles(
            np.array([[[10.0, 30.0]], [[40.0, 0.0]]]),
            np.array([[[1.0, 2.0]], [[2.0, 0.0]]]),
            np.array([[[0.5, 1.5]], [[3.0, 5.0]]]),
            {},
            {},
        ),
        np.array([[-1], [0]]),
        None,
    )
    later = Row(
        Cycles(np.array([[[60.0]]]), np.array([[[3.0]]]), np.array([[[9.0]]]), {}, {}),
        np.array([[0]]),
        None,
    )
    nothing = {"steps": 7.0, "solved_at": np.array([np.nan]), "hyperparameters": {}}

    def told(*rows):
        values = search_values.measured(rows, **nothing)
        return [values[name][0] for name in ("return", "episodes", "reward", "return_all")]

    assert told(first, later) == [100 / 5, 5, 6.0, (50 / 3 + 15 + 20) / 3]
    assert told(later) == [20, 3, 9.0, 20]
    unknown = first._replace(best=np.array([[-1], [-1]]))
    assert told(unknown) == [(50 / 3 + 15) / 2, 5, 2.5, (50 / 3 + 15) / 2]
    # The one that counts has had no episode since it is known.
    other = first._replace(best=np.array([[-1], [1]]))
    np.testing.assert_array_equal(told(other), [np.nan, 0, 5.0, (50 / 3 + 15) / 2])


def test_a_task_is_solved_by_the_first_member_and_stays_so():
    """Members make steps in turn with one environment each: those of all of them count."""

    def cycles(*numbers):
        """In which so many episodes end, one a step, of all members [R, P] side by side."""
        end = np.arange(100)[None, None, :, None] < np.asarray(numbers)[:, :, None, None]
        ends = end[None], np.full((1, *end.shape), 10.0)
        return search_programs.side_by_side(Cycles(None, None, None, {}, {}, ends))

    # Two searches of three members: the second member of the first one has 100 good episodes.
    members = cycles([0, 100, 0], [0, 0, 99])
    solving = measures.solve(measures.unsolved(6), members, 600, 10.0, members=3)
    np.testing.assert_array_equal(search_programs.first_solved(solving, 2), [600 + 300, np.nan])
    # The third ones go on alone, with their own last episodes.
    solving = search_programs.alone(solving, np.array([2, 2]))
    solving = measures.solve(solving, cycles([1], [1]), 900, 10.0)
    np.testing.assert_array_equal(search_programs.first_solved(solving, 2), [900, 901])


# Fitness


@pytest.fixture
def task_and_agent(monkeypatch):
    settings = RunSettings(
        num_envs=2, agent=AgentSettings(algorithm="actor_critic", hidden=(4,), rollout_length=2)
    )

    def make(changed):
        monkeypatch.setattr(vmapped.registry, "make", lambda *_: changed)
        return vmapped.task_and_agent(settings)

    return make


def test_fitness_is_the_return_where_episodes_end_and_else_the_reward(task_and_agent):
    task = probes.probe_task(probes.ACTION_REWARD, 2)
    assert task.spec.max_episode_steps is None
    assert fitness_of(*task_and_agent(task)) == "return"

    def step(state, action):
        state, timestep = task.step(state, action)
        return state, timestep._replace(episode_end=jnp.zeros(2, bool), discount=jnp.ones(2))

    endless = GraphTask(task.spec, 2, task.init, step)
    assert fitness_of(*task_and_agent(endless)) == "reward"
    limited = endless._replace(spec=task.spec._replace(max_episode_steps=50))
    assert fitness_of(*task_and_agent(limited)) == "return"
