"""What a study asks and answers, in sentences that follow from its numbers and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from selftuning.studies import statistics, study_files
from selftuning.studies.contestants import Contestant, in_words
from selftuning.studies.intervals import Interval, gain, interval, iqm, probability, said

if TYPE_CHECKING:
    from selftuning.studies.summary import Study

BASELINE = "none"  # the method that tuning is compared with
OUTER = "outer"
FEW = 5  # seeds, below which bootstrap intervals are too narrow


def question(study: Study) -> str:
    """What the study asks."""
    settings = study.measured.settings
    seeds = f"{settings.seeds} seed{'s' if settings.seeds > 1 else ''}"
    starts = max(len(one.starts) for one in study.contestants)
    bad = f"from {starts} starts, " if starts > 1 else ""
    return (
        f"Does tuning its own hyperparameters help an agent on {settings.run.env}, "
        f"{bad}within {settings.run.steps:,} environment steps ({seeds} each)?"
    )


def answer(study: Study) -> list[str]:
    """Two sentences."""
    tuned = [one for one in study.contestants if one.tuned and one.kind == "runs"]
    baseline = study.named(BASELINE) or next(
        (one for one in study.contestants if not one.tuned), None
    )
    if not tuned or baseline is None:
        ranked = sorted(study.contestants, key=lambda one: -iqm(one).value)
        ends = "; ".join(f"{one.label} {said(iqm(one))}" for one in ranked)
        missing = "tuned" if not tuned else "untuned"
        return [
            f"Interquartile mean {study.score} in the last tenth: {ends}.",
            f"There is no {missing} agent in this study, and no answer to whether tuning helps.",
        ]
    best = max(tuned, key=lambda one: iqm(one).value)
    return [_against_baseline(study, best, baseline), _against_best(study, best, baseline)]


def _against_baseline(study: Study, best: Contestant, baseline: Contestant) -> str:
    found = gain(best, baseline)
    chance = probability(best, baseline)
    often = "" if chance is None else f"; a tuned run ends better with probability {said(chance)}"
    return (
        f"{_verdict(found)}: {best.label} ends at an interquartile mean {study.score} of "
        f"{said(iqm(best))}, {baseline.label} at {said(iqm(baseline))}, "
        f"a difference of {said(found)}{often}."
    )


def _against_best(study: Study, best: Contestant, baseline: Contestant) -> str:
    """From where it helps, and whether it is more than having known the right values."""
    starts = ""
    if len(best.starts) > 1 and len(baseline.starts) > 1:
        at = int(np.argmin([scores.mean() for scores in baseline.last]))
        if baseline.starts[at] in best.starts:
            mine = best.last[best.starts.index(baseline.starts[at])]
            mean = interval([mine], statistics.mean)
            other = interval([baseline.last[at]], statistics.mean)
            starts = (
                f"From the worst start ({in_words(baseline.starts[at])}) it ends at a mean of "
                f"{said(mean)} in place of {said(other)}"
            )
    others = [one for one in study.contestants if one.tuned and one.kind == "runs"]
    rivals = [one for one in others if one is not best][:2]
    rivals += [one for one in study.contestants if one.name == OUTER]
    rivals += [one for one in study.contestants if one.name.startswith("best of")]
    compared = [f"{_standing(gain(best, one))} {one.label} ({said(iqm(one))})" for one in rivals]
    if not compared:
        return f"{starts}." if starts else "There is but one start to compare with."
    rest = f"it ends {_listed(compared)}"
    return f"{starts}; {rest}." if starts else f"{rest[0].upper()}{rest[1:]}."


def _listed(texts: Sequence[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _verdict(found: Interval) -> str:
    if found.low is None or found.high is None:
        return "One run of each says little"
    if found.low > 0:
        return "Yes"
    return "No, it harms" if found.high < 0 else "Not shown"


def _standing(found: Interval) -> str:
    if found.low is None or found.high is None:
        return "beside"
    return "above" if found.low > 0 else "below" if found.high < 0 else "level with"


def notes(study: Study) -> list[str]:
    """What a reader has to know before believing the answer."""
    lines = []
    measured, seeds = study.measured, study.measured.settings.seeds
    if measured.missing:
        count = len(measured.missing)
        lines.append(f"The study is not finished: {count} of its programs have not run yet.")
    if seeds == 1:
        lines.append("One seed of each: there are no intervals, and nothing is known of others.")
    elif seeds < FEW:
        lines.append(f"{seeds} seeds are so few that intervals are too narrow.")
    if sum(bool(one.tuned) and one.kind == "runs" for one in study.contestants) > 1:
        lines.append(
            "The tuned method that is named first is the one that ended best in these runs."
        )
    if any(one.name.startswith("best of") for one in study.contestants):
        lines.append("The best start was chosen by the very runs it is shown with, in its favour.")
    if any(one.kind != "runs" for one in study.contestants):
        budget = "those of one run" if measured.settings.search.budget == "run" else "a run's each"
        lines.append(
            f"Searches have {measured.settings.search.members} members, whose environment steps "
            f"are {budget}; they are judged by the member that is best by what came before, "
            "trials of Optuna by what they show themselves."
        )
    for one in study.contestants:
        lost = int(np.concatenate(one.diverged).sum())
        if lost and not one.name.startswith("best of"):
            lines.append(f"{one.label}: parameters of {lost} of {one.runs} runs became NaN.")
    if any(", " in numbers for numbers in study_files.versions(measured).values()):
        lines.append("Parts of the study ran with different versions of libraries.")
    return lines
