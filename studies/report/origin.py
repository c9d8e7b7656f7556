"""Where the numbers of a report come from, for `origin.html`: command, versions, definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selftuning.studies import statistics
from selftuning.studies.intervals import number
from selftuning.studies.outcome import Outcome
from selftuning.studies.report.parts import Section
from selftuning.studies.summary import CONVERGED
from selftuning.training.progress import duration


def section(outcome: Outcome, summary: Mapping[str, Any], settings: str) -> Section:
    """How the study was made, and what its numbers mean.

    Args:
      outcome: of the study.
      summary: the content of summary.json.
      settings: of the study, as YAML.
    """
    asked = outcome.measured.settings
    origin = {
        **summary["origin"],
        **{name: summary[name] for name in ("versions", "machines", "devices")},
        "time": duration(summary["seconds"]),
        "settings": settings,
        "measure": outcome.measure,
        "points": asked.points,
        "resamples": f"{statistics.RESAMPLES:,}",
        "target": number(outcome.target),
        "eval_episodes": asked.run.eval_episodes,
        "converged": f"{CONVERGED:.0%}",
        "best_start": any(one.chosen for one in outcome.contestants),
    }
    return Section("origin", "How this was made", origin=origin)
