"""Studies that take seconds: tiny networks, short runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selftuning.configs import cli
from selftuning.configs.study_cli import Study
from selftuning.studies.launchers.jobs import Done, Launcher, failed

DEFAULTS = {
    "--env": "CartPole",
    "--methods": "none,bmg,-outer",
    "--seeds": "3",
    "--start": "gamma=0.7,0.99",
    "--steps": "6000",
    "--block": "4",
    "--points": "12",
    "--hidden": "8",
    "--rollout-length": "8",
    "--num-envs": "4",
    "--period": "2",
    "--evaluations": "2",
    "--eval-episodes": "3",
}


# One update on each rollout would hide what several do to counts; more take time.
PPO = {"--epochs": "1", "--minibatches": "2"}


def arguments(*changes: str, out: Path | None = None) -> list[str]:
    """Arguments of a small study, some of them replaced or added."""
    where = [] if out is None else ["--out", str(out)]
    ppo = {} if "--algorithm" in changes or "--preset" in changes else PPO
    if "--evaluations 0" in " ".join(changes):
        ppo = ppo | {"--eval-episodes": None}  # which nothing would read
    kept = [
        x for pair in (DEFAULTS | ppo).items() if pair[0] not in changes and pair[1] for x in pair
    ]
    return ["study", *kept, *changes, *where]


def small(*changes: str, out: Path | None = None) -> Study:
    """The command of a small study, some of whose arguments are replaced or added."""
    command = cli.parse(arguments(*changes, out=out))
    assert isinstance(command, Study)
    return command


def again(out: Path, *more: str) -> Study:
    """The command that goes on with a study."""
    command = cli.parse(["study", "--out", str(out), *more])
    assert isinstance(command, Study)
    return command


@contextmanager
def here(_where: object = None) -> Iterator[Launcher]:
    """A launcher whose only worker is this process."""

    def run(function, jobs):
        for job in jobs:
            try:
                yield Done(job.unit.name, function(job, lambda part: None))
            except Exception as error:
                yield failed(job.unit.name, error)

    yield Launcher(1, run)
