"""A study as units: every run is in one of them, and all of it is known before anything runs."""

import json
import math

import hypothesis
import pytest
from hypothesis import strategies as st

from selftuning.configs import cli
from selftuning.configs.errors import ConfigError
from selftuning.studies import plan
from tests.small_studies import small


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    starts=st.integers(1, 7),
    seeds=st.integers(1, 9),
    block=st.integers(1, 12),
    first=st.integers(0, 3),
)
def test_every_run_is_in_one_unit(starts, seeds, block, first):
    values = ",".join(f"{0.9 + 0.01 * n:g}" for n in range(starts))
    arguments = ("--start", f"gamma={values}", "--seeds", f"{seeds}", "--block", f"{block}")
    study = small(*arguments, "--seed", f"{first}").settings
    units = plan.units_of(study)
    for name in study.methods:
        mine = [unit for unit in units if unit.method == name]
        runs = [run for unit in mine for run in unit.runs]
        assert [run.index for run in runs] == list(range(starts * seeds))
        assert [run.seed for run in runs] == list(range(first, first + seeds)) * starts
        assert [run.start["gamma"] for run in runs[::seeds]] == [
            float(value) for value in values.split(",")
        ]
        # One program does for all, whose runs have one start, and hardly has empty places.
        (size,) = {unit.size for unit in mine}
        assert size <= block
        for unit in mine:
            assert len({run.start["gamma"] for run in unit.runs}) == 1
        assert size * len(mine) - len(runs) < len(mine)
        assert len({unit.program for unit in mine}) == 1
    assert len({unit.name for unit in units}) == len(units)


def neighbours(study):
    """What a run has beside it, by method, start and seed: seeds of its block, and its size."""
    return {
        (unit.method, *sorted(run.start.items()), run.seed): (
            unit.size,
            [other.seed for other in unit.runs],
        )
        for unit in plan.units_of(study)
        for run in unit.runs
    }


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    gammas=st.lists(st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9]), min_size=2, unique=True),
    seeds=st.integers(1, 9),
    block=st.integers(1, 12),
)
def test_a_run_has_the_same_neighbours_whatever_other_starts_there_are(gammas, seeds, block):
    def study(values, *more):
        grid = ("--start", f"gamma={','.join(map(str, values))}", *more)
        return small(*grid, "--seeds", f"{seeds}", "--block", f"{block}").settings

    few, more = neighbours(study(gammas[1:])), neighbours(study(gammas))
    assert few.items() <= more.items()
    mixed = plan.units_of(study(gammas, "--mixed-blocks"))
    runs = len(gammas) * seeds
    assert len([unit for unit in mixed if unit.method == "none"]) <= math.ceil(runs / block)


def test_units_of_the_host_are_single_runs():
    units = plan.units_of(small("--backend", "host").settings)
    assert {len(unit.runs) for unit in units} == {1}
    assert len(units) == 12
    with pytest.raises(ConfigError, match="not stepped in-graph"):
        plan.units_of(small("--backend", "host", "--methods", "pbt").settings)


@hypothesis.given(cycles=st.integers(1, 5000), most=st.integers(1, 200))
def test_points_are_equal_parts_that_hardly_overshoot(cycles, most):
    points = plan.points_of(cycles, most)
    assert points.cycles * points.count >= cycles
    assert points.count <= most
    assert 3 * points.count >= min(cycles, most)
    # No number of points in the same range does better.
    for count in range(math.ceil(min(most, cycles) / 2), min(most, cycles) + 1):
        size = math.ceil(cycles / count)
        assert points.cycles * points.count <= size * math.ceil(cycles / size)


@hypothesis.given(points=st.integers(1, 200), evaluations=st.integers(1, 300))
def test_evaluations_are_spread_and_the_last_one_is_at_the_end(points, evaluations):
    chosen = plan.evaluated(points, evaluations)
    assert chosen[-1] == points - 1
    assert len(set(chosen)) == len(chosen) == min(points, evaluations)
    assert min(chosen) >= 0
    assert plan.evaluated(points, 0) == []


def test_sizes_count_all_environment_steps():
    study = small("--methods", "none,pbt", "--members", "4").settings
    sizes = plan.sizes(plan.units_of(study))
    # 6,000 steps in cycles of 2 x 8 x 4, a multiple of up to 12 points.
    cycles = math.ceil(6000 / 64)
    points = plan.points_of(cycles, 12)
    steps = points.cycles * points.count * 64
    assert sizes["none"] == plan.Size(6, 2, 6 * steps, sizes["none"].bytes)
    assert sizes["pbt"].rows == 3
    assert sizes["pbt"].env_steps == 3 * 4 * (cycles // 4) * 64  # never more than one run
    more = small("--methods", "pbt", "--members", "4", "--budget", "member").settings
    assert plan.sizes(plan.units_of(more))["pbt"].env_steps == 4 * 3 * cycles * 64


def test_units_say_all_that_results_depend_on():
    units = plan.units_of(small().settings)
    texts = [json.dumps(plan.identity(unit), sort_keys=True) for unit in units]
    assert len(set(texts)) == len(texts)
    longer = plan.units_of(small("--steps", "7000").settings)
    assert json.dumps(plan.identity(longer[0]), sort_keys=True) != texts[0]


def test_an_unknown_environment_says_so():
    command = cli.parse(["study", "--env", "CartPool"])
    with pytest.raises(ConfigError, match="closest: CartPole"):
        plan.units_of(command.settings)
