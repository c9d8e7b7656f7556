"""What `run.py study` can be asked for: tasks, methods, starts and seeds, as plain data.

A study is methods x starts x seeds of one environment or several. Settings come in layers, each of
which changes the one before: the preset of the environment, the preset of the study, a file, flags.
All but the flags have the same form, that of `study.yaml`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from selftuning.configs import files, presets, study_tasks, versions, yaml_text
from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.configs.extensions import extended
from selftuning.configs.searches import SearchSettings
from selftuning.configs.settings import RunSettings
from selftuning.configs.structuring import structure
from selftuning.configs.study_methods import ABOUT, METHODS, WITHOUT_OUTER, StudyMethod

NAME = "study.yaml"  # of the settings in a study's directory
Start = dict[str, float]  # of a run: values by name that differ from those of the settings
DEFAULT_METHODS = "none,outer,mg,bmg"


@dataclass(frozen=True)
class StudySettings:
    """Settings of a study.

    Attributes:
      run: what all runs have in common; its seed is that of the first run.
      methods: by name, in the order in which they are shown.
      starts: values of hyperparameters by name, of which every combination is a start.
      seeds: runs of each method from each start, of seeds `run.seed`, `run.seed` + 1, ...
      points: at which a run is measured, at most; they are equally far apart.
      evaluations: of the greedy policy in a run, `run.eval_episodes` episodes each, at equally
        distant points, the last one included. Their steps are not learned from, nor counted.
      block: runs side by side in one program, at most. Rounding depends on it, so that it has one
        value wherever a study runs.
      mixed_blocks: whether runs from several starts stand side by side, as they did before version
        0.3. That fills an accelerator, and lets a run depend, by rounding, on the other starts.
      search: of the methods that search. Their fitness is what the study measures, and their
        interval is at most a tenth of a member's life.
      target: the score that is good enough; None for the environment's own threshold, or where it
        has none the best score of any run. Several environments have `anchors` instead.
      tasks: further environments, each with what its runs change in `run`. What they all share is
        seed and extensions.
      anchors: of several environments by name: the scores that count as 0 and 1 where they are
        taken together. Others have what an untrained agent gets as 0, and as 1 their own
        threshold, or where they have none the best score of any run.
    """

    run: RunSettings = field(default_factory=lambda: presets.for_env(RunSettings.env))
    methods: dict[str, StudyMethod] = field(
        default_factory=lambda: _methods(DEFAULT_METHODS, METHODS)
    )
    starts: dict[str, tuple[float, ...]] = field(default_factory=dict)
    seeds: int = 10
    points: int = 60
    evaluations: int = 1
    block: int = 16
    mixed_blocks: bool = False
    search: SearchSettings = field(default_factory=lambda: SearchSettings(budget="run"))
    target: float | None = None
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    anchors: dict[str, tuple[float, float]] = field(default_factory=dict)


def preset_names() -> list[str]:
    """The studies that come with the project."""
    return sorted(path.name.removesuffix(".yaml") for path in _presets())


def preset(name: str) -> dict[str, Any]:
    """A study that comes with the project, as the layer of settings that it is.

    Raises:
      ConfigError: if there is none of that name.
    """
    for path in _presets():
        if path.name == f"{name}.yaml":
            return yaml_text.read(path.read_text(encoding="utf-8"), name)
    if name in presets.METHODS:
        raise ConfigError(
            f"preset: {name!r} is one of single runs, and no study; a study takes it with "
            f"--config FILE, where FILE has the line `run: {{preset: {name}}}`"
        )
    raise not_allowed("preset", repr(name), " | ".join(preset_names()))


def about_preset(name: str) -> str:
    """What a preset says of itself in its first line."""
    (path,) = (path for path in _presets() if path.name == f"{name}.yaml")
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def _presets():
    folder = resources.files("selftuning.configs") / "study_presets"
    return [path for path in folder.iterdir() if path.name.endswith(".yaml")]


def without_outer(layers: Sequence[Mapping[str, Any]]) -> bool:
    """Whether `outer` may not join: methods leave it out, or are those of a study that was written.

    The last layer that names methods says so.
    """
    last = next((x for x in reversed(layers) if x.get("methods") is not None), {"methods": ()})
    named = last["methods"]
    named = methods_of(named) if isinstance(named, str) else named
    return WITHOUT_OUTER in named or versions.stamped(last)


def moved_by(study: StudySettings, name: str) -> list[str]:
    """Hyperparameters that the runs of a method tune, in their order."""
    settings = run_settings(study, name)
    tuning = study.methods[name].kind == "runs" and settings.tuning.method != "none"
    return [key for key, spec in settings.in_use.items() if tuning and spec.tuned]


def layered(layers: Sequence[Mapping[str, Any]], where: str = "study") -> StudySettings:
    """Settings made of layers, the later ones changing those before.

    Args:
      layers: mappings of the form of `study.yaml`, any part of which may be left out.
      where: they come from, for messages.

    Raises:
      ConfigError: naming the field, the value it has and the values it may have.
    """
    with versions.explained(layers, where) as unstamped:
        return _layered(unstamped, where)


def _layered(layers: Sequence[Mapping[str, Any]], where: str) -> StudySettings:
    data: dict[str, Any] = {}
    known = dict(METHODS)
    run, tasks = study_tasks.layered(layers)
    for layer in layers:
        if layer.get("methods") is not None:
            data["methods"] = _methods(layer["methods"], known)
            known |= data["methods"]
        own = ("methods", "run", "tasks")
        rest = {k: x for k, x in layer.items() if k not in own and x is not None}
        whole = {key: rest[key] for key in ("starts", "anchors") if key in rest}
        data = files.merged(data, rest) | whole
    data |= {"run": run, "tasks": tasks}
    if "methods" in data:
        data["methods"] = {name: files.plain(method) for name, method in data["methods"].items()}
    return structure(data, StudySettings, where)


def environments(study: StudySettings) -> list[str]:
    """The environments of a study, in order, as it names them."""
    return [study.run.env, *study.tasks]


def on(study: StudySettings, env: str) -> StudySettings:
    """The part of a study that is on one of its environments, as a study of its own.

    Raises:
      ConfigError: if what the task changes is not there, or is mistyped.
    """
    alone = dataclasses.replace(study, tasks={}, anchors={})
    if env == study.run.env:
        return alone
    data = study_tasks.changed(study.run, env, study.tasks[env])
    return dataclasses.replace(alone, run=structure(data, RunSettings, f"tasks.{env}"))


def on_each(study: StudySettings) -> list[StudySettings]:
    """The parts of a study, one for each environment; see `on`."""
    return [on(study, env) for env in environments(study)]


def changed(study: StudySettings, change: Callable[[RunSettings], RunSettings]) -> StudySettings:
    """A study with a change in the runs on all of its environments."""
    first, *others = (change(task.run) for task in on_each(study))
    plain = files.plain(first)
    tasks = {run.env: study_tasks.changes(plain, files.plain(run)) for run in others}
    return dataclasses.replace(study, run=first, tasks=tasks)


def methods_of(names: str) -> list[str]:
    """Names that commas separate."""
    return [name for name in names.replace(" ", "").split(",") if name]


def _methods(data: Any, known: Mapping[str, StudyMethod]) -> dict[str, StudyMethod]:
    """Methods from names of known ones, or from a mapping of names to what they change."""
    if isinstance(data, str):
        data = methods_of(data)
    if isinstance(data, list):
        names = [str(name) for name in data]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise ConfigError(f"methods: {name} is there twice")
        data = dict.fromkeys(names)
    if not isinstance(data, Mapping):
        raise not_allowed("methods", repr(data), f"names of {', '.join(known)}")
    return {
        str(name): _method(str(name), entry, known)
        for name, entry in data.items()
        if name != WITHOUT_OUTER
    }


def _method(name: str, entry: Any, known: Mapping[str, StudyMethod]) -> StudyMethod:
    """A known method, or one that an entry of a file describes.

    An entry may name a known method with `of`, and say what is different. Under the name of a known
    one it says what is different there, unless it says everything, as a written study does.
    """
    if not entry:
        return _known(name, known)
    if not isinstance(entry, Mapping):
        raise not_allowed(f"methods.{name}", repr(entry), "a mapping")
    fields = {key: value for key, value in entry.items() if key != "of"}
    given = structure(fields, StudyMethod, f"study, methods.{name}")
    whole = {each.name for each in dataclasses.fields(StudyMethod)} <= fields.keys()
    of = entry.get("of", name if name in known and not whole else None)
    if of is None:
        return given if given.label else dataclasses.replace(given, label=name)
    base = _known(str(of), known)
    label = given.label or (base.label if of == name else name)
    replaced = {key: getattr(given, key) for key in fields} | {"label": label}
    return dataclasses.replace(
        base, **replaced | {"changes": files.merged(base.changes, given.changes)}
    )


def _known(name: str, known: Mapping[str, StudyMethod]) -> StudyMethod:
    if name not in known:
        raise not_allowed("methods", repr(name), f"some of {', '.join(known)}")
    return known[name]


def starts_of(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """A grid from flags `NAME=VALUE,VALUE,...`, a flag for each name.

    Raises:
      ConfigError: if one is malformed, or a name is there twice.
    """
    grid: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise ConfigError(f"--start: {text!r} is not of the form NAME=VALUE,VALUE,...")
        if name in grid:
            raise ConfigError(f"--start {name}: said twice; separate its values by commas")
        try:
            grid[name] = tuple(float(value) for value in values.split(","))
        except ValueError as error:
            raise ConfigError(f"--start: {text!r}: not all of its values are numbers") from error
    return grid


def run_settings(study: StudySettings, name: str) -> RunSettings:
    """Settings of the runs of a method.

    Raises:
      ConfigError: if what the method changes is not there, or is mistyped.
    """
    method, settings = study.methods[name], study.run
    if method.preset is not None:
        settings = presets.with_method(settings, method.preset)
    settings = extended(settings, method.changes.get("extensions", settings.extensions))
    data = files.merged(files.plain(settings), method.changes)
    return structure(data, RunSettings, f"methods.{name}.changes")


def starts(study: StudySettings, name: str) -> list[Start]:
    """The starts of a method, by the values that its settings do not have already.

    A search has one that says nothing: it chooses.
    """
    method = study.methods[name]
    if method.kind != "runs":
        return [{}]
    if method.at_outer:
        return [at_outer(study, name)]
    grid = study.starts if method.starts is None else method.starts
    return combinations(grid)


def at_outer(study: StudySettings, name: str) -> Start:
    """The values of the outer objective, as the start of a method that keeps them.

    What no other method tunes or starts elsewhere stays as it is in all of them, whatever the outer
    objective has: what is compared differs in tuned hyperparameters alone.
    """
    settings, moved = run_settings(study, name), _moved(study)
    alone = all(method.at_outer for method in study.methods.values())
    return {
        key: x
        for key, x in settings.outer.items()
        if key in settings.in_use
        and (alone or key in moved or settings.hyperparameters[key].start == x)
    }


def _moved(study: StudySettings) -> set[str]:
    """Hyperparameters that some method may tune or draw, or starts elsewhere than the others."""
    moved = {name for name, values in study.starts.items() if len(values) > 1}
    for name, method in study.methods.items():
        specs = run_settings(study, name).hyperparameters.items()
        moved |= {key for key, spec in specs if spec.tuned} | set(method.starts or {})
    return moved


def member_starts(study: StudySettings, name: str) -> list[Start]:
    """The starts of the members of a search [P]; none where they are random."""
    method = study.methods[name]
    return combinations(method.starts) if method.kind != "runs" and method.starts else []


def search_settings(study: StudySettings, name: str) -> SearchSettings:
    """How a method searches.

    Raises:
      ConfigError: if what the method changes is not there, or is not allowed.
    """
    data = files.merged(files.plain(study.search), study.methods[name].search)
    return structure(data, SearchSettings, f"methods.{name}.search")


def combinations(grid: Mapping[str, Sequence[float]]) -> list[Start]:
    """All starts of a grid; one that says nothing of an empty one."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def started(settings: RunSettings, values: Start) -> RunSettings:
    """Settings whose hyperparameters start at other values."""
    names = settings.hyperparameters
    changed = {key: dataclasses.replace(names[key], start=x) for key, x in values.items()}
    return dataclasses.replace(settings, hyperparameters=names | changed)


def differences(one: StudySettings, two: StudySettings) -> Iterator[tuple[str, Any, Any]]:
    """Fields in which two studies differ, by dotted names, with both values."""
    plain = (files.plain(dataclasses.replace(x, run=x.run.settled)) for x in (one, two))
    yield from _differences("", *plain)


def _differences(prefix: str, one: Any, two: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(two, dict):
        for key in [*one, *(key for key in two if key not in one)]:
            yield from _differences(
                f"{prefix}.{key}" if prefix else key, one.get(key), two.get(key)
            )
    elif one != two:
        yield prefix, one, two


def help_text() -> str:
    """What the command does, its methods and presets."""
    methods = "".join(f"\n  {name}: {ABOUT[name]}" for name in METHODS)
    known = "".join(f"\n  {name}: {about_preset(name)}" for name in preset_names())
    return (
        "Compare methods over starts and seeds: one command from question to report.\n\n"
        "A study first plans all runs and says how long they will take. The same command with "
        "--out DIR continues a study that was stopped; with no other flags it takes the settings "
        "of DIR. Flags of single runs apply to all runs.\n\n"
        f"Methods:{methods}\n\nPresets:{known}"
    )
