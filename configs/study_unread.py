"""What a study was asked for and no method reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from selftuning.configs import studies
from selftuning.configs.errors import not_allowed, require
from selftuning.configs.hyperparameter_flags import HyperparameterFlags, edited
from selftuning.configs.settings import RunSettings
from selftuning.configs.studies import StudySettings
from selftuning.configs.unread import refused_edit, unread, unread_edit, value_of

_OF_POPULATIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("fraction", "exploit", "explore"), ("pbt", "pb2")),
    **dict.fromkeys(("factor", "resample"), ("pbt",)),
}


def refuse(
    study: StudySettings,
    typed: Collection[str],
    edits: HyperparameterFlags,
    searching: Collection[str],
) -> None:
    """Raises ConfigError if something was given, by name, that no method reads.

    Args:
      study: allowed settings.
      typed: fields of the runs that were given, as messages name them.
      edits: what was said of hyperparameters, but for the starts.
      searching: fields of `SearchSettings` that were given.
    """
    runs = [(name, settings) for _, name, settings in _runs(study)]
    without = [unread(settings) for _, settings in runs]
    for field in set(typed) - {"tuning.period"}:  # which says where all runs are measured
        if all(field in each for each in without):
            raise not_allowed(field, value_of(runs[0][1], field), f"left out {without[0][field]}")
        said, has = value_of(study.run, field), [value_of(x, field) for _, x in runs]
        pairs = dict.fromkeys(f"{name} has {x}" for (name, _), x in zip(runs, has, strict=True))
        allowed = f"left out: {', '.join(pairs)}, whatever flags say"
        require(said in has, field, said, allowed)
    for kind, name in edited(edits):
        whys = [_unread_edit(study, of, settings, kind, name) for of, settings in runs]
        if all(whys):
            raise refused_edit(study.run, kind, name, whys[0])
    kinds = {method.kind for method in study.methods.values()}
    for field in searching:
        value = getattr(study.search, field)
        require(kinds != {"runs"}, field, value, "left out without a method that searches")
        readers = _OF_POPULATIONS.get(field, tuple(kinds))
        allowed = f"left out without the method {' or '.join(readers)}"
        require(not kinds.isdisjoint(readers), field, value, allowed)
        own = [field in one.search for one in study.methods.values() if one.kind in readers]
        require(not all(own), field, value, "left out: each of the searches says it for itself")
    policy, stops = study.run.on_divergence, "left out: a study says which of its runs diverged"
    ignores = "on_divergence" in typed and policy != RunSettings.on_divergence
    require(not ignores, "on_divergence", policy, stops)
    evaluates = study.evaluations > 0 or "eval_episodes" not in typed
    require(evaluates, "eval_episodes", study.run.eval_episodes, "left out without evaluations")


def _unread_edit(
    study: StudySettings, method: str, settings: RunSettings, kind: str, name: str
) -> str:
    """As `unread_edit`: a search reads bounds too, and `at_outer` what stands for a start."""
    searched = study.methods[method].kind != "runs" and kind in ("tune", "bounds")
    judged = study.methods[method].at_outer and kind == "outer"
    reads = (searched or judged) and name in settings.in_use
    return "" if reads else unread_edit(settings, kind, name)


def refuse_starts(study: StudySettings) -> None:
    """Raises ConfigError if no method has a start that the study names."""
    runs = list(_runs(study))
    for key, values in study.starts.items():
        known = dict.fromkeys(name for _, _, settings in runs for name in settings.in_use)
        require(key in known, "start", f"{key}={values[0]:g}", f"one of {', '.join(known)}")
        begun = {
            start.get(key, settings.in_use[key].start)
            for task, name, settings in runs
            if key in settings.in_use
            for start in studies.starts(task, name)
        }
        said, allowed = ",".join(f"{x:g}" for x in values), "left out: no method starts there"
        require(not begun.isdisjoint(values), "start", f"{key}={said}", allowed)


def _runs(study: StudySettings) -> Iterator[tuple[StudySettings, str, RunSettings]]:
    """The part of the study on each task, with each method and the settings of its runs."""
    for task in studies.on_each(study):
        for name in study.methods:
            yield task, name, studies.run_settings(task, name)
