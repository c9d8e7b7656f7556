"""How far searches go: stages, intervals and points, all known before anything runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.configs.searches import SearchSettings
from selftuning.configs.settings import RunSettings
from selftuning.configs.study_methods import Kind
from selftuning.studies import vmapped

POPULATIONS = ("pbt", "pb2")  # kinds whose members copy each other
_INTERVALS = 10  # in the life of a member of a study, at least


class Stage(NamedTuple):
    """A part of a search in which the same number of members runs side by side.

    Attributes:
      members: P.
      cycles: of each member.
      interval: cycles between two comparisons of members; 0 for none.
    """

    members: int
    cycles: int
    interval: int


class Part(NamedTuple):
    """Cycles of a stage that are run in one go.

    Attributes:
      stage: its number.
      first: of the cycles, counted from the beginning of the stage.
      cycles: how many.
      last: whether the stage ends with them, and another one follows.
    """

    stage: int
    first: int
    cycles: int
    last: bool


def of_study(
    kind: Kind, settings: RunSettings, search: SearchSettings
) -> tuple[SearchSettings, tuple[Stage, ...]]:
    """A search as a study makes it: what is compared in it how often, and its stages.

    Args:
      kind: "random_search", "pbt", "pb2" or "optuna".
      settings: of every member; their steps are those of one run.
      search: as it was asked for.

    Returns:
      Its settings, whose interval is at most a tenth of the life of a member, and the stages.

    Raises:
      ConfigError: if there are too few steps for it.
    """
    cycles = vmapped.cycles_for(settings)
    makers = {"random_search": of_random_search, "optuna": of_trials}
    makers |= dict.fromkeys(POPULATIONS, of_population)
    lives = dict.fromkeys(makers, life) | dict.fromkeys(POPULATIONS, life_in_population)
    tenth = lives[kind](settings, search, cycles) // _INTERVALS
    steps = max(1, tenth * settings.steps_per_cycle)
    search = replace(search, interval=min(search.interval, steps))
    if kind not in POPULATIONS:
        search = replace(search, exploit=False)
    return search, makers[kind](settings, search, cycles)


def of_random_search(
    settings: RunSettings, search: SearchSettings, cycles: int
) -> tuple[Stage, ...]:
    """Stages of a random search, of which a run has so many cycles.

    With the budget "member" all members run to the end. With "run" half of the steps are shared
    by all of them, and the one that was best in its last interval spends the other half.

    Raises:
      ConfigError: if there are too few steps for it.
    """
    members, interval = search.members, interval_cycles(settings, search)
    if search.budget == "member":
        return (Stage(members, cycles, min(interval, cycles)),)
    first = life(settings, search, cycles)
    return Stage(members, first, min(interval, first)), Stage(1, cycles - first * members, 0)


def of_population(settings: RunSettings, search: SearchSettings, cycles: int) -> tuple[Stage, ...]:
    """The stage of population-based training, where a run has so many cycles.

    With the budget "run" the members share them, and what does not divide is left over.

    Raises:
      ConfigError: if there are too few steps for it.
    """
    each = life_in_population(settings, search, cycles)
    return (Stage(search.members, each, min(interval_cycles(settings, search), each)),)


def of_trials(settings: RunSettings, search: SearchSettings, cycles: int) -> tuple[Stage, ...]:
    """Stages of trials that are made one after the other, where a run has so many cycles.

    Trials are as long as members of a random search live. With the budget "run" they have half of
    the steps, in whole intervals, and the best of them spends the rest. With "member" they have
    the steps of all members.

    Raises:
      ConfigError: if there are too few steps for it.
    """
    interval = min(interval_cycles(settings, search), life(settings, search, cycles))
    total = cycles if search.budget == "run" else cycles * search.members
    part = cycles // 2 if search.budget == "run" else total
    searched = part // interval * interval
    rest = (Stage(1, total - searched, 0),) if searched < total else ()
    return Stage(1, searched, interval), *rest


def life(settings: RunSettings, search: SearchSettings, cycles: int) -> int:
    """Cycles of one of the members of which the best goes on, where a run has so many.

    With the budget "run" they share half of those.

    Raises:
      ConfigError: if there are too few steps for it.
    """
    if search.budget == "member":
        return cycles
    if cycles < 2 * search.members:
        raise _too_few(settings, search, 2 * search.members)
    return cycles // (2 * search.members)


def life_in_population(settings: RunSettings, search: SearchSettings, cycles: int) -> int:
    """Cycles of a member of a population, where a run has so many; two at least, to copy between.

    Raises:
      ConfigError: if there are too few steps for it.
    """
    members = search.members if search.budget == "run" else 1
    if cycles < 2 * members:
        raise _too_few(settings, search, 2 * members)
    return cycles // members


def interval_cycles(settings: RunSettings, search: SearchSettings) -> int:
    """Cycles between two comparisons of members."""
    return max(1, round(search.interval / settings.steps_per_cycle))


def cycle_numbers(stages: Sequence[Stage]) -> np.ndarray:
    """Cycles of all members of a search together, by the end of each of its cycles [N]."""
    return np.concatenate([np.full(stage.cycles, stage.members) for stage in stages]).cumsum()


def points_of(stages: Sequence[Stage], most: int) -> list[int]:
    """Cycles of a search that are done at each of its points, the last of which is its end.

    Points divide the environment steps of all members into equal parts, but for what a cycle of
    the members that run makes at a time. There are at most so many.
    """
    spent = cycle_numbers(stages)
    total = int(spent[-1])
    count = min(most, total // max(stage.members for stage in stages))
    ends = -(-total * np.arange(1, count + 1) // count)
    return (np.searchsorted(spent, ends) + 1).tolist()


def parts_of(stages: Sequence[Stage], begin: int, end: int) -> list[Part]:
    """What is run of each stage between two numbers of cycles of a search."""
    parts, before = [], 0
    for number, stage in enumerate(stages):
        after = before + stage.cycles
        first, stop = max(begin, before), min(end, after)
        if first < stop:
            last = stop == after and number + 1 < len(stages)
            parts.append(Part(number, first - before, stop - first, last))
        before = after
    return parts


def cut_at_intervals(parts: Sequence[Part], stage: Stage) -> list[Part]:
    """The same cycles of the only stage, in parts of which none goes beyond an interval."""
    looks = [n for n in range(stage.cycles + 1) if is_look(stage, n)]
    result = []
    for part in parts:
        stop = part.first + part.cycles
        cuts = [part.first, *(n for n in looks if part.first < n < stop), stop]
        result += [part._replace(first=a, cycles=b - a) for a, b in itertools.pairwise(cuts)]
    return result


def is_look(stage: Stage, done: int) -> bool:
    """Whether members are compared after so many cycles of a stage.

    The first interval is the longer one, so that the last one ends with the last cycle.
    """
    return done >= stage.interval and (stage.cycles - done) % stage.interval == 0


def stage_at(stages: Sequence[Stage], cycle: int) -> int:
    """The stage that is running after so many cycles of a search; the last one at its end."""
    ends = np.cumsum([stage.cycles for stage in stages])
    return min(int(np.searchsorted(ends, cycle, side="right")), len(stages) - 1)


def _too_few(settings: RunSettings, search: SearchSettings, cycles: int) -> ConfigError:
    least = cycles * settings.steps_per_cycle
    allowed = f"at least {least} for a search with {search.members} members"
    return not_allowed("steps", settings.steps, allowed)
