"""What a study asks and answers, in sentences that follow from its numbers and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from selftuning.configs import studies
from selftuning.configs.studies import StudySettings
from selftuning.studies import study_files
from selftuning.studies.contestants import Contestant, Stratum, in_words, picked
from selftuning.studies.intervals import last, listed, number, said
from selftuning.studies.outcome import Outcome
from selftuning.studies.same_runs import same_runs
from selftuning.studies.verdicts import BAD, GOOD, OUTER, Verdict, Verdicts

FEW = 5  # seeds, below which bootstrap intervals are too narrow
_NAMED = 4  # starts, at most; of more there is the number


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


def answer(outcome: Outcome, found: Verdicts) -> list[str]:
    """The verdicts, each with its numbers in a line for each method, and the worst starts."""
    if not outcome.tuned or not found.each:
        ranked = sorted(outcome.contestants, key=lambda one: -last(one).value)
        ends = "; ".join(f"{one.label} {said(last(one))}" for one in ranked)
        missing = "no tuned agent in this study"
        if outcome.tuned:
            alone = outcome.baseline is None and outcome.outer is None
            missing = "no untuned agent in this study" if alone else "nothing to compare yet"
        return [
            f"Mean {outcome.score} in the last tenth: {ends}.",
            f"There is {missing}, and no answer to whether tuning helps.",
            *_worst(outcome),
        ]
    return [
        *_of_bad_starts(outcome, found),
        *_of_good_starts(outcome, found),
        *_of_outer(outcome, found),
        *_worst(outcome),
    ]


def _of_bad_starts(outcome: Outcome, found: Verdicts) -> list[str]:
    given, baseline = found.on(BAD), outcome.baseline
    reference = outcome.outer.label if outcome.outer else "its best start"
    if baseline is None or baseline is outcome.outer:
        return []
    margin = number(found.margin.value)
    if not given and not found.on(GOOD):
        return [
            f"Rescues bad starts? Not known: no tuned method starts where {baseline.label} does."
        ]
    if not given:
        within = f"{baseline.label} ends within {margin} of {reference} or above it"
        return [f"Rescues bad starts? There are none: from every start, {within}."]
    starts = _starts(given[0].compared.starts, baseline)
    words = {"better": "Yes", "level": "No", "worse": "No, it harms"}
    each = ". From each of them" if len(given[0].compared.starts) > 1 else ""
    where = f"from {starts}{each}, {baseline.label} ends more than {margin} below {reference}."
    return [_sentence("Rescues bad starts", outcome, given, words, where)]


def _of_good_starts(outcome: Outcome, found: Verdicts) -> list[str]:
    given, baseline = found.on(GOOD), outcome.baseline
    if baseline is None or baseline is outcome.outer:
        return []
    if not given:
        return ["Costs from good starts? There are none."] if found.on(BAD) else []
    starts = _starts(given[0].compared.starts, baseline)
    words = {"worse": "Yes", "level": "No", "better": "No, it gains"}
    return [_sentence("Costs from good starts", outcome, given, words, f"from {starts}.")]


def _of_outer(outcome: Outcome, found: Verdicts) -> list[str]:
    given = found.on(OUTER)
    if outcome.outer is None:
        return [
            "Against the outer values? Not known: nothing has run that keeps them, which is what "
            "a user could do instead of tuning."
        ]
    words = {"better": "Better", "level": "Level", "worse": "Worse"}
    values = in_words(_outer_values(outcome.measured.settings))
    which = "those of each environment" if outcome.tasks else values
    start = "from all starts together" if max(len(v.compared.starts) for v in given) > 1 else "here"
    where = (
        f"{start}. Tuning was given these values ({which}): it follows an objective that is made "
        "with them."
    )
    return [_sentence("Against the outer values", outcome, given, words, where)]


def _outer_values(settings: StudySettings) -> studies.Start:
    """What tuning has to beat; where nothing was asked to keep it, what that would be."""
    kept = (name for name, method in settings.methods.items() if method.at_outer)
    return studies.at_outer(settings, next(kept, next(iter(settings.methods))))


def _sentence(
    question: str,
    outcome: Outcome,
    given: Sequence[Verdict],
    words: Mapping[str, str],
    where: str,
) -> str:
    """A question, its verdict and from where; and a line with the numbers of each method.

    The verdict is one if it is on all tuned methods. If not, each names its own.
    """
    of: dict[str, list[str]] = {}
    for one in given:
        word = words.get(one.standing, one.standing.capitalize())
        of.setdefault(word, []).append(one.compared.one)
    verdict = "; ".join(f"{word} ({listed(names)})" for word, names in of.items())
    if len(of) == 1 and len(given) == len(outcome.tuned):
        (verdict,) = of
    return f"{question}? {verdict}: {where}{_details(given)}"


def _details(given: Sequence[Verdict]) -> str:
    """A line for each method."""
    starts = [one.compared.starts for one in given]
    apart = any(others != starts[0] for others in starts)  # methods may have starts of their own
    where = [f" (from {_named(each)})" if apart else "" for each in starts]
    return "".join(f"\n{detail(one)}{at}." for one, at in zip(given, where, strict=True))


def detail(one: Verdict) -> str:
    """The numbers of a verdict, and whose they are."""
    return (
        f"{one.compared.one} ends at {number(one.value)}, {one.compared.other} at "
        f"{number(one.instead)}, a difference of {said(one.gain)}{_chance(one)}"
    )


def numbers(one: Verdict) -> str:
    """The same in short."""
    return f"{number(one.value)}, {number(one.instead)}, {said(one.gain)}{_chance(one)}"


def _chance(one: Verdict) -> str:
    chance = one.compared.chance
    return f", better with probability {said(chance)}" if chance else ""


def _starts(starts: Sequence[Stratum], of: Contestant) -> str:
    """Starts by name, or their number if they are many; a verdict is on their mean, not on each."""
    if len(starts) == len(of.starts) > 1:
        return f"all {len(starts)} starts together"
    named = _named(starts) if len(starts) <= _NAMED else f"{len(starts)} of {len(of.starts)} starts"
    return f"{named} together" if len(starts) > 1 else named


def _named(starts: Sequence[Stratum]) -> str:
    return listed([f"({in_words(start)})" if start else "its only start" for start in starts])


def _worst(outcome: Outcome) -> list[str]:
    """The start from which each tuned method ends worst, which no mean must hide."""
    several = [one for one in outcome.tuned if len(one.starts) > 1]
    if not several:
        return []
    words = []
    for one in several:
        at = int(np.argmin([runs.mean() for runs in one.last]))
        alone = picked(one, [at], one.name, one.label)
        runs = (
            f", its lowest run at {number(alone.last[0].min())}" if len(alone.last[0]) > 1 else ""
        )
        alike = len({runs.mean() for runs in one.last}) == 1
        start = "every start alike" if alike else in_words(one.starts[at])
        words.append(f"{one.label} at {said(last(alone))} from {start}{runs}")
    return [f"The worst start of each tuned method: {'; '.join(words)}."]


def _how(outcome: Outcome, found: Verdicts) -> str:
    """What the verdicts rest on."""
    margin, score = found.margin, outcome.score
    judged = [one for one in found.each if one.gain.low is not None]
    level = "“Level” and “No” are not said, as runs begin at the target or above it."
    if margin.value > 0:
        level = (
            f"“Level” and “No” need all of the interval within {number(margin.value)}: 5% of the "
            f"way from the mean {score} at the first point, {number(margin.first)}, to the target, "
            f"{number(margin.target)}."
        )
    if not judged:
        return level
    correction = f", widened by Holm's method for {len(judged)} comparisons" * (len(judged) > 1)
    return (
        f"Scores are means of the {score} in the last tenth. Differences are taken seed by seed, "
        f"with 95% intervals{correction}. “Yes”, “Better” and “Worse” need an interval without 0 "
        f"and a probability whose 95% interval is without 0.5. {level}"
    )


def notes(outcome: Outcome, found: Verdicts | None = None) -> list[str]:
    """What a reader has to know before believing the answer."""
    lines = [_how(outcome, found)] if found and found.each else []
    measured, seeds = outcome.measured, outcome.measured.settings.seeds
    if measured.missing:
        count = len(measured.missing)
        lines.append(f"The study is not finished: {count} of its programs have not run yet.")
    if seeds == 1:
        lines.append("One seed of each: there are no intervals, and other seeds may differ.")
    elif seeds < FEW:
        lines.append(
            f"With only {seeds} seeds there may be failures that none of them shows, and intervals "
            "other than those of means are too narrow."
        )
    if found and not all(one.compared.agreed for one in found.each):
        lines.append(
            "Seeds do not agree on which starts are bad. The others say it for each seed, so the "
            "scores from bad and from good starts are not exactly the means of the table."
        )
    for name, same in same_runs(measured.settings).items():
        if outcome.named(name) is None and same.all_of_it:
            methods = measured.settings.methods
            labels = methods[name].label, methods[same.method].label
            lines.append(f"{' is '.join(labels)}: the same runs, shown once.")
    if any(one.chosen for one in outcome.contestants):
        lines.append(
            "The best start was chosen from the very runs it is shown with, so it looks too good."
        )
    if any(one.searched for one in outcome.contestants):
        lines.append(
            f"{_members(measured.settings)} At each point a search is judged by the member that "
            "was best so far, Optuna by the trial that runs."
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


def _members(study: StudySettings) -> str:
    """How the members of searches share environment steps."""
    budgets: dict[tuple[int, str], list[str]] = {}
    for name, method in study.methods.items():
        if method.kind != "runs":
            search = studies.search_settings(study, name)
            budgets.setdefault((search.members, search.budget), []).append(method.label)
    shared = {"run": "share the environment steps of one run", "member": "have those of a run each"}
    return " ".join(
        f"The {members} members of {'a search' if len(budgets) == 1 else listed(labels)} "
        f"{shared[budget]}."
        for (members, budget), labels in budgets.items()
    )
