"""Where the numbers of a report come from, for `origin.html`: command, versions, definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selftuning.configs import files, studies, study_checks
from selftuning.configs.errors import ConfigError
from selftuning.configs.studies import StudySettings
from selftuning.studies import statistics, user_modules
from selftuning.studies.intervals import listed, number
from selftuning.studies.outcome import Outcome
from selftuning.studies.report import again, citation, words
from selftuning.studies.report.parts import Section
from selftuning.studies.study_files import Measured
from selftuning.studies.summary import CONVERGED
from selftuning.training.progress import duration


def section(outcome: Outcome, summary: Mapping[str, Any]) -> Section:
    """How the study was made and runs again, and what its numbers mean.

    Args:
      outcome: of the study.
      summary: the content of summary.json.
    """
    asked, code = outcome.measured.settings, summary["origin"]["code"]
    agents, methods = _agents(asked), _methods(asked)
    cited = citation.paragraph(outcome, code)
    origin = {
        **summary["origin"],
        **{name: summary[name] for name in ("versions", "machines", "devices")},
        "command": again.command(summary["origin"]["command"]),
        "again": _runs_again(asked),
        "modules": outcome.measured.known.modules,
        "changed": _changed(outcome.measured),
        "agents": agents,
        "methods": methods,
        "cited": cited,
        "bibtex": citation.bibtex(code),
        "references": citation.references(cited, *agents.values(), *methods.values()),
        "time": duration(summary["seconds"]),
        # Without the comment, which says what this page was drawn with.
        "settings": "".join(
            line for line in files.dump(asked).splitlines(True) if not line.startswith("#")
        ),
        "measure": outcome.measure,
        "points": asked.points,
        "resamples": f"{statistics.RESAMPLES:,}",
        "target": number(outcome.target),
        "eval_episodes": asked.run.eval_episodes,
        "converged": f"{CONVERGED:.0%}",
        "best_start": any(one.chosen for one in outcome.contestants),
    }
    return Section("origin", "How this was made", origin=origin)


def _agents(study: StudySettings) -> dict[str, str]:
    """Agents in words, by whose they are: one if all methods share it."""
    found: dict[str, list[str]] = {}
    for name, method in study.methods.items():
        starts = studies.starts(study, name)
        agent = words.of_agent(studies.run_settings(study, name), starts)
        found.setdefault(agent, []).append(method.label)
    if len(found) == 1:
        return {"Agent": next(iter(found))}
    return {f"Agent of {listed(labels)}": agent for agent, labels in found.items()}


def _methods(study: StudySettings) -> dict[str, str]:
    """How each method chooses hyperparameters, by its label."""
    return {method.label: words.of_method(study, name) for name, method in study.methods.items()}


def _runs_again(study: StudySettings) -> bool:
    """Whether settings are those of a study that can be run, and not of two that are compared."""
    try:
        study_checks.check(study)
    except ConfigError:
        return False
    return True


def _changed(measured: Measured) -> list[str]:
    """Modules of the user that were not the same in all parts of the study."""
    begun = user_modules.digests(measured.known.modules)
    ran = [about.get("modules", {}) for about in measured.about.values()]
    return [name for name in begun if any(one.get(name, begun[name]) != begun[name] for one in ran)]
