"""Runs in Weights & Biases: what its files say, and that nothing else is touched."""

import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record

import run
from selftuning.configs import files
from selftuning.configs.settings import RunSettings
from selftuning.training import sinks, wandb_sink
from selftuning.training.sinks import Log
from tests.test_training_metrics import read_events

RUN_PY = Path(__file__).parents[1] / "run.py"
FLAGS = "--env CartPole --meta none --steps 480 --hidden 4 --rollout-length 4"
FLAGS += " --num-envs 4 --epochs 1 --minibatches 2 --eval-episodes 2"
_BLOCK, _FIRST = 2**15, 7  # bytes of a block, and of the header of the file


def records(directory):
    """Records of the only run in a run directory: LevelDB's log of blocks, behind a header."""
    (path,) = directory.glob("wandb/offline-run-*/run-*.wandb")
    data, place, message = path.read_bytes(), _FIRST, b""
    while place + 7 <= len(data):
        if _BLOCK - place % _BLOCK < 7:  # no room for another header
            place += _BLOCK - place % _BLOCK
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        message += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            yield Record.FromString(message)
            message = b""


def run_and_rows(directory):
    """The record of the run, and its history: rows without what wandb adds by itself."""
    made, rows = None, []
    for record in records(directory):
        if record.WhichOneof("record_type") == "run":
            made = made or record.run
        elif record.WhichOneof("record_type") == "history":
            items = {
                (x.key or x.nested_key[0]): json.loads(x.value_json) for x in record.history.item
            }
            row = {"env_steps": items["_step"]}
            rows.append(row | {k: x for k, x in items.items() if not k.startswith("_")})
    return made, rows


@pytest.fixture
def clean(monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    for name in ("CACHE_DIR", "ERROR_REPORTING"):  # so that these are taken back
        name = f"WANDB_{name}"
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.slow
def test_an_offline_run_has_all_that_the_other_logs_have_in_its_own_directory(tmp_path, clean):
    places = {name: tmp_path / name for name in ("home", "temporary", "working")}
    for place in places.values():
        place.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, RUN_PY, *FLAGS.split(), "--wandb", "offline", "--out", "made"],
            cwd=places["working"],
            env={**os.environ}
            | {"HOME": str(places["home"]), "TMPDIR": str(places["temporary"])}
            | {"WANDB_BASE_URL": address, "MPLCONFIGDIR": str(tmp_path / "matplotlib")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        with pytest.raises(BlockingIOError):
            server.accept()  # nobody has called
    assert done.returncode == 0 and done.stderr == "" and "wandb" not in done.stdout.lower()
    for name in ("home", "temporary"):
        left = [path for path in places[name].rglob("*") if path.is_file()]
        assert not [path for path in left if "fontlist" not in path.name], left
    assert [path.name for path in places["working"].iterdir()] == ["made"]

    directory = places["working"] / "made"
    made, rows = run_and_rows(directory)
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    known = [{k: x for k, x in line.items() if x is not None} for line in lines]
    assert len(rows) == 30 and rows == known
    (events,) = directory.glob("events*")
    names = {sinks.tag(name): name for name in known[0]}
    for event in read_events(events):
        for value in event.summary.value:
            row = next(row for row in rows if row["env_steps"] == event.step)
            if value.tag.startswith("_hparams_"):
                continue
            assert row[names[value.tag]] == pytest.approx(value.simple_value, rel=1e-6)
    assert (made.project, made.display_name) == (wandb_sink.PROJECT, "made")
    config = {x.key: json.loads(x.value_json) for x in made.config.update if x.key != "_wandb"}
    assert config == files.plain(files.load(directory / files.NAME))


def test_a_process_may_have_several_runs_at_once(tmp_path, clean):
    logs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        given = wandb_sink.sinks("offline", RunSettings(seed=len(logs)), tmp_path / name)
        logs.append(Log(tmp_path / name, given))
    for number, log in enumerate(logs):
        log.write(16, {"a/b": 1.5 + number, "c": None, "d": float("nan")})
    for number, log in enumerate(logs):
        log.write(32, {"a/b": 2.5 + number})
        log.close()
    for number, name in enumerate(("one", "two")):
        made, rows = run_and_rows(tmp_path / name)
        assert made.display_name == name
        assert {x.key: x.value_json for x in made.config.update}["seed"] == str(number)
        assert rows == [
            {"env_steps": 16, "a/b": 1.5 + number},
            {"env_steps": 32, "a/b": 2.5 + number},
        ]


@pytest.fixture
def here(tmp_path, monkeypatch, clean):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("selftuning.training.compilation_cache.enable", lambda: None)
    return tmp_path


@pytest.mark.parametrize("found", [None, type(sys)("wandb")])
def test_without_the_library_one_line_says_how_to_install_it(found, here, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", found)  # not there, or a folder of that name
    assert run.main([*FLAGS.split(), "--wandb", "offline"]) == 2
    said = "error: wandb is not installed: pip install wandb\n"
    assert capsys.readouterr().err == said
    assert not list(here.iterdir())


def test_what_the_library_refuses_is_one_line(here, monkeypatch, capsys):
    def refuse(**_):
        raise wandb.errors.UsageError("no API key\nconfigured")

    monkeypatch.setattr(wandb, "init", refuse)
    monkeypatch.setattr(wandb, "login", lambda: True)
    assert run.main([*FLAGS.split(), "--wandb", "online", "--out", "made"]) == 2
    assert capsys.readouterr().err == "error: --wandb: online cannot begin: no API key configured\n"


@pytest.mark.fault("--wandb online without a key", "one line, nothing is written")
def test_a_key_that_is_missing_is_missed_before_anything_is_written(here, monkeypatch, capsys):
    def refuse():
        raise wandb.errors.UsageError("No API key configured")

    monkeypatch.setattr(wandb, "login", refuse)
    assert run.main([*FLAGS.split(), "--wandb", "online"]) == 2
    assert capsys.readouterr().err == "error: --wandb: online cannot begin: No API key configured\n"
    assert not list(here.iterdir())


def test_only_known_modes_are_taken(here, capsys):
    assert run.main([*FLAGS.split(), "--wandb", "offlien"]) == 2
    assert "offline" in capsys.readouterr().err
    assert not list(here.iterdir())
