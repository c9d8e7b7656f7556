"""Studies that take seconds: tiny networks, short runs."""

from pathlib import Path

from selftuning.configs import cli
from selftuning.configs.study_cli import Study

DEFAULTS = {
    "--env": "CartPole",
    "--methods": "none,bmg",
    "--seeds": "3",
    "--start": "gamma=0.7,0.99",
    "--steps": "6000",
    "--block": "4",
    "--points": "12",
    "--hidden": "8",
    "--rollout-length": "8",
    "--period": "2",
    "--evaluations": "2",
    "--eval-episodes": "3",
}


def arguments(*changes: str, out: Path | None = None) -> list[str]:
    """Arguments of a small study, some of them replaced or added."""
    where = [] if out is None else ["--out", str(out)]
    kept = [x for flag, value in DEFAULTS.items() if flag not in changes for x in (flag, value)]
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
