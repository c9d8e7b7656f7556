"""`run.py study`: plan, calibrate, run what has not run yet, and report.

The runs themselves are made by workers (`studies.launchers`); here is what has them made, and what
puts their results where they belong.
"""

from __future__ import annotations

import shlex
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from selftuning.configs.errors import ConfigError
from selftuning.configs.study_cli import Study, Where
from selftuning.envs import registry
from selftuning.studies import execute, plan, study_files, study_report, summary, unit_files
from selftuning.studies.execute import Calibration
from selftuning.studies.launchers import open_launcher
from selftuning.studies.launchers.jobs import Done, Failed, Job, Launcher, Told, WorkersLostError
from selftuning.studies.live import Live
from selftuning.studies.outcome import outcome_of
from selftuning.studies.plan import Unit
from selftuning.studies.study_progress import StudyProgress
from selftuning.training import locks, output, provenance
from selftuning.training.progress import duration, waiting


class Estimated(NamedTuple):
    """What the parts of a study will take.

    Attributes:
      seconds: of units by name, once they are compiled.
      compiling: seconds before that, of one unit.
    """

    seconds: Mapping[str, float]
    compiling: float


def run(study: Study, console: Console) -> int:
    """Runs what has not run yet, writes the report and returns the exit code.

    Raises:
      ConfigError: if the directory cannot be used or the settings are not allowed.
    """
    out = study.out
    begun = out is not None and study_files.is_study(out)
    if not (study.question or begun or study.only_plan):
        raise ConfigError(
            "study: there is no question; say what to compare with --preset (cartpole-quick takes "
            "a minute or two), --config, --env, --methods or --start, or see the default with "
            "--plan"
        )
    settings = study_files.agreed(study.settings, out, study.asked, study.trusted)
    units = plan.units_of(settings)
    _check_environment(units)
    missing = units
    if out is not None and begun:
        done = unit_files.read(out, units, study_files.digest_in(out)).results
        missing = [unit for unit in units if unit.name not in done]
    if missing:
        _print_plan(console, units, len(units) - len(missing))
    if study.only_plan:
        if missing:
            with open_launcher(study.where) as launcher:
                _calibrated(launcher, missing, console)
        return 0
    directory = study_files.place(out)
    with locks.locked(directory), output.written(directory):
        study_files.create(settings, directory, origin())
        # Another process may have finished some of them since.
        missing = _unfinished(directory, units, console)
        failures = _run_missing(study.where, directory, missing, console)
        if any(unit_files.is_there(directory, unit) for unit in units):
            report(directory, console)
        for failure in failures:
            where = study_files.error_file(directory, failure.unit)
            seen = f" (see {where})" if failure.traceback else ""
            say(console, f"{failure.unit} failed: {failure.error}{seen}")
    return 1 if failures else 0


def _unfinished(directory: Path, units: Sequence[Unit], console: Console) -> list[Unit]:
    """Units that have not run, and those whose results cannot be believed: they run again."""
    found = unit_files.read(directory, units, study_files.digest_in(directory))
    for unit in units:
        if (error := found.damaged.get(unit.name)) is not None:
            say(console, f"{error}; it runs again")
            unit_files.set_aside(directory, unit)
    return [unit for unit in units if unit.name not in found.results]


def _run_missing(
    where: Where,
    directory: Path,
    units: Sequence[Unit],
    console: Console,
) -> list[Failed]:
    """Calibrates and runs units; what failed is returned, and can be tried again."""
    if not units:
        return []
    say(console, f"to go on after a stop, repeat the command with --out {directory}")
    say(console, f"to watch it, open {directory / study_files.REPORT}")
    try:
        with open_launcher(where) as launcher:
            estimated = _calibrated(launcher, units, console)
            failures = _run_units(launcher, directory, estimated, units, console)
    except WorkersLostError as error:
        return [Failed("a worker", f"{error}; try fewer --workers or a smaller --block", "")]
    if not failures:
        study_files.tidy(directory)
    return failures


def report(directory: Path, console: Console) -> None:
    """Writes and prints what a study has found so far; nothing that it names is imported."""
    with study_files.unimported(directory):
        outcome = outcome_of(study_files.read(directory))
        found = summary.summarise(outcome)
        study_report.write(directory, outcome, found)
    study_report.print_summary(console, directory, outcome, found)


def origin() -> dict[str, Any]:
    """The command of this process, when it began, and the version of this code."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "begun": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "code": provenance.code_version(),
    }


def say(console: Console, text: str) -> None:
    """Prints a line that is never broken, so that a path can be copied."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _check_environment(units: Sequence[Unit]) -> None:
    """Makes each environment, so that what is wrong with it is said before anything starts."""
    for settings in {unit.settings.env: unit.settings for unit in reversed(units)}.values():
        task = registry.make(settings.env, 1, settings.backend, settings.environment)
        getattr(task, "close", lambda: None)()


def _print_plan(console: Console, units: Sequence[Unit], finished: int) -> None:
    """Prints how much there is to run."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", no_wrap=True)
    for column in ("runs", "programs", "env steps", "at most on disk"):
        table.add_column(column, justify="right", no_wrap=True)
    sizes = plan.sizes(units)
    total = plan.Size(*(sum(column) for column in zip(*sizes.values(), strict=True)))
    for name, size in [*sizes.items(), ("together", total)]:
        disk = f"{size.bytes / 1e6:,.1f} MB"
        table.add_row(name, str(size.rows), str(size.units), f"{size.env_steps:,}", disk)
    console.print(table, highlight=False)
    if finished:
        say(console, f"{finished} of {_counted(len(units), 'program')} done already")


def _calibrated(launcher: Launcher, units: Sequence[Unit], console: Console) -> Estimated:
    """What units will take: every program is compiled and run for a moment."""
    shapes = {unit.program: unit for unit in units}
    found: dict[str, Calibration] = {}
    programs = {unit.name: unit.program for unit in shapes.values()}
    with waiting(console, f"compiling and timing {_counted(len(shapes), 'program')}"):
        for event in launcher.run(execute.calibrate_job, [Job(unit) for unit in shapes.values()]):
            if isinstance(event, Failed):
                raise ConfigError(f"{event.unit} cannot be run: {event.error}")
            if isinstance(event, Done):
                found[programs[event.unit]] = event.result
    compiling = statistics.median(one.compile_seconds for one in found.values())
    seconds = {unit.name: found[unit.program].seconds for unit in units}
    busy = max(max(seconds.values()), sum(seconds.values()) / launcher.workers)
    say(console, f"about {duration(busy)} on {_counted(launcher.workers, 'worker')}")
    return Estimated(seconds, compiling)


def _run_units(
    launcher: Launcher,
    directory: Path,
    estimated: Estimated,
    units: Sequence[Unit],
    console: Console,
) -> list[Failed]:
    """Runs units, the longest first, and writes each result when it is there."""
    by_name = {unit.name: unit for unit in units}
    order = sorted(units, key=lambda unit: -estimated.seconds[unit.name])
    jobs = [Job(unit, study_files.checkpoint(directory, unit).absolute()) for unit in order]
    work = {unit.name: estimated.seconds[unit.name] for unit in order}
    runs = {unit.name: len(unit.runs) for unit in units}
    failures = []
    programs = {unit.name: unit.program for unit in units}
    known = work, runs, launcher.workers, estimated.compiling, programs
    with (
        StudyProgress(console, *known) as progress,
        Live(directory, console) as live,
    ):
        for event in launcher.run(execute.run_job, jobs):
            output.check(directory)  # or hours of work would find out in the end
            if isinstance(event, Told):
                progress.tell(event.unit, event.part)
                live.tell(event.unit, event.part)
            elif isinstance(event, Done):
                study_files.write_unit(directory, by_name[event.unit], event.result)
                progress.tell(event.unit, 1.0)
                live.tell(event.unit, 1.0)
            else:
                study_files.write_error(directory, event.unit, event.traceback)
                failures.append(event)
    return failures


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
