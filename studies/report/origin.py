"""Where the numbers of a report come from: command, versions, machines, definitions."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from selftuning.studies import statistics
from selftuning.studies.intervals import number
from selftuning.studies.report.parts import Section
from selftuning.studies.study_progress import duration
from selftuning.studies.summary import CONVERGED, Study

_SOURCE = (
    "Agarwal, Schwarzer, Castro, Courville and Bellemare (2021), “Deep Reinforcement Learning at "
    "the Edge of the Statistical Precipice”, NeurIPS 34"
)


def section(study: Study, summary: Mapping[str, Any], settings: str) -> Section:
    """How the study was made.

    Args:
      study: what was measured.
      summary: the content of summary.json.
      settings: of the study, as YAML.
    """
    origin = summary["origin"]
    facts = {
        "Command": _code(origin["command"]),
        "Begun": escape(origin["begun"]),
        "Code": escape(origin["code"]),
        "Libraries": escape(", ".join(f"{k} {v}" for k, v in summary["versions"].items())),
        "Machines": "<br>".join(escape(machine) for machine in summary["machines"]),
        "Devices": escape(", ".join(summary["devices"])),
        "Time": f"{duration(summary['seconds'])} of computing, summed over programs that may have "
        "run at the same time",
    }
    data = (
        "The same numbers are in <code>summary.json</code> beside this page, all that was measured "
        "in <code>results.parquet</code>, and <code>study.yaml</code> runs the study again."
    )
    after = "\n".join(
        [
            _pairs(facts),
            f"<p>{data}</p>",
            "<h3>What the numbers are</h3>",
            _pairs({name: escape(text) for name, text in definitions(study).items()}),
            f"<p>Aggregates, intervals and profiles are those of {escape(_SOURCE)}.</p>",
            f"<details><summary>Settings as YAML</summary>{_code(settings)}</details>",
        ]
    )
    return Section("origin", "How this was made", after=after)


def definitions(study: Study) -> dict[str, str]:
    """What is meant by what the report says, by name."""
    settings = study.measured.settings
    score = {
        "return": "Of the return: mean over the episodes that ended since the point before. A "
        "point without an end has the value of the one before.",
        "reward": "Of the reward: mean over all environment steps since the point before.",
    }[study.measure]
    curve = statistics.RESAMPLES // 10
    said = {
        "Score": f"{score} It is measured at {settings.points} points at most.",
        "Last tenth": "The mean of a run's score over the last tenth of its points: how it ends.",
        "Environment steps": "All steps of all environments of a run, and of all members of a "
        "search. Those of the greedy evaluation are not learned from, and not counted.",
        "Interquartile mean (IQM)": "The mean of the middle half of all runs of a contestant, from "
        "all starts. Half of the runs must fail before it is all failure, and no single run "
        "decides it.",
        "95% interval": "Percentiles of a stratified bootstrap: runs are drawn anew within each "
        f"start, {statistics.RESAMPLES:,} times ({curve:,} times at most for points of lines).",
        "Mean, median": "Over starts, of the mean over the seeds of each.",
        "Optimality gap": "How far runs stay below the target in the mean; what is above it counts "
        f"as {number(study.target)}. Less is better.",
        "Probability of improvement": "That a run of one contestant ends better than one of "
        "another, from the same start; mean over starts, ties count half.",
        "Performance profile": "The share of runs that end above a score; mean over starts.",
        "Greedy": "The mean return of the greedy policy after training, in "
        f"{settings.run.eval_episodes} episodes; interquartile mean over runs.",
        "Solved": "A run has solved its task when the mean return of its last 100 episodes or more "
        "has reached the environment's threshold. The median counts runs that never do.",
        "Converged": "Of a hyperparameter: the means of the starts end closer together than "
        f"{CONVERGED:.0%} of the distance at which they began, in log-odds or logarithms.",
        "Diverged": "Runs whose parameters became NaN or infinite. They keep the last score that "
        "is known, and without any they count as the worst of all.",
    }
    if any(one.name.startswith("best of") for one in study.contestants):
        said["Best start"] = (
            "The start from which agents without tuning ended best, chosen after the fact by the "
            "same runs."
        )
    return said


def _pairs(pairs: Mapping[str, str]) -> str:
    """A list of descriptions, which are HTML already."""
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{v}</dd>" for k, v in pairs.items()) + "</dl>"


def _code(text: str) -> str:
    return f"<pre><code>{escape(text)}</code></pre>"
