"""Paths of the hyperparameters that were tuned, from all starts, and whether they met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from selftuning.configs import studies
from selftuning.configs.extensions import definitions
from selftuning.studies.contestants import Contestant, thinned
from selftuning.studies.intervals import listed
from selftuning.studies.outcome import Outcome
from selftuning.studies.report.parts import Key, Picture, Section, Table
from selftuning.studies.report.path_charts import (
    OUTER,
    Panel,
    chart,
    drawn_seeds,
    seeds,
    start_name,
)
from selftuning.studies.report.scales import Scale, scale_of, value_said
from selftuning.studies.report.style import Look, of_starts
from selftuning.studies.summary import CONVERGED

_LIMIT = f"{CONVERGED:.0%}"


def section(outcome: Outcome, convergence: Sequence[Mapping[str, Any]]) -> Section:
    """Everything about the paths.

    Args:
      outcome: of which they are.
      convergence: as in summary.json.
    """
    title = "What tuning did to the hyperparameters"
    names = list(dict.fromkeys(name for one in outcome.contestants for name in one.tuned))
    if not names:
        return Section("paths", title, ["Nothing was tuned in this study."])
    looks = looks_of_starts(outcome)
    legend = [Key(start, look, start, point=True) for start, look in looks.items() if start]
    if len(legend) < 2:
        legend = []
    if any(panel.spec.outer is not None for name in names for panel in _panels(outcome, name)):
        legend.append(Key("value in the outer objective", OUTER))
    pictures = [_picture(outcome, name, looks, convergence) for name in names]
    return Section("paths", title, _introduction(outcome, convergence), legend, pictures)


def looks_of_starts(outcome: Outcome) -> dict[str, Look]:
    """A look for each start of those that tune, by the start in words."""
    tuned = [one for one in outcome.contestants if one.tuned]
    return of_starts(list(dict.fromkeys(start_name(one, s) for one in tuned for s in one.starts)))


def _introduction(outcome: Outcome, convergence: Sequence[Mapping[str, Any]]) -> list[str]:
    labels = {one.name: one.label for one in outcome.contestants}
    met, apart = (
        [f"{c['hyperparameter']} ({labels[c['method']]})" for c in convergence if c[key] is value]
        for key, value in (("converged", True), ("converged", False))
    )
    said = []
    if met:
        said.append(f"Runs from all starts come together in {listed(met)}.")
    if apart:
        who = "They" if met else "Runs from different starts"
        said.append(f"{who} stay apart in {listed(apart)}.")
    if said:
        said.append(
            f"Starts count as together if less than {CONVERGED:.0%} of the spread between them is "
            "left at the end, on the scale of the axis."
        )
    lines = "Thin lines are single seeds. Thick lines are the means over the seeds of a start"
    tuned = [one for one in outcome.contestants if one.tuned]
    if all(len(runs) == 1 for one in tuned for runs in one.curves):
        lines = "There is one line for each start, as each has one seed"
    elif some := [one for one in tuned if drawn_seeds(one) < seeds(one)]:
        few = [f"{drawn_seeds(one)} of {seeds(one)} ({one.label})" for one in some]
        lines += f". Only the first seeds of each start are drawn: {listed(few)}"
    how = (
        f"{lines}. Symbols to the left of step 0 are the starts. Axes show the scale on which "
        "tuning moves: a logarithm, or log-odds for values between 0 and 1. On log-odds, 0.99 is "
        "about as far from 0.999 as from 0.9."
    )
    return [" ".join(said), how] if said else [how]


def _picture(
    outcome: Outcome, name: str, looks: Mapping[str, Look], convergence: Sequence[Mapping[str, Any]]
) -> Picture:
    panels = _panels(outcome, name)
    scale, label = panels[0].scale, panels[0].label
    seen = [scale.forward(values) for panel in panels for values in _seen(panel)]
    axis = scale.axis(np.concatenate(seen))
    charts = [chart(panel, axis, looks) for panel in panels]
    found = {c["method"]: c for c in convergence if c["hyperparameter"] == name}
    return Picture(
        f"the paths of the {label}",
        charts,
        f"The {label} over environment steps, the same axis for all methods."
        + _outer_said(panels, scale),
        _numbers(panels),
        [_finding(found[panel.one.name], panel) for panel in panels],
        name,
    )


def _outer_said(panels: Sequence[Panel], scale: Scale) -> str:
    """Its values in the outer objective, if that reads it at all."""
    values = sorted({panel.spec.outer for panel in panels if panel.spec.outer is not None})
    if not values:
        return ""
    said = f" Its value in the outer objective is {listed([f'{value:g}' for value in values])}."
    hidden = [value for value in values if not np.isfinite(scale.forward(np.array(value)))]
    if hidden:
        said += f" {listed([f'{value:g}' for value in hidden])} is off every axis."
    return said


def _panels(outcome: Outcome, name: str) -> list[Panel]:
    return [_panel(outcome, one, name) for one in outcome.contestants if name in one.tuned]


def _panel(outcome: Outcome, one: Contestant, name: str) -> Panel:
    settings = studies.run_settings(outcome.measured.settings, one.name)
    spec, scale = settings.in_use[name], scale_of(name, settings.extensions)
    steps, values = thinned(one, one.paths[name])
    if not one.searched:
        steps = np.concatenate([[0], steps])
        values = [
            np.concatenate([np.full((len(x), 1), start.get(name, spec.start)), x], 1)
            for start, x in zip(one.starts, values, strict=True)
        ]
    label = definitions(settings.extensions)[name].label
    return Panel(one, name, label, spec, scale, steps, values)


def _seen(panel: Panel) -> list[np.ndarray]:
    """All values that are drawn."""
    drawn = [values[: drawn_seeds(panel.one)].ravel() for values in panel.values]
    outer = [] if panel.spec.outer is None else [np.array([panel.spec.outer])]
    return [*drawn, *panel.means, *outer]


def _finding(found: Mapping[str, Any], panel: Panel) -> str:
    """Where a hyperparameter went, and whether to one place."""
    label = panel.one.label
    if found["ends"] is None:
        return f"{label}: no run has a value at the end. All of them diverged."
    ends = _range_said(panel.scale, found["ends"])
    many = len(panel.one.starts) > 1
    end = f"the means of the starts end at {ends}" if many else f"the mean ends at {ends}"
    if found["converged"] is None:
        return f"{label}: {end}."
    verdict = "converged" if found["converged"] else "did not converge"
    return (
        f"{label}: {verdict}. From {_range_said(panel.scale, found['starts'])}, {end}: "
        f"{_share(found['spread_left'])} of the spread between starts is left."
    )


def _share(part: float) -> str:
    rounded = f"{part:.0%}"
    if rounded == _LIMIT:  # which must not look as if it were on the other side
        return f"just {'under' if part < CONVERGED else 'over'} {_LIMIT}"
    return "less than 1%" if part < 0.01 else rounded


def _range_said(scale: Scale, ends: Sequence[float]) -> str:
    low, high = (value_said(scale, value) for value in ends)
    return low if low == high else f"{low} to {high}"


def _numbers(panels: Sequence[Panel]) -> Table:
    """Means of each start on the way, and how far seeds are apart in the end."""
    label = panels[0].label
    rows = []
    for panel in panels:
        places = np.linspace(0, len(panel.steps) - 1, 5).round().astype(int)
        for start, values, mean in zip(panel.one.starts, panel.values, panel.means, strict=True):
            ends = values[:, -1][~np.isnan(values[:, -1])]
            apart = _range_said(panel.scale, [ends.min(), ends.max()]) if len(ends) else "-"
            row = [value_said(panel.scale, mean[place]) for place in places]
            group = start_name(panel.one, start) or "the only start"
            rows.append([panel.one.label, group, *row, apart])
    head = ["method", "start", "at the start", "at 25%", "at 50%", "at 75%", "at the end"]
    caption = f"Mean {label} over the seeds of each start, by part of the environment steps"
    return Table(caption, [*head, "seeds at the end"], rows)
