"""Standard streams that are closed, full, or know few letters and columns: work goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selftuning import streams

RUN_PY = Path(__file__).parents[1] / "run.py"
FULL = Path("/dev/full")
TINY = "--env CartPole --meta none --steps 400 --num-envs 2 --hidden 8 --rollout-length 16"
TINY += " --minibatches 2 --epochs 1 --eval-episodes 2"


def shell(command, tmp_path, **environment):
    """What a line of a shell comes to, where $RUN is run.py."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env=os.environ | {"RUN": f"{sys.executable} {RUN_PY}"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


LOST = {
    "a closed pipe": "$RUN {} | head -n 1; exit ${{PIPESTATUS[0]}}",
    "a full disk": "$RUN {} > /dev/full",
    "a closed output": "$RUN {} >&-",
    "no stream at all": "$RUN {} <&- >&- 2>&-",
}


@pytest.mark.fault("standard output is closed or full", "the run goes on, its files are complete")
@pytest.mark.parametrize("where", LOST)
def test_help_ends_well_where_nobody_reads_it(where, tmp_path):
    done = shell(LOST[where].format("--help"), tmp_path)
    assert done.returncode == 0
    warned = "warning: output is lost from here on: No space left on device\n"
    assert done.stderr == (warned if where == "a full disk" else "")


@pytest.mark.fault("standard output is closed or full", "the run goes on, its files are complete")
@pytest.mark.parametrize(
    "where",
    ["a closed pipe", *(pytest.param(x, marks=pytest.mark.slow) for x in list(LOST)[1:])],
)
def test_a_run_goes_on_where_nobody_reads_it(where, tmp_path):
    done = shell(LOST[where].format(f"{TINY} --out it"), tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "it" / "summary.json").read_text())
    assert summary["env_steps"] >= 400 and summary["eval_return_mean"] > 0
    assert (tmp_path / "it" / "plots" / "learning_curve.png").stat().st_size > 1000


@pytest.mark.fault("a terminal of 0 columns, of 1, or of ASCII alone", "all is shown")
@pytest.mark.parametrize("environment", [{"COLUMNS": "0"}, {"COLUMNS": "1"}, {"COLUMNS": "-3"}])
def test_narrow_terminals_are_taken_for_wider_ones(environment, tmp_path):
    done = shell("$RUN --help", tmp_path, **environment)
    assert done.returncode == 0 and done.stderr == ""
    assert "--meta" in done.stdout and len(done.stdout.splitlines()) < 1500


@pytest.mark.fault("a terminal of 0 columns, of 1, or of ASCII alone", "all is shown")
def test_letters_that_a_terminal_does_not_know_are_spelled(tmp_path):
    done = shell("$RUN --env Pöle", tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 2 and "P\\xf6le" in done.stderr
    done = shell("$RUN --help", tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stdout.isascii() and "--meta" in done.stdout


def test_streams_are_what_they_were_when_all_is_done(capsys):
    before = sys.stdout, sys.stderr
    with streams.lasting():
        print("written")
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "written\n"


def test_what_cannot_be_written_is_lost_and_the_rest_too():
    with FULL.open("w") as full:
        stream = streams._Lasting(full)
        assert stream.write("a" * 100_000) == 100_000
        stream.flush()
        stream.write("b")
        assert os.fstat(full.fileno()).st_rdev == os.stat(os.devnull).st_rdev
