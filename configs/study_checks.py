"""What a study may ask for, as one pure function from its settings to the first complaint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from selftuning.configs import studies
from selftuning.configs.errors import ConfigError, not_allowed, require
from selftuning.configs.extensions import definitions
from selftuning.configs.settings import RunSettings
from selftuning.configs.studies import StudySettings
from selftuning.configs.study_methods import METHODS, OUTER, Kind
from selftuning.configs.unread import (
    unread,
)
from selftuning.configs.validate import validate

_MOST_STARTS = 10_000
_LONGEST_NAME = 100  # bytes of a method's name, which is in names of files

# What all runs of a study have in common: the task, how long it is learned, and how it is measured.
_SHARED = ("env", "steps", "seed", "devices", "eval_episodes", "eval_every")
_SHARED_ENVIRONMENT = ("env_kwargs", "max_episode_steps", "sticky_actions")
_OF_ALL_TASKS = ("seed", "devices", "eval_every", "extensions")
_NO_TARGET = "left out with several environments: anchors say what is good on each"


def check(study: StudySettings) -> None:
    """Checks everything that can be known without building the environment.

    Raises:
      ConfigError: naming the field, the value it has and the values it may have.
    """
    for label, value, low, high in (
        ("seeds", study.seeds, 1, 10_000),
        ("points", study.points, 1, 100_000),
        ("evaluations", study.evaluations, 0, study.points),
        ("block", study.block, 1, 10_000),
        ("seed", study.run.seed, 0, 2**31 - study.seeds),
        ("devices", study.run.devices, 1, 1),
        ("eval_every", study.run.eval_every, 0, 0),
        ("methods", len(study.methods), 1, 1000),
    ):
        require(low <= value <= high, label, value, f"a whole number between {low} and {high}")
    finite = study.target is None or math.isfinite(study.target)
    require(finite, "target", study.target, "a finite number")
    _check_tasks(study)
    for name, method in study.methods.items():
        plain = name.replace("_", "").replace("-", "").isalnum()
        if not plain or len(name.encode()) > _LONGEST_NAME:
            allowed = f"names of letters, digits, - and _, of at most {_LONGEST_NAME} bytes"
            raise not_allowed("methods", repr(name), allowed)
        if method.kind not in get_args(Kind):
            raise not_allowed(f"methods.{name}.kind", method.kind, " | ".join(get_args(Kind)))
        for task in studies.on_each(study):
            _check_method(task, name)


def _check_tasks(study: StudySettings) -> None:
    """Tasks differ in what they are, and not in what makes their runs comparable."""
    for env, changes in study.tasks.items():
        for field in _OF_ALL_TASKS:
            where, value = f"tasks.{env}.{field}", repr(changes.get(field))
            require(field not in changes, where, value, "left out: all tasks share it (in run)")
    several = bool(study.tasks)
    require(not several or study.target is None, "target", study.target, _NO_TARGET)
    envs = studies.environments(study) if several else []
    for env, (low, high) in study.anchors.items():
        allowed = f"for one of {', '.join(envs)}" if several else "left out with one environment"
        require(env in envs, "anchors", repr(env), allowed)
        right = -math.inf < low < high < math.inf
        require(right, f"anchors.{env}", [low, high], "two finite numbers, the lower one first")


def with_outer(study: StudySettings) -> StudySettings:
    """The study with `outer` among its methods, if another one moves what the outer objective has.

    Without it nobody could tell tuning from knowing the values that tuning was given. Where its
    runs would not be allowed nothing joins.
    """
    moved = {name for method in study.methods for name in studies.moved_by(study, method)}
    if OUTER in study.methods or not moved & set(study.run.outer):
        return study
    methods = study.methods | {OUTER: METHODS[OUTER]}
    joined = replace(study, methods=methods)
    try:
        for task in studies.on_each(joined):
            _check_method(task, OUTER)
    except ConfigError:
        return study
    return joined


def _check_method(study: StudySettings, name: str) -> None:
    _refuse_another_task(name, study.methods[name].changes)
    settings = studies.run_settings(study, name)
    method = study.methods[name]
    grid = (study.starts if method.starts is None else method.starts) or {}
    if method.at_outer:
        validate(studies.started(settings, studies.starts(study, name)[0]))
    elif method.kind == "runs" or method.starts:
        _check_grid(name, settings, grid)
    else:
        validate(settings)
    changes = study.methods[name].changes
    without = unread(settings)
    for part in ("tuning", "agent"):
        for field in changes.get(part, ()):
            why = without.get(f"{part}.{field}")
            where = f"methods.{name}.changes.{part}.{field}"
            require(why is None, where, repr(changes[part][field]), f"left out {why}")
    if study.methods[name].kind != "runs":
        _check_search(study, name, settings)


def _check_grid(name: str, settings: RunSettings, grid: Mapping[str, Sequence[float]]) -> None:
    """All combinations of a grid are allowed, and no more than a study can hold."""
    number = math.prod(map(len, grid.values()))
    allowed = f"at most {_MOST_STARTS:,} together, and one value or more of each"
    require(1 <= number <= _MOST_STARTS, "start", f"{number:,} combinations for {name}", allowed)
    first = {key: values[0] for key, values in grid.items()}
    for key, values in grid.items():
        known = f"one of {', '.join(settings.in_use)}"
        require(key in settings.in_use, "start", f"{key}={values[0]:g} of {name}", known)
    validate(studies.started(settings, first))
    for key, values in grid.items():
        for value in _extremes(values):
            validate(studies.started(settings, first | {key: value}))


def _extremes(values: Sequence[float]) -> set[float]:
    """Values of which one is not allowed if any is: what is allowed is an interval, and 0."""
    unknown = [value for value in values if math.isnan(value)]
    small = [value for value in values if value != 0]
    return {*unknown[:1], min(values), max(values), *([min(small, key=abs)] if small else [])}


def _check_search(study: StudySettings, name: str, settings: RunSettings) -> None:
    """A search has bounds, and what it needs to tell members apart."""
    members, given = (
        studies.search_settings(study, name).members,
        studies.member_starts(study, name),
    )
    if given and study.methods[name].kind == "optuna":
        raise not_allowed(f"methods.{name}.starts", len(given), "none: Optuna chooses each trial")
    allowed = f"{members} starts, one for each member"
    require(len(given) in (0, members), f"methods.{name}.starts", len(given), allowed)
    searched = [key for key, spec in settings.in_use.items() if spec.tuned]
    if not searched:
        raise not_allowed("tuned hyperparameters", f"none for {name}", "one at least to search for")
    known = definitions(settings.extensions)
    for key in searched:
        spec, (least, most) = settings.in_use[key], known[key].domain
        if spec.low <= least or spec.high >= most < math.inf:
            allowed = f"inside {least:g}:{most:g} for {name}"
            raise not_allowed(f"bounds of {key}", f"{spec.low:g}:{spec.high:g}", allowed)


def _refuse_another_task(name: str, changes: Mapping[str, Any]) -> None:
    """Methods that learn another task, or for longer, are not compared."""
    environment = changes.get("environment")
    environment = environment if isinstance(environment, Mapping) else {}
    for prefix, said, shared in (
        ("", changes, _SHARED),
        ("environment.", environment, _SHARED_ENVIRONMENT),
    ):
        for field in shared:
            allowed = "left out: all methods of a study share it (in run)"
            where = f"methods.{name}.changes.{prefix}{field}"
            require(field not in said, where, repr(said.get(field)), allowed)
