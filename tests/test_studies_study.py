"""Studies from command to files: whatever stops them, the same command ends them the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest
from rich.console import Console

import run
from selftuning.configs import files, studies
from selftuning.configs.errors import ConfigError
from selftuning.studies import execute, plan, study, study_files, study_report
from selftuning.studies.outcome import outcome_of
from selftuning.training import locks
from tests.small_studies import again, arguments, small

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
TABLE = study_files.RESULTS


def table_of(directory: Path) -> pl.DataFrame:
    return pl.read_parquet(directory / TABLE)


@pytest.fixture
def console():
    return Console(width=100, force_terminal=False, record=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a study that nothing has disturbed, and what it printed."""
    out = tmp_path_factory.mktemp("study") / "study"
    command = [sys.executable, "run.py", *arguments(out=out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_a_study_leaves_its_files(finished):
    out, printed = finished
    assert {path.name for path in out.iterdir()} >= {
        "origin.json",
        "study.yaml",
        "units",
        "results.parquet",
        "summary.json",
        "report.html",
    }
    assert not (out / "checkpoints").exists()
    settings = studies.layered([files.read(out / "study.yaml")])
    assert settings == small().settings
    origin = json.loads((out / "origin.json").read_text())
    assert origin["command"].startswith("python run.py study --env CartPole")
    found = json.loads((out / "summary.json").read_text())
    assert set(found["methods"]) == {"none", "best of none", "bmg"}
    for said in ("together", "workers", *found["answer"], str(out / "report.html")):
        assert "".join(said.split()) in "".join(printed.split())


def test_the_table_has_a_row_for_each_run_and_point(finished):
    table = table_of(finished[0])
    units = plan.units_of(small().settings)
    points = plan.points_of(-(-6000 // 64), 12).count
    assert table.height == 2 * 6 * points
    assert table.columns[:5] == ["method", "run", "seed", "start_gamma", "point"]
    for unit in units:
        for row in unit.runs:
            mine = table.filter((pl.col("method") == unit.method) & (pl.col("run") == row.index))
            assert mine["point"].to_list() == list(range(points))
            assert mine["seed"].unique().to_list() == [row.seed]
            assert mine["start_gamma"].unique().to_list() == [row.start["gamma"]]
    assert table.schema["episodes"] == pl.Int64
    assert table.schema["finite"] == pl.Boolean
    assert table["finite"].all()
    # What is not known is null, and no number is made up for it.
    untuned = table.filter(pl.col("method") == "none")
    assert untuned["diagnostics/target_distance"].null_count() == untuned.height
    assert not table.select(pl.selectors.float().is_nan().any()).row(0).count(True)
    assert untuned.filter(pl.col("episodes") == 0)["return"].null_count() == len(
        untuned.filter(pl.col("episodes") == 0)
    )


def test_other_programs_open_the_table(finished):
    path = finished[0] / TABLE
    ours = pl.read_parquet(path)
    by_pandas = pd.read_parquet(path)
    assert list(by_pandas.columns) == ours.columns
    assert by_pandas["return"].sum() == pytest.approx(ours["return"].sum())
    assert by_pandas["return"].isna().sum() == ours["return"].null_count()
    query = f"select method, sum(episodes) from '{path}' group by method order by method"
    expected = ours.group_by("method").agg(pl.col("episodes").sum()).sort("method")
    assert duckdb.sql(query).fetchall() == expected.rows()


def test_a_study_that_is_killed_again_and_again_ends_the_same(finished, tmp_path):
    out = tmp_path / "study"
    command = [sys.executable, "-m", "tests.study_with_checkpoints", *arguments(out=out)]
    rng = random.Random(0)
    kills, done_before, went_on = 0, set(), False
    while True:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        killed = kills < 4 and _kill_somewhere(process, out, rng, at_work=kills % 2 == 1)
        printed, _ = process.communicate()
        assert not _workers_of(process.pid)  # those of a killed study end a little later
        finished_units = list(out.glob("units/*.safetensors"))
        units = {(path, path.stat().st_mtime_ns) for path in finished_units}
        # What was finished is there still, and was not made again.
        assert done_before <= units
        done_before = units
        if not killed:
            break
        kills += 1
        went_on = went_on or bool(list(out.glob("checkpoints/*.safetensors")))
    assert process.returncode == 0, printed
    assert kills >= 2
    assert went_on
    assert table_of(out).equals(table_of(finished[0]))
    about = study_files.read(out).about.values()
    assert any(unit["begun_at_point"] > 0 for unit in about)


def _kill_somewhere(process, out, rng, at_work) -> bool:
    """Kills a process, and nothing else, at a random moment after the study has gone on a bit.

    Units of this study take less than a second: `at_work` kills it in one that has a checkpoint.
    """

    def state():
        names = ("study.yaml", "units/*.safetensors", "checkpoints/*")
        names = ("checkpoints/*.safetensors",) if at_work else names
        return [(p, p.stat().st_mtime_ns) for name in names for p in out.glob(name) if p.exists()]

    def seen():
        try:
            return state()
        except FileNotFoundError:  # a checkpoint went while it was looked at
            return None

    before = seen()
    while process.poll() is None and seen() == before:
        time.sleep(0.05)
    time.sleep(rng.uniform(0, 0.05 if at_work else 1.5))
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    return True


def _workers_of(pid: int) -> list[int]:
    """Processes that were started by one that has been killed, and should end by themselves."""
    for _ in range(100):
        left = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if f"parent_pid={pid}".encode() in path.read_bytes():
                    left.append(int(path.parent.name))
            except OSError:
                continue
        if not left:
            return []
        time.sleep(0.1)
    return left


def test_a_finished_study_runs_nothing_again(finished, console, monkeypatch):
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in (out / "units").iterdir()}
    monkeypatch.setattr(study, "open_launcher", None)
    assert study.run(again(out), console) == 0
    assert study.run(small(out=out), console) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "units").iterdir()} == before


def test_a_plan_runs_nothing_and_writes_nothing(console, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert study.run(small("--plan", "--methods", "none", "--workers", "1"), console) == 0
    shown = console.export_text()
    assert "together     6" in shown
    assert "on 1 worker" in shown
    assert not list(tmp_path.iterdir())


def test_a_report_is_drawn_anew_without_running(finished, tmp_path, capsys):
    out = _copied(finished[0], tmp_path)
    (out / "report.html").unlink()
    (out / TABLE).unlink()
    assert run.main(["study", "report", str(out)]) == 0
    assert table_of(out).equals(table_of(finished[0]))
    assert (out / "report.html").read_bytes() == (finished[0] / "report.html").read_bytes()
    assert "Means of the return" in capsys.readouterr().out


def test_an_unfinished_study_has_a_report_that_says_so(finished, tmp_path, capsys):
    out = _copied(finished[0], tmp_path)
    (out / "units" / "bmg-0.safetensors").unlink()
    assert run.main(["study", "report", str(out)]) == 0
    found = json.loads((out / "summary.json").read_text())
    assert not found["complete"]
    assert "not finished: 1 of its programs" in found["notes"][0]
    for path in (out / "units").iterdir():
        path.unlink()
    assert run.main(["study", "report", str(out)]) == 2
    assert "has no results yet" in capsys.readouterr().err


def test_other_settings_are_no_continuation(finished, capsys):
    out, _ = finished
    before = (out / "study.yaml").read_bytes()
    assert run.main([*arguments("--seeds", "4"), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "holds a study with seeds 3, not 4" in error
    assert run.main([*arguments("--hidden", "9"), "--out", str(out)]) == 2
    assert "run.agent.hidden [8], not [9]" in capsys.readouterr().err
    assert (out / "study.yaml").read_bytes() == before


def test_directories_that_are_none_of_a_study_are_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("x")
    assert run.main(arguments(out=tmp_path)) == 2
    assert "is not empty" in capsys.readouterr().err
    assert run.main(["study", "report", str(tmp_path)]) == 2
    assert "is not the directory of a study" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_directory_is_for_one_process(finished, console):
    out, _ = finished
    with locks.locked(out), pytest.raises(ConfigError, match="is in use"):
        study.run(again(out), console)


def test_a_study_that_was_stopped_before_its_settings_were_there_begins(tmp_path, console):
    (tmp_path / "origin.json").write_text("{}")
    assert study_files.create(small().settings, tmp_path, {"command": "x"}) == tmp_path
    assert study_files.begun(tmp_path).settings == small().settings


@pytest.mark.parametrize("name", ["units/none-0.safetensors", "origin.json", "study.yaml"])
def test_damage_gets_one_line(name, finished, tmp_path):
    out = _copied(finished[0], tmp_path)
    (out / name).write_bytes(b"{")
    with pytest.raises(ConfigError, match=name.rpartition("/")[2]):
        study_files.read(out)


BROKEN = """
import gymnasium as gym

class Broken(gym.Env):
    observation_space = gym.spaces.Box(0, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self):
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        self.steps += 1
        if self.steps > 40:
            raise RuntimeError("the motor is on fire")
        return self.observation_space.sample(), 1.0, self.steps % 5 == 0, False, {}

gym.register("Broken-v0", Broken)
"""


def test_a_failure_is_said_and_everything_else_is_kept(tmp_path, monkeypatch, capfd):
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    some = "--env broken:Broken --methods none --seeds 2 --steps 640 --start gamma=0.9"
    assert run.main(arguments(*some.split(), "--workers", "1", "--out", "study")) == 1
    printed = capfd.readouterr().out
    assert "none-1 failed: " in printed and "RuntimeError: the motor is on fire" in printed
    assert 'raise RuntimeError("the motor' in (tmp_path / "study/errors/none-0.txt").read_text()


def test_a_unit_that_fails_later_leaves_the_others(tmp_path, console, monkeypatch):
    from tests import failing_work

    monkeypatch.setattr(execute, "run_job", failing_work.execute_job)
    out = tmp_path / "study"
    command = small("--workers", "1", "--steps", "1000", "--evaluations", "0", out=out)
    assert study.run(command, console) == 1
    shown = console.export_text()
    assert "bmg-0 failed: RuntimeError: no luck" in shown
    assert "no luck" in (out / "errors" / "bmg-0.txt").read_text()
    assert sorted(p.stem for p in (out / "units").iterdir()) == ["bmg-1", "none-0", "none-1"]
    monkeypatch.setattr(execute, "run_job", failing_work.execute_well)
    assert study.run(again(out, "--workers", "1"), console) == 0
    assert not (out / "errors").exists()


def test_a_worker_that_dies_is_said(tmp_path, console, monkeypatch):
    from tests import failing_work

    monkeypatch.setattr(execute, "run_job", failing_work.die)
    out = tmp_path / "study"
    command = small("--workers", "1", "--methods", "none", "--evaluations", "0", out=out)
    assert study.run(command, console) == 1
    assert "has died; try fewer --workers or a smaller --block" in console.export_text()


def test_ctrl_c_ends_a_study_and_its_workers(tmp_path):
    out = tmp_path / "study"
    command = [sys.executable, "run.py", *arguments("--steps", "2000000", out=out)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (out / "study.yaml").exists():
        time.sleep(0.05)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it, to all of them
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.strip() == "interrupted"
    assert not _workers_of(process.pid)


def _copied(directory: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(directory, tmp_path / "copy"))


def test_what_is_printed_when_there_is_little_to_say(finished, console):
    found = json.loads((finished[0] / "summary.json").read_text())
    one = outcome_of(study_files.read(finished[0]))
    study_report.print_summary(console, finished[0], one, found)
    assert "best start" in console.export_text()
    assert execute.machine().count("cores") == 1
