"""Whether tuning is worth it: by start, and against what a user would do instead.

Three comparisons for each tuned method, seed by seed: with runs that do not tune from bad starts,
with these from good starts, and, over all starts, with runs that keep the values of the outer
objective. Which starts are bad for a seed is told by the *other* seeds. Told by all of them, the
starts with the unluckiest runs would be the bad ones, and tuning would seem to help by being
luckier (a simulation in the tests shows it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from selftuning.studies import means
from selftuning.studies.contestants import ENV, Contestant, Stratum, by_seed, picked
from selftuning.studies.intervals import Interval, probability
from selftuning.studies.outcome import Outcome

Standing = Literal["better", "worse", "level", "not shown", "one seed"]
BAD, GOOD, OUTER = "bad starts", "good starts", "outer values"
_SHARE = 0.05  # of the way from first score to target, which makes no difference to a user
# Seeds without any difference between them that say "level". A run in four may fail where ten have
# not (0.75^10 = 0.06), and two in three where three have not.
_ALIKE = 10


class Margin(NamedTuple):
    """Differences in the score up to `value` are none to a user.

    Attributes:
      value: a part of the way from `first` to `target`, 0 if that is none.
      first: mean score at the first point of all runs.
      target: the score that is good enough.
    """

    value: float
    first: float
    target: float


class Comparison(NamedTuple):
    """Scores of a method and of what it is compared with.

    Attributes:
      question: what the comparison answers.
      one: label of the method.
      other: label of what it is compared with.
      starts: from which.
      ones: mean score over starts of each seed [N].
      others: likewise [M]; of the same seeds if `paired`.
      paired: whether seeds are shared.
      chance: P(a run of the method ends better than one of the other from the same start).
      agreed: whether these are the starts for every seed. If not, the scores of a seed are from
        those that the other seeds say.
    """

    question: str
    one: str
    other: str
    starts: list[Stratum]
    ones: np.ndarray
    others: np.ndarray
    paired: bool
    chance: Interval | None
    agreed: bool = True


class Verdict(NamedTuple):
    """What a comparison shows.

    Attributes:
      compared: what.
      standing: of the method. "better" and "worse" are said if neither 0 is in the interval of the
        difference nor 0.5 in that of the probability, "level" if the difference is inside the
        margin with all of its interval, and seeds differ or are ten.
      gain: mean difference, with an interval that is corrected for the number of comparisons.
      level: of that interval.
    """

    compared: Comparison
    standing: Standing
    gain: Interval
    level: float

    @property
    def value(self) -> float:
        """Mean score of the method."""
        return float(self.compared.ones.mean())

    @property
    def instead(self) -> float:
        """Mean score of what it is compared with."""
        return float(self.compared.others.mean())


class Verdicts(NamedTuple):
    """All verdicts of a study.

    Attributes:
      each: question by question.
      margin: for all.
    """

    each: list[Verdict]
    margin: Margin

    def on(self, question: str) -> list[Verdict]:
        """Those that answer a question, a method each."""
        return [verdict for verdict in self.each if verdict.compared.question == question]


def of_study(outcome: Outcome) -> Verdicts:
    """The verdicts on all methods that tune."""
    margin = margin_of(outcome)
    found = [c for one in outcome.tuned for c in _compared(outcome, one, margin.value)]
    order = (BAD, GOOD, OUTER)
    found.sort(key=lambda one: order.index(one.question))
    return Verdicts(judged(found, margin.value), margin)


def margin_of(outcome: Outcome) -> Margin:
    """The margin of a study."""
    begins = [
        curves[:, 0] for one in outcome.contestants if not one.chosen for curves in one.curves
    ]
    first = float(np.concatenate(begins).mean())
    return Margin(max(0.0, _SHARE * (outcome.target - first)), first, outcome.target)


def judged(found: Sequence[Comparison], margin: float) -> list[Verdict]:
    """Verdicts on several comparisons, whose intervals are corrected for their number."""
    gains = [_gain(one) for one in found]
    levels = iter(means.holm([gain.p for gain in gains if gain]))
    return [
        _verdict(one, gain, next(levels) if gain else means.LEVEL, margin)
        for one, gain in zip(found, gains, strict=True)
    ]


def side_by_side(question: str, one: Contestant, other: Contestant) -> Comparison | None:
    """The starts of one contestant against the same ones of another, or against its only one.

    Seeds are paired if two or more are shared. None if no runs can be compared.
    """
    if len(other.starts) > 1:
        one, other = _from_the_same(one, other)
    if not one.starts:
        return None
    (seeds, ones), (theirs, others) = (by_seed(x, x.last) for x in (one, other))
    shared = np.intersect1d(seeds, theirs)
    paired = len(shared) > 1 or len(seeds) == len(theirs) == len(shared)
    if paired:
        ones, others = ones[:, np.isin(seeds, shared)], others[:, np.isin(theirs, shared)]
    if not ones.size or not others.size:
        return None
    scores = (ones.mean(0), others.mean(0))
    chance = probability(one, other)
    return Comparison(question, one.label, other.label, one.starts, *scores, paired, chance)


def _compared(outcome: Outcome, one: Contestant, margin: float) -> list[Comparison]:
    """The three comparisons of a method, or those of them that there can be."""
    baseline, outer = outcome.baseline, outcome.outer
    found: list[Comparison] = []
    if baseline is not None and baseline is not outer:
        found += _by_start(one, baseline, outer, margin)
    against = side_by_side(OUTER, one, _there(outer, one)) if outer is not None else None
    return [*found, against] if against else found


def _by_start(
    one: Contestant, fixed: Contestant, outer: Contestant | None, margin: float
) -> list[Comparison]:
    """Comparisons from the bad starts and from the good ones."""
    one, fixed = _from_the_same(one, fixed)
    if not one.starts:
        return []
    everybody = [one, fixed] if outer is None else [one, fixed, _there(outer, one)]
    seeds = [by_seed(x, x.last) for x in everybody]
    shared = [number for number in seeds[0][0] if all(number in x for x, _ in seeds)]
    if not shared:
        return []
    ones, fixeds, *rest = (values[:, np.isin(x, shared)] for x, values in seeds)
    where = [start.get(ENV) for start in fixed.starts]
    at_outer = rest[0] if rest else None
    bad = bad_for_each_seed(fixeds, at_outer, margin, where)
    all_say = _bad(fixeds.mean(1), None if at_outer is None else at_outer.mean(1), margin, where)
    result = []
    for question, which, named in ((BAD, bad, all_say), (GOOD, ~bad, ~all_say)):
        if not named.any():
            continue
        some = which.any(0)  # seeds for which any start is
        scores = [np.mean(x[:, some], 0, where=which[:, some]) for x in (ones, fixeds)]
        at = np.flatnonzero(named).tolist()
        few = [picked(x, at, x.name, x.label) for x in (one, fixed)]
        agreed = bool((which == named[:, None]).all())
        found = Comparison(
            question,
            one.label,
            fixed.label,
            few[0].starts,
            scores[0],
            scores[1],
            True,
            probability(few[0], few[1]),
            agreed,
        )
        result.append(found)
    return result


def _from_the_same(one: Contestant, other: Contestant) -> tuple[Contestant, Contestant]:
    """Two contestants from the starts that both have, which may be none."""
    both = [start for start in other.starts if start in one.starts]

    def from_both(x: Contestant) -> Contestant:
        return picked(x, [x.starts.index(start) for start in both], x.name, x.label)

    return from_both(one), from_both(other)


def _there(outer: Contestant, one: Contestant) -> Contestant:
    """The runs at the outer values as they stand against each start of a contestant.

    On several environments they are those on the same one. On one they are the same for all.
    """
    if len(outer.starts) == 1:
        return outer
    on = [start.get(ENV) for start in outer.starts]
    which = [on.index(start.get(ENV)) for start in one.starts]
    return picked(outer, which, outer.name, outer.label)._replace(starts=one.starts)


def bad_for_each_seed(
    fixed: np.ndarray, outer: np.ndarray | None, margin: float, where: Sequence[str | None]
) -> np.ndarray:
    """From which starts runs that do not tune end worse than others, as the other seeds have it.

    Args:
      fixed: scores of the runs that do not tune [S, N].
      outer: of those at the outer values that stand against them [S, N] or [1, N]; None for the
        best start in their place.
      margin: by how much they have to be worse.
      where: environment of each start [S].

    Returns:
      Whether each start is bad for each seed, bool [S, N].
    """
    return _bad(_by_others(fixed), None if outer is None else _by_others(outer), margin, where)


def _bad(
    fixed: np.ndarray, outer: np.ndarray | None, margin: float, where: Sequence[str | None]
) -> np.ndarray:
    if outer is None:
        outer = np.stack([fixed[[env == here for env in where]].max(0) for here in where])
    return fixed < outer - margin


def _by_others(values: np.ndarray) -> np.ndarray:
    """Means over all seeds but each one [..., N]; a single seed has its own."""
    count = values.shape[-1]
    return (values.sum(-1, keepdims=True) - values) / (count - 1) if count > 1 else values


def _gain(compared: Comparison) -> means.Mean | None:
    """The mean difference; None where single seeds tell of no interval."""
    if min(len(compared.ones), len(compared.others)) < 2:
        return None
    if compared.paired:
        return means.over_seeds(compared.ones - compared.others)
    return means.difference(compared.ones, compared.others)


def _verdict(compared: Comparison, gain: means.Mean | None, level: float, margin: float) -> Verdict:
    if gain is None:
        value = float(compared.ones.mean() - compared.others.mean())
        return Verdict(compared, "one seed", Interval(value, None, None), level)
    low, high = (float(x) for x in gain.interval(level))
    found, chance = Interval(float(gain.value), low, high), compared.chance
    few = min(len(compared.ones), len(compared.others))
    known = low < high or few >= _ALIKE
    standing: Standing = "level" if known and -margin < low and high < margin else "not shown"
    if chance is not None and chance.low is not None and chance.high is not None:
        if low > 0 and chance.low > 0.5:
            standing = "better"
        elif high < 0 and chance.high < 0.5:
            standing = "worse"
    return Verdict(compared, standing, found, level)
