"""Lives as tables of docs/continual.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from selftuning.benchmarks.continual.agents import AGENTS, FIXED, PUBLISHED
from selftuning.benchmarks.continual.lives import INSIDE, LEVELS, OFFSET, TASKS
from selftuning.benchmarks.record import DOCS, markdown, with_table
from selftuning.envs.changes import CHANGES
from selftuning.training.evaluation import summarise

PAGE = DOCS / "continual.md"
TUNED = "rate tuned, barrier"  # the agent that others are compared with
OFTEN_TUNED = "actor_critic, rate by a network"  # the same where changes come often


def table(results: list[dict[str, Any]]) -> str:
    """Agents that were measured, by tasks: mean over seeds, its standard error, number of them."""
    theirs = (
        (f"*{name}, published*", *(f"{mean:.1f} ({error:.3g}), 6" for mean, error in row))
        for name, row in PUBLISHED.items()
    )
    offsets = [x for x in results if x["change"] == OFFSET]
    return markdown(("agent", *map(_short, TASKS)), (*_scores(offsets, TASKS), *theirs))


def other_changes(results: list[dict[str, Any]]) -> str:
    """The same with changes that are not the published one."""
    return markdown(("change", "agent", *map(_short, INSIDE)), _other_rows(results))


def _other_rows(results: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for change in CHANGES:
        found = [x for x in results if x["change"] == change != OFFSET]
        for row in _scores(found, INSIDE):
            yield change, *row


def _scores(results: list[dict[str, Any]], tasks: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for agent in AGENTS:
        if any(x["agent"] == agent for x in results):
            yield agent, *(_cell(_of(results, task, agent)) for task in tasks)


def often(results: list[dict[str, Any]]) -> str:
    """Lives whose changes come often, by tasks: of the whole of each, and of its last half."""
    return markdown(("part of a life", "agent", *map(_short, INSIDE)), _often_rows(results))


def _often_rows(results: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for part, scores in (("all", results), ("last half", _last_half(results))):
        for row in _scores(scores, INSIDE):
            yield part, *row


def _last_half(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tenths = [(x, x["tenths"]) for x in results]
    return [x | {"score": y and float(np.mean(y[len(y) // 2 :]))} for x, y in tenths]


def differences(results: list[dict[str, Any]]) -> str:
    """What the tuned agent is ahead of others by: mean over shared seeds, its 95% interval, n."""
    rows = (
        (change, *row)
        for change in CHANGES
        for row in _ahead([x for x in results if x["change"] == change], TUNED, TASKS)
    )
    return markdown(("change", "ahead of", *map(_short, TASKS)), rows)


def often_differences(results: list[dict[str, Any]]) -> str:
    """The same of the whole lives, and of the last halves, whose changes come often."""
    rows = (
        (part, *row)
        for part, scores in (("all", results), ("last half", _last_half(results)))
        for row in _ahead(scores, OFTEN_TUNED, INSIDE)
    )
    return markdown(("part of a life", "ahead of", *map(_short, INSIDE)), rows)


def _ahead(
    results: list[dict[str, Any]], tuned: str, tasks: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    for other in AGENTS:
        cells = [_difference(results, task, tuned, other) for task in tasks]
        if other != tuned and any(cells):
            yield other, *(cell or "fewer than 3 seeds" for cell in cells)


def _difference(results: list[dict[str, Any]], task: str, tuned: str, other: str) -> str:
    ours, theirs = (
        {x["seed"]: x["score"] for x in _lived(_of(results, task, agent))}
        for agent in (tuned, other)
    )
    shared = sorted(ours.keys() & theirs.keys())
    if len(shared) < 3:  # of which an interval says little
        return ""
    ahead = summarise(np.array([ours[seed] - theirs[seed] for seed in shared]))
    return f"{ahead.mean:.1f} [{ahead.low:.1f}, {ahead.high:.1f}], {len(shared)}"


def by_level(results: list[dict[str, Any]]) -> str:
    """Offsets, level after level: means over seeds."""
    head = ("task", "agent", "seeds", *(str(level) for level in range(1, LEVELS + 1)))
    return markdown(head, _level_rows([x for x in results if x["change"] == OFFSET]))


def _level_rows(results: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for task in TASKS:
        for agent in AGENTS:
            found = [x["levels"] for x in _lived(_of(results, task, agent))]
            if found:
                means = (f"{x:.0f}" for x in np.mean(found, axis=0))
                yield _short(task), agent, str(len(found)), *means


def choice(results: list[dict[str, Any]], tasks: Sequence[str] = TASKS) -> str:
    """Settings by tasks: mean over seeds and their number, the best of all fixed ones in bold."""
    return markdown(("change", "agent", *map(_short, tasks)), _choice_rows(results, tasks))


def often_choice(results: list[dict[str, Any]]) -> str:
    """The same where changes come often."""
    return choice(results, INSIDE)


def _choice_rows(results: list[dict[str, Any]], tasks: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for change in CHANGES:
        found = [x for x in results if x["change"] == change]
        means = {
            (task, agent): (float(np.mean(scores)), len(scores))
            for task in tasks
            for agent in AGENTS
            if (scores := [x["score"] for x in _lived(_of(found, task, agent))])
        }
        best = {
            # Of those with most seeds: a single one may be lucky.
            max(fixed, key=lambda key: (means[key][1], means[key][0]))
            for task in tasks
            if (fixed := [(task, x) for x in FIXED if (task, x) in means])
        }
        for agent in AGENTS:
            keys = [(task, agent) for task in tasks]
            if any(key in means for key in keys):
                yield change, agent, *(_tried(means.get(key), key in best) for key in keys)


def _tried(mean: tuple[float, int] | None, is_best: bool) -> str:
    if mean is None:
        return "not measured"
    said = f"{mean[0]:.1f}, {mean[1]}"
    return f"**{said}**" if is_best else said


def _of(results: list[dict[str, Any]], task: str, agent: str) -> list[dict[str, Any]]:
    return [x for x in results if (x["task"], x["agent"]) == (task, agent)]


def _lived(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [x for x in results if x["score"] is not None]


def _short(task: str) -> str:
    return task.removeprefix("Continual").removesuffix("-v0")


def _cell(results: list[dict[str, Any]]) -> str:
    scores = [x["score"] for x in _lived(results)]
    if not results:
        return "not measured"
    lost = len(results) - len(scores)
    said = f"; {lost} diverged" if lost else ""
    if len(scores) < 2:  # of which there is no error
        return "".join(f"{score:.1f}, 1" for score in scores) + said
    error = np.std(scores, ddof=1) / np.sqrt(len(scores))
    return f"{np.mean(scores):.1f} ({error:.3g}), {len(scores)}{said}"


def render(text: str, lives: Mapping[str, list[dict[str, Any]]]) -> str:
    """The text of a page with the tables of lives, which are named like the files of results."""
    results, frequent = lives["continual"], lives["continual_often"]
    tables = {
        "choice": choice(lives["continual_choice"]),
        "continual": table(results),
        "differences": differences(results),
        "levels": by_level(results),
        "other-changes": other_changes(results),
        "often": often(frequent),
        "often-differences": often_differences(frequent),
        "often-choice": often_choice(lives["continual_often_choice"]),
    }
    for name, found in tables.items():
        text = with_table(text, name, found)
    return text
