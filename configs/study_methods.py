"""The methods that a study can compare, by name: what the runs of each change in its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

OUTER = "outer"  # the method that keeps the values of the outer objective
WITHOUT_OUTER = f"-{OUTER}"  # among methods: it does not join them

Kind = Literal["runs", "random_search", "pbt", "pb2", "optuna"]


@dataclass(frozen=True)
class StudyMethod:
    """One contestant: what its runs change in the settings of the study.

    Attributes:
      label: in words, for tables and pictures.
      kind: "runs" makes a run for every start and seed; the others make a search for every seed,
        which chooses its own starts within the bounds of what is tuned.
      preset: a method (`presets.METHODS`) that is applied first; none if None.
      changes: fields of `RunSettings` by name, nested as there.
      starts: a grid of its own, by name, in place of the study's, whose other names are put into it
        first (`study_alike.starting`); of a search the starts of its members, in place of random
        ones.
      search: fields of `SearchSettings` by name, in place of those of the study.
      at_outer: whether its only start is the values of the outer objective.
    """

    label: str = ""
    kind: Kind = "runs"
    preset: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    starts: dict[str, tuple[float, ...]] | None = None
    search: dict[str, Any] = field(default_factory=dict)
    at_outer: bool = False


_FIXED = {"tuning": {"method": "none", "context": "none"}}


def _tuned(label: str, method: str, context: str = "none") -> StudyMethod:
    return StudyMethod(label, changes={"tuning": {"method": method, "context": context}})


METHODS: Mapping[str, StudyMethod] = {
    "none": StudyMethod("no tuning", changes=_FIXED),
    OUTER: StudyMethod("fixed at the outer values", changes=_FIXED, at_outer=True),
    "anneal": StudyMethod(
        "linear decay",
        changes=_FIXED | {"agent": {"anneal_learning_rate": True, "anneal_entropy": True}},
    ),
    "mg": _tuned("mg", "mg"),
    "mg_reward": _tuned("mg + reward", "mg", "reward"),
    "mg_rich": _tuned("mg + rich", "mg", "rich"),
    "bmg": _tuned("bmg", "bmg"),
    "bmg_reward": _tuned("bmg + reward", "bmg", "reward"),
    "bmg_rich": _tuned("bmg + rich", "bmg", "rich"),
    "stacx": StudyMethod("STACX", preset="stacx"),
    "continual": StudyMethod("rate tuned, barrier", preset="continual"),
    "random_search": StudyMethod("random search", "random_search", changes=_FIXED),
    "pbt": StudyMethod("population-based training", "pbt", changes=_FIXED),
    "pb2": StudyMethod("population-based bandits (PB2)", "pb2", changes=_FIXED),
    "optuna": StudyMethod("Optuna (TPE, pruning)", "optuna", changes=_FIXED),
}
ABOUT: Mapping[str, str] = {
    "none": "keeps hyperparameters at each start",
    OUTER: "keeps the values of the outer objective, which tuning has to beat; joins "
    f"where some method moves these, unless {WITHOUT_OUTER} is named",
    "anneal": "lets learning rate and entropy weight fall linearly from each start",
    "mg": "plain meta-gradients",
    "mg_reward": "the same, with a network that sees the latest rewards",
    "mg_rich": "the same, with a network that sees rewards, values and TD errors",
    "bmg": "bootstrapped meta-gradients",
    "bmg_reward": "the same, with a network that sees the latest rewards",
    "bmg_rich": "the same, with a network that sees rewards, values and TD errors",
    "stacx": "mg with auxiliary heads and leaky V-trace",
    "continual": "for tasks that change: mg of a learning rate that comes back, and a barrier",
    "random_search": "tries random starts; the best goes on",
    "pbt": "population-based training",
    "pb2": "the same, where a Gaussian process chooses what copies go on with (Ray Tune's PB2)",
    "optuna": "Optuna's TPE with pruning; the best trial goes on",
}
