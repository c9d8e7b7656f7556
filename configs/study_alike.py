"""What is said of all runs of a study reaches the runs of all methods.

On the way stand the presets of methods, which are applied after it, and starts of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from selftuning.configs import files, presets, studies
from selftuning.configs.errors import require
from selftuning.configs.hyperparameter_flags import HyperparameterFlags, edited
from selftuning.configs.settings import RunSettings
from selftuning.configs.studies import Start, StudySettings
from selftuning.configs.study_methods import StudyMethod

# What methods are, and no flag is to change.
_OWN = ("tuning.method",)
_EDITED = {"tune": ("tuned",), "fix": ("tuned",), "bounds": ("low", "high"), "outer": ("outer",)}


def told(
    study: StudySettings, typed: Collection[str], edits: HyperparameterFlags, written: bool
) -> StudySettings:
    """A study whose flags count more than the presets of its methods, as in a single run.

    What methods change themselves counts more than flags: it is what they are compared for.

    Args:
      study: with what flags say in the settings of its runs.
      typed: fields of the runs that were given, as messages name them.
      edits: what was said of hyperparameters, but for the starts.
      written: whether the study is one that was written, in which flags have become changes.

    Raises:
      ConfigError: if so, and a method with a preset has a change that says otherwise.
    """
    paths = [tuple(field.split(".")) for field in typed if field not in _OWN]
    paths += [
        ("hyperparameters", name, part)
        for kind, name in edited(edits)
        for part in _EDITED.get(kind, ())
    ]

    def again(name: str, method: StudyMethod) -> StudyMethod:
        if method.preset is None:
            return method
        changes: dict[str, Any] = {}
        for task in studies.on_each(study):
            asked = files.plain(task.run)
            by_preset = files.plain(presets.with_method(task.run, method.preset))
            for path in paths:
                value, own = _at(asked, path), _at(method.changes, path)
                where = f"methods.{name}.changes has in the file, or be changed there"
                others = written and own is not None and own != value
                require(not others, ".".join(path), value, f"{own}, which {where}")
                if value != _at(by_preset, path):
                    changes = files.merged(changes, _nested(path, value))
        return dataclasses.replace(method, changes=files.merged(changes, method.changes))

    methods = {name: again(name, method) for name, method in study.methods.items()}
    return dataclasses.replace(study, methods=methods)


def _at(data: Any, path: Sequence[str]) -> Any:
    """What nested plain data have there; None if they have nothing."""
    for name in path:
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value


def shared_start(study: StudySettings) -> Start:
    """What the starts of a study have one value of."""
    return {name: values[0] for name, values in study.starts.items() if len(values) == 1}


def restarted(study: StudySettings, starts: Mapping[str, Sequence[float]]) -> StudySettings:
    """A study with other starts, if there are any.

    A method whose own starts are in part those of the study has the other ones there.
    """
    if not starts:
        return study
    new = {name: tuple(values) for name, values in starts.items()}

    def follow(method: StudyMethod) -> StudyMethod:
        own = method.starts or {}
        rest = {name: x for name, x in own.items() if study.starts.get(name) != x}
        if len(rest) == len(own):
            return method
        if method.kind == "runs":
            return dataclasses.replace(method, starts=rest or None)
        return dataclasses.replace(method, starts=new | rest)

    methods = {name: follow(method) for name, method in study.methods.items()}
    return dataclasses.replace(study, starts=new, methods=methods)


def starting(study: StudySettings) -> StudySettings:
    """A study whose starts hold for methods with starts of their own, searches and outer values.

    Where there is one value of a name, all runs start there, whatever presets and changes of
    methods say. Where there are more, they are combined with the starts that a method has of its
    own. In both cases its own count if they have the name too.
    """
    several = {name: values for name, values in study.starts.items() if len(values) > 1}
    one = shared_start(study)

    def begun(run: RunSettings) -> RunSettings:
        known = run.hyperparameters
        return studies.started(run, {name: x for name, x in one.items() if name in known})

    begins = studies.changed(study, begun)

    def there(name: str, method: StudyMethod) -> StudyMethod:
        own = method.starts or {}
        late: dict[str, dict[str, float]] = {}
        for task in studies.on_each(begins):
            specs = studies.run_settings(task, name).hyperparameters
            late |= {
                key: {"start": x}
                for key, x in one.items()
                if key in specs and key not in own and specs[key].start != x
            }
        changes = files.merged(method.changes, {"hyperparameters": late} if late else {})
        combines = method.starts is not None and method.kind == "runs"
        starts = several | own if combines else method.starts
        return dataclasses.replace(method, changes=changes, starts=starts)

    methods = {name: there(name, method) for name, method in study.methods.items()}
    return dataclasses.replace(begins, methods=methods)
