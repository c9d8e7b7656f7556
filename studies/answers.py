"""What a study asks and answers, in sentences that follow from its numbers and nothing else."""

from __future__ import annotations

import numpy as np

from selftuning.configs import studies
from selftuning.studies import statistics, study_files
from selftuning.studies.contestants import Contestant, in_words
from selftuning.studies.intervals import Interval, gain, interval, iqm, listed, probability, said
from selftuning.studies.outcome import Outcome

BASELINE = "none"  # the method that tuning is compared with
OUTER = "outer"
FEW = 5  # seeds, below which bootstrap intervals are too narrow


def question(outcome: Outcome) -> str:
    """What the study asks."""
    settings = outcome.measured.settings
    seeds = f"{settings.seeds} seed{'s' if settings.seeds > 1 else ''}"
    strata = max(len(one.starts) for one in outcome.contestants)
    starts = strata // max(1, len(outcome.tasks))
    bad = f"from {starts} starts, " if starts > 1 else ""
    lengths = sorted({task.run.steps for task in studies.on_each(settings)})
    steps = " to ".join(f"{length:,}" for length in dict.fromkeys((lengths[0], lengths[-1])))
    return (
        f"Does tuning its own hyperparameters help an agent on {listed(environments(outcome))}, "
        f"{bad}within {steps} environment steps ({seeds} each)?"
    )


def environments(outcome: Outcome) -> list[str]:
    """On which a study is, as it names them where there is but one."""
    return list(outcome.tasks) or [outcome.measured.settings.run.env]


def answer(outcome: Outcome) -> list[str]:
    """Two sentences."""
    tuned = [one for one in outcome.contestants if one.tunes]
    baseline = outcome.named(BASELINE) or next(
        (one for one in outcome.contestants if not one.tuned), None
    )
    if not tuned or baseline is None:
        ranked = sorted(outcome.contestants, key=lambda one: -iqm(one).value)
        ends = "; ".join(f"{one.label} {said(iqm(one))}" for one in ranked)
        missing = "tuned" if not tuned else "untuned"
        return [
            f"Interquartile mean {outcome.score} in the last tenth: {ends}.",
            f"There is no {missing} agent in this study, and no answer to whether tuning helps.",
        ]
    best = max(tuned, key=lambda one: iqm(one).value)
    return [_against_baseline(outcome, best, baseline), _against_best(outcome, best, baseline)]


def _against_baseline(outcome: Outcome, best: Contestant, baseline: Contestant) -> str:
    found = gain(best, baseline)
    chance = probability(best, baseline)
    often = "" if chance is None else f"; a tuned run ends better with probability {said(chance)}"
    return (
        f"{_verdict(found)}: {best.label} ends at an interquartile mean {outcome.score} of "
        f"{said(iqm(best))}, {baseline.label} at {said(iqm(baseline))}, "
        f"a difference of {said(found)}{often}."
    )


def _against_best(outcome: Outcome, best: Contestant, baseline: Contestant) -> str:
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
                f"{said(mean)} instead of {said(other)}"
            )
    others = [one for one in outcome.contestants if one.tunes]
    rivals = [one for one in others if one is not best][:2]
    rivals += [one for one in outcome.contestants if one.name == OUTER]
    rivals += [one for one in outcome.contestants if one.chosen]
    compared = [f"{_standing(gain(best, one))} {one.label} ({said(iqm(one))})" for one in rivals]
    if not compared:
        return f"{starts}." if starts else "There is only one start to compare with."
    rest = f"it ends {listed(compared)}"
    return f"{starts}; {rest}." if starts else f"{rest[0].upper()}{rest[1:]}."


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


def notes(outcome: Outcome) -> list[str]:
    """What a reader has to know before believing the answer."""
    lines = []
    measured, seeds = outcome.measured, outcome.measured.settings.seeds
    if measured.missing:
        count = len(measured.missing)
        lines.append(f"The study is not finished: {count} of its programs have not run yet.")
    if seeds == 1:
        lines.append("One seed of each: there are no intervals, and other seeds may differ.")
    elif seeds < FEW:
        lines.append(f"With only {seeds} seeds, intervals are too narrow.")
    if sum(one.tunes for one in outcome.contestants) > 1:
        lines.append(
            "The tuned method named first was chosen because it ended best in these very runs."
        )
    if any(one.chosen for one in outcome.contestants):
        lines.append(
            "The best start was chosen from the very runs it is shown with, so it looks too good."
        )
    if any(one.searched for one in outcome.contestants):
        share = measured.settings.search.budget == "run"
        budget = "share the environment steps of one run" if share else "have those of a run each"
        lines.append(
            f"The {measured.settings.search.members} members of a search {budget}. At each point "
            "a search is judged by the member that was best so far, Optuna by the trial that runs."
        )
    for one in outcome.contestants:
        lost = int(np.concatenate(one.diverged).sum())
        if lost and not one.chosen:
            lines.append(f"{one.label}: parameters of {lost} of {one.runs} runs became NaN.")
    if any(", " in numbers for numbers in study_files.versions(measured).values()):
        lines.append("Parts of the study ran with different versions of libraries.")
    about = measured.about.values()
    codes = sorted({one.get("code", measured.origin["code"]) for one in about})
    if len(codes) > 1:
        lines.append(f"Parts of it ran with different versions of the code: {listed(codes)}.")
    if unsealed := sum("study" not in one for one in about):
        lines.append(
            f"{unsealed} of its programs ran with a version before 0.3, whose files have no "
            "digests: nothing says whether they were damaged or changed."
        )
    return lines
