"""Command line: `run.py [flags]` trains, `run.py COMMAND` evaluates, compares or measures speed.

See `python run.py --help`. Bad input gives one line on standard error and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from configs import cli
from configs.errors import ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code."""
    try:
        command = cli.parse(sys.argv[1:] if arguments is None else arguments)
        return 0 if command is None else _run(command)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(command: cli.Command) -> int:
    # JAX is imported only now: help and mistakes need not wait for it, and it reads the
    # settings of its cache from the environment when it is imported.
    from training import compilation_cache, host_devices, run_directory

    compilation_cache.enable()
    compilation_cache.tell_jax()
    if isinstance(command, cli.Train) and command.settings.devices > 1:
        host_devices.enable(command.settings.devices)
    if isinstance(command, (cli.Train, cli.Convex, cli.Bench, cli.StudyCompare)):
        run_directory.check(command.out)
    from rich.console import Console

    console = Console()
    if isinstance(command, cli.Evaluate):
        from training.evaluate_run import evaluate_run

        evaluate_run(*command, console)
        return 0
    if isinstance(command, cli.Convex):
        from studies import convex

        convex.run(*command, console)
        return 0
    if isinstance(command, cli.Study):
        from studies import study

        return study.run(command, console)
    if isinstance(command, cli.StudyReport):
        from studies import study

        study.report(command.directory, console)
        return 0
    if isinstance(command, cli.Bench):
        from studies import bench

        bench.run(*command, console)
        return 0
    if isinstance(command, cli.StudyCompare):
        from studies import compare

        compare.run(*command, console)
        return 0
    from training import loop, parallel, report

    def train(settings, out, shown):
        where = Console(quiet=not shown)
        # Of several processes that train one agent, the one that shows it logs it.
        result = loop.train(settings, out, where, command.wandb if shown else "off")
        report.print_run(where, result.directory, result.summary, result.evaluation)
        if result.summary["diverged"]:
            return 1
        return 0 if result.evaluation else 130

    if command.cluster is None:
        return train(command.settings, command.out, True)
    parallel.join(command.cluster)
    return parallel.train_together(command.settings, command.out, train)


if __name__ == "__main__":
    sys.exit(main())
