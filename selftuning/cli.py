"""The command line: `selftuning [flags]` trains, `selftuning COMMAND` does something else.

See `selftuning --help`; in a checkout `python run.py` is the same. Bad input gives one line on
standard error and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from selftuning import streams
from selftuning.configs import cli, expectations, studies
from selftuning.configs.errors import ConfigError, FailedEnvironmentError, LostOutputError
from selftuning.configs.spelling import by_whom


@streams.lasting()
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code."""
    try:
        command = cli.parse(sys.argv[1:] if arguments is None else arguments)
        _warn(command)
        return 0 if command is None else _run(command)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (FailedEnvironmentError, LostOutputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a disk that is full, or a file that somebody has taken away
        what = f"{error.filename}: " if error.filename else ""
        print(f"error: {what}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _warn(command: cli.Command | None) -> None:
    """Says what to expect of sizes that may not have been meant."""
    runs = []
    if isinstance(command, cli.Train):
        runs = [command.settings]
    elif isinstance(command, cli.Study):
        runs = [studies.run_settings(command.settings, name) for name in command.settings.methods]
    for line in dict.fromkeys(line for run in runs for line in expectations.warnings(run)):
        print(f"warning: {line}", file=sys.stderr)


def _run(command: cli.Command) -> int:
    # JAX is imported only now: help and mistakes need not wait for it, and it reads the
    # settings of its cache from the environment when it is imported.
    from selftuning.training import compilation_cache, devices, host_devices, run_directory

    compilation_cache.enable()
    compilation_cache.tell_jax()
    devices.use_float32()
    devices.import_jax()
    if isinstance(command, cli.Train):
        host_devices.enable_for(command.settings.devices, command.settings.agent.overlap)
    goes_on = isinstance(command, cli.Train) and run_directory.holds_run(command.out)
    if isinstance(command, (cli.Train, cli.Convex, cli.Bench, cli.StudyCompare)) and not goes_on:
        run_directory.check(command.out)
    if _computes_here(command):
        devices.start()
    from rich.console import Console

    console = Console()
    if isinstance(command, cli.Evaluate):
        from selftuning.training.evaluate_run import evaluate_run

        evaluate_run(*command, console)
        return 0
    if isinstance(command, cli.Convex):
        from selftuning.benchmarks import convex

        convex.run(*command, console)
        return 0
    if isinstance(command, cli.Study):
        from selftuning.studies import study

        return study.run(command, console)
    if isinstance(command, cli.StudyReport):
        from selftuning.studies import study

        study.report(command.directory, console)
        return 0
    if isinstance(command, cli.Bench):
        from selftuning.benchmarks.speed import bench

        bench.run(*command, console)
        return 0
    if isinstance(command, cli.StudyCompare):
        from selftuning.studies import compare

        compare.run(*command, console)
        return 0
    from selftuning.training import parallel, report, signals, together
    from selftuning.training import run as runs

    def train(settings, out, shown):
        where = Console(quiet=not shown)
        # Of several processes that train one agent, the one that shows it logs it.
        wandb = command.wandb if shown else "off"
        try:
            result = runs.train(
                settings,
                where,
                out=out,
                wandb=wandb,
                checkpoint_every=command.checkpoint_every,
                save_environments=command.save_environments,
                compiling=signals.ending_at_once(),
            )
        except ConfigError as error:
            # What a task does not allow is seen when it is made, and an agent for it.
            raise by_whom(error, command.said) from error
        report.print_run(where, result.directory, result.summary, result.evaluation)
        if result.summary["diverged"]:
            return 1
        return signals.exit_code(result.stopped_by) if result.interrupted else 0

    if command.cluster is None:
        return train(command.settings, command.out, True)
    parallel.join(command.cluster)
    return together.train_together(command.settings, command.out, train)


def _computes_here(command: cli.Command) -> bool:
    """Whether this process uses JAX's devices, and may start them now.

    Processes of a cluster meet before they do. Of a study workers do, on GPUs that are theirs.
    """
    match command:
        case cli.Train():
            return command.cluster is None
        case cli.Study():
            from selftuning.studies.launchers import local

            return command.where.launcher == "local" and not local.gpus()
        case _:
            return isinstance(command, (cli.Evaluate, cli.Convex, cli.Bench))
