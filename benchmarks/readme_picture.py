"""The picture at the top of README.md, and what stands under it.

python -m selftuning.benchmarks.readme_picture          # draws it, and writes what it shows
python -m selftuning.benchmarks.readme_picture --check  # repeats the runs: do they still say that?

The runs are those of the two commands in README.md that begin badly: one adapts, the other does
not. Their numbers differ a little from processor to processor.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from selftuning.benchmarks import record
from selftuning.configs import cli
from selftuning.training import run as runs

NAME = "readme"
_README = record.DOCS.parent / "README.md"
_ENDS = ("# adapts them", "# keeps them")  # of the lines in README.md
_PICTURES = {
    "hyperparameters.png": "cartpole-hyperparameters.png",
    "learning.png": "cartpole-learning.png",
}
# What may differ between processors, whose rounding makes other runs of the same seed: returns, and
# by what factor steps until it is solved.
_RETURN, _FACTOR = 25.0, 2.0


def main() -> None:
    """Draws, or with --check repeats; the exit code is 1 where that says something else."""
    check = sys.argv[1:] == ["--check"]
    text = _README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        found = {
            end: _trained(command, Path(folder) / str(number))
            for number, (end, command) in enumerate(commands(text).items())
        }
        result = {"adapts": found[_ENDS[0]], "keeps": found[_ENDS[1]]}
        if check:
            known = json.loads((record.RESULTS / f"{NAME}.json").read_text(encoding="utf-8"))
            sys.exit("\n".join(differences(known, result)) or 0)
        for drawn, kept in _PICTURES.items():
            shutil.copyfile(Path(folder) / "0" / "plots" / drawn, record.DOCS / "images" / kept)
    record.write(NAME, result)
    _README.write_text(record.with_table(text, NAME, paragraph(result)), encoding="utf-8")


def commands(text: str) -> dict[str, str]:
    """The command lines of README.md, by the comments at their ends."""
    lines = [line for line in text.splitlines() if line.startswith("python run.py ")]
    return {end: next(x for x in lines if x.endswith(end)).removesuffix(end) for end in _ENDS}


def paragraph(result: dict[str, Any]) -> str:
    """What stands under the picture."""
    adapts, keeps = result["adapts"], result["keeps"]
    gamma, entropy = (adapts["moved"][name] for name in ("gamma", "entropy"))
    steps = f"{round(adapts['solved_at_env_steps'], -3):,}"
    window = f"{round(adapts['solved_window_env_steps'], -3):,}"
    return "\n".join(
        [
            f"This run began with a discount of {gamma['start']:g} and an entropy weight of "
            f"{entropy['start']:g}, both far off. The mean return of",
            f"100 episodes reaches 475 after {steps} environment steps ({window} of which these "
            "episodes took), and is",
            f"{adapts['last_100_return']:.0f} of 500 at the end. Above each path stands whether "
            "its meta-gradients were a signal or noise, in standard deviations (sd)",
            f"of noise. Without tuning, the same agent is at {keeps['last_100_return']:.0f} after "
            f"{round(keeps['env_steps'], -3):,} steps (one seed each).",
        ]
    )


def differences(known: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What runs say now and did not say before, in lines."""
    lines = []
    for name in ("adapts", "keeps"):
        before, now = known[name], found[name]
        if abs(now["last_100_return"] - before["last_100_return"]) > _RETURN:
            lines.append(f"{name}: return {now['last_100_return']}, {before['last_100_return']}")
        was, at = before["solved_at_env_steps"], now["solved_at_env_steps"]
        if (was is None) != (at is None) or (was and not 1 / _FACTOR < at / was < _FACTOR):
            lines.append(f"{name}: solved at {at}, {was}")
    return lines


def _trained(command: str, out: Path) -> dict[str, Any]:
    """The summary of the run of a command line, in a directory."""
    parsed = cli.parse(shlex.split(command)[2:])
    assert isinstance(parsed, cli.Train)
    summary = runs.train(parsed.settings, Console(quiet=True), out=out).summary
    kept = ("env_steps", "last_100_return", "solved_at_env_steps", "solved_window_env_steps")
    tuned = {name: x for name, x in summary["hyperparameters"].items() if x["start"] != x["end"]}
    return {name: summary[name] for name in kept} | {"moved": tuned}


if __name__ == "__main__":
    main()
