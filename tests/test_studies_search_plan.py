"""How far searches go: within their budgets, in stages, to points that are equally far apart."""

import math
from dataclasses import replace

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from selftuning.configs import presets
from selftuning.configs.errors import ConfigError
from selftuning.configs.searches import SearchSettings
from selftuning.studies import plan
from selftuning.studies.searches import search_plan
from selftuning.studies.searches.search_plan import Part, Stage
from tests.small_studies import small

CARTPOLE = presets.for_env("CartPole-v1")
SIZE = CARTPOLE.steps_per_cycle
KINDS = ("random_search", "pbt", "optuna")

kinds = st.sampled_from(KINDS)
searches = st.builds(
    SearchSettings,
    members=st.integers(2, 12),
    budget=st.sampled_from(["run", "member"]),
    interval=st.integers(1, 20_000),
)


def planned(kind, cycles, search):
    settings = replace(CARTPOLE, steps=cycles * SIZE)
    return search_plan.of_study(kind, settings, search)


@hypothesis.given(kind=kinds, search=searches, spare=st.integers(0, 2000))
def test_no_search_spends_more_than_its_budget(kind, search, spare):
    cycles = 2 * search.members + spare
    _, stages = planned(kind, cycles, search)
    spent = sum(stage.members * stage.cycles for stage in stages)
    if search.budget == "member":
        assert spent == search.members * cycles
    else:
        assert spent <= cycles
        assert spent > cycles - search.members
    assert all(stage.cycles > 0 for stage in stages)
    # What is chosen by is known when a stage of members ends.
    assert all(stage.interval <= stage.cycles for stage in stages)
    assert stages[0].interval >= 1


@hypothesis.given(kind=kinds, search=searches, spare=st.integers(0, 2000))
def test_the_interval_is_at_most_a_tenth_of_a_life(kind, search, spare):
    cycles = 2 * search.members + spare
    found, stages = planned(kind, cycles, search)
    life = stages[0].cycles
    if kind == "optuna":
        life = search_plan.life(replace(CARTPOLE, steps=cycles * SIZE), search, cycles)
        assert (
            stages[0].cycles >= search.members * (life // stages[0].interval) * stages[0].interval
        )
    assert stages[0].interval <= max(1, life // 10)
    assert found.interval <= search.interval
    assert found.exploit == (kind == "pbt")


@hypothesis.given(kind=kinds, search=searches, spare=st.integers(0, 2000), most=st.integers(1, 200))
def test_points_are_equally_far_apart_but_for_a_cycle_of_all_members(kind, search, spare, most):
    _, stages = planned(kind, 2 * search.members + spare, search)
    spent = search_plan.cycle_numbers(stages)
    ends = search_plan.points_of(stages, most)
    assert 1 <= len(ends) <= most
    assert all(a < b for a, b in zip([0, *ends], ends, strict=False))
    assert ends[-1] == len(spent)
    wanted = spent[-1] * np.arange(1, len(ends) + 1) / len(ends)
    beyond = spent[np.array(ends) - 1] - wanted
    assert (beyond > -1e-6).all()
    assert (beyond < search.members).all()


@hypothesis.given(kind=kinds, search=searches, spare=st.integers(0, 300), most=st.integers(1, 60))
def test_parts_are_all_cycles_once_and_in_order(kind, search, spare, most):
    _, stages = planned(kind, 2 * search.members + spare, search)
    ends = search_plan.points_of(stages, most)
    done = [0] * len(stages)
    before = 0
    for end in ends:
        parts = search_plan.parts_of(stages, before, end)
        assert search_plan.stage_at(stages, before) == parts[0].stage
        for part in parts:
            assert part.first == done[part.stage]
            done[part.stage] += part.cycles
            ended = done[part.stage] == stages[part.stage].cycles
            assert part.last == (ended and part.stage + 1 < len(stages))
        before = end
    assert done == [stage.cycles for stage in stages]


def test_parts_by_hand():
    stages = Stage(4, 10, 2), Stage(1, 30, 0)
    assert search_plan.parts_of(stages, 8, 15) == [Part(0, 8, 2, True), Part(1, 0, 5, False)]
    assert search_plan.parts_of(stages, 8, 10) == [Part(0, 8, 2, True)]
    assert search_plan.parts_of(stages, 10, 40) == [Part(1, 0, 30, False)]
    assert [search_plan.stage_at(stages, cycle) for cycle in (0, 9, 10, 40)] == [0, 0, 1, 1]
    # 70 cycles of members in seven parts; four at a time to the fortieth.
    assert search_plan.points_of(stages, 7) == [3, 5, 8, 10, 20, 30, 40]
    assert search_plan.points_of(stages, 1000)[-1] == 40


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_steps_are_said_before_anything_runs(kind):
    enough = ("--methods", kind, "--members", "8")
    plan.units_of(small(*enough, "--steps", f"{16 * 64}").settings)
    with pytest.raises(ConfigError, match=r"^steps: 960 .* at least 1024 .* 8 members"):
        plan.units_of(small(*enough, "--steps", "960").settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", ["run", "member"])
def test_sizes_are_those_of_the_stages(kind, budget):
    arguments = ("--methods", f"none,{kind}", "--members", "4", "--budget", budget)
    sizes = plan.sizes(plan.units_of(small(*arguments).settings))
    cycles = math.ceil(6000 / 64)
    spent = {"run": {"pbt": cycles // 4 * 4}.get(kind, cycles), "member": 4 * cycles}[budget]
    assert sizes[kind].env_steps == 3 * spent * 64
    assert sizes[kind].rows == 3
    if budget == "run":
        assert sizes[kind].env_steps <= 3 * cycles * 64 <= sizes["none"].env_steps
