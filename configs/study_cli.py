"""`run.py study` as data: flags of a study, on top of those of single runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from cyclopts import App, Group, Parameter

from selftuning.configs import files, studies, study_alike, study_checks, study_unread
from selftuning.configs.errors import not_allowed
from selftuning.configs.hyperparameter_flags import HyperparameterFlags, edit, names_in
from selftuning.configs.searches import SearchSettings
from selftuning.configs.settings import AgentSettings, EnvSettings, RunSettings, TuningSettings
from selftuning.configs.settings_flags import fields_of, flags_of, given
from selftuning.configs.spelling import Said, naming
from selftuning.configs.studies import StudySettings
from selftuning.configs.versions import stamped

Launcher = Literal["local", "ray"]


class Where(NamedTuple):
    """What runs a study. Nothing that it measures depends on it.

    Attributes:
      launcher: "local" processes of this machine, or a "ray" cluster.
      address: of the Ray cluster; None for one on this machine, made for the study.
      workers: runs of a block each, at a time; None for as many as there are cores (or GPUs).
    """

    launcher: Launcher = "local"
    address: str | None = None
    workers: int | None = None


class Study(NamedTuple):
    """`run.py study [flags]`: methods beside each other, over starts and seeds."""

    settings: StudySettings
    out: Path | None  # None: a new numbered directory under runs/
    asked: bool  # whether any flag said what to run; if not, the settings of `out` come first
    where: Where = Where()
    only_plan: bool = False
    question: bool = True  # whether a flag said what is to be compared, and on what
    trusted: bool = False  # whether modules that the study in `out` names may be imported


class StudyReport(NamedTuple):
    """`run.py study report DIR`: draw what a study measured."""

    directory: Path


class StudyCompare(NamedTuple):
    """`run.py study compare DIR DIR`: two studies beside each other."""

    one: Path
    two: Path
    out: Path | None  # None: a new numbered directory under runs/


app = App(name="study", help=studies.help_text(), help_format="plaintext", version_flags=())
_STUDY = Group("Study", sort_key=0)
_WHERE = Group("Where", sort_key=1)
_RunFlags: Any = flags_of(RunSettings, Group("Runs", sort_key=2), ("devices",))
_EnvFlags: Any = flags_of(EnvSettings, Group("Environment", sort_key=3))
_TuningFlags: Any = flags_of(TuningSettings, Group("Tuning", sort_key=4), ("method",))
_AgentFlags: Any = flags_of(AgentSettings, Group("Agent", sort_key=5))
_SearchFlags: Any = flags_of(SearchSettings, Group("Search", sort_key=3), ("fitness", "interval"))
_FLAT = Parameter(name="*")


def _flag(text: str, **options: Any) -> Parameter:
    return Parameter(help=text, group=_STUDY, **options)


_PRESET = _flag("a study from the list above, to start from.")
_CONFIG = _flag("study.yaml to start from; flags change it.")
_METHODS = _flag("names from the list above, comma separated. [default: none,outer,mg,bmg]")
_SEEDS = _flag("runs of each method from each start. [default: 10]")
_POINTS = _flag("at which a run is measured, at most. [default: 60]")
_EVALUATIONS = _flag("of the greedy policy in a run, the last one at its end. [default: 1]")
_BLOCK = _flag("runs of one start side by side in one program. [default: 16]")
_MIXED = _flag("let runs of several starts share a block, which fills an accelerator.", negative=())
_TARGET = _flag("score that is good enough. [default: the environment's threshold]")
_OUT = _flag("directory, new, empty, or one of this study to go on with. [default: runs/study-N]")
_ONLY_PLAN = _flag("show the plan with its estimated time, and run nothing.", negative=())
_TRUST = _flag("import the modules that the study in --out names.", negative=())
_LAUNCHER = Parameter(help=f"{' | '.join(get_args(Launcher))}.", group=_WHERE)
_ADDRESS = Parameter(help="of a Ray cluster. [default: one on this machine]", group=_WHERE)
_WORKERS = Parameter(help="blocks at a time. [default: one a core, or a GPU]", group=_WHERE)
_DIRECTORY = Parameter(help="directory of a study.")
_COMPARE_OUT = Parameter(help="directory, new or empty. [default: runs/compare-N]")


@app.default
def _study(
    *,
    preset: Annotated[str | None, _PRESET] = None,
    config: Annotated[Path | None, _CONFIG] = None,
    methods: Annotated[str | None, _METHODS] = None,
    seeds: Annotated[int | None, _SEEDS] = None,
    points: Annotated[int | None, _POINTS] = None,
    evaluations: Annotated[int | None, _EVALUATIONS] = None,
    block: Annotated[int | None, _BLOCK] = None,
    mixed_blocks: Annotated[bool | None, _MIXED] = None,
    target: Annotated[float | None, _TARGET] = None,
    out: Annotated[Path | None, _OUT] = None,
    plan: Annotated[bool, _ONLY_PLAN] = False,
    trust: Annotated[bool, _TRUST] = False,
    launcher: Annotated[Launcher, _LAUNCHER] = "local",
    address: Annotated[str | None, _ADDRESS] = None,
    workers: Annotated[int | None, _WORKERS] = None,
    run: Annotated[_RunFlags, _FLAT] = _RunFlags(),  # noqa: B008 (frozen)
    environment: Annotated[_EnvFlags, _FLAT] = _EnvFlags(),  # noqa: B008 (frozen)
    hyperparameters: Annotated[HyperparameterFlags, _FLAT] = HyperparameterFlags(),  # noqa: B008 (frozen)
    search: Annotated[_SearchFlags, _FLAT] = _SearchFlags(),  # noqa: B008 (frozen)
    tuning: Annotated[_TuningFlags, _FLAT] = _TuningFlags(),  # noqa: B008 (frozen)
    agent: Annotated[_AgentFlags, _FLAT] = _AgentFlags(),  # noqa: B008 (frozen)
) -> Study:
    changes = given(run, RunSettings)
    own: dict[str, Any] = {
        "seeds": seeds,
        "points": points,
        "evaluations": evaluations,
        "block": block,
        "mixed_blocks": mixed_blocks,
    }
    own |= {"target": target, "methods": methods}
    own = {name: value for name, value in own.items() if value is not None}
    parts = {
        "environment": given(environment, EnvSettings),
        "tuning": given(tuning, TuningSettings),
    }
    parts["agent"] = given(agent, AgentSettings)
    searching = given(search, SearchSettings)
    said = (preset, config, changes, own, *parts.values(), searching)
    asked = any(said) or hyperparameters != HyperparameterFlags()
    named = preset, config, methods, "env" in changes, hyperparameters != HyperparameterFlags()
    question = any(named)

    layers = [studies.preset(preset)] if preset else []
    layers += [files.read(config)] if config else []
    layers += [own | {"run": changes}]
    typed = fields_of(changes, parts)
    names = {*own, *typed, *searching, *names_in(hyperparameters)}
    with naming(Said(config, typed=names)):
        where = "study" if config is None else str(config)
        settings = studies.layered(layers, where)
    edits = dataclasses.replace(hyperparameters, start=())  # which is a grid here

    def flagged(run: RunSettings) -> RunSettings:
        return dataclasses.replace(
            run,
            hyperparameters=edit(run.hyperparameters, edits),
            **{k: dataclasses.replace(getattr(run, k), **x) for k, x in parts.items()},
        )

    settings = dataclasses.replace(
        studies.changed(settings, flagged),
        search=dataclasses.replace(settings.search, **searching),
    )
    written = any(map(stamped, layers))
    with naming(Said(config, typed=names)):
        settings = study_alike.told(settings, typed, edits, written)
    settings = study_alike.restarted(settings, studies.starts_of(hyperparameters.start))
    with naming(Said(config, typed=names)):
        settings = study_alike.starting(settings)
        study_checks.check(settings)
        study_unread.refuse_starts(settings)
    study_unread.refuse(settings, typed, edits, searching)
    settings = settings if studies.without_outer(layers) else study_checks.with_outer(settings)
    return Study(settings, out, asked, _where(launcher, address, workers), plan, question, trust)


def _where(launcher: Launcher, address: str | None, workers: int | None) -> Where:
    if address is not None and launcher != "ray":
        raise not_allowed("address", address, "left out without ray")
    if workers is not None and not 1 <= workers <= 10_000:
        raise not_allowed("workers", workers, "a whole number between 1 and 10000")
    return Where(launcher, address, workers)


@app.command(name="report")
def _report(directory: Annotated[Path, _DIRECTORY], /) -> StudyReport:
    """Write table, summary and report of a study again, finished or not. Nothing is run."""
    return StudyReport(directory)


@app.command(name="compare")
def _compare(
    one: Annotated[Path, _DIRECTORY],
    two: Annotated[Path, _DIRECTORY],
    /,
    *,
    out: Annotated[Path | None, _COMPARE_OUT] = None,
) -> StudyCompare:
    """Compare two studies run by run, such as those of two versions of the code."""
    return StudyCompare(one, two, out)
