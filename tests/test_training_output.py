"""What runs and studies write into: JSON that is JSON, one process at a time, loss that is said."""

import json
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from selftuning.configs.errors import ConfigError, LostOutputError
from selftuning.training import json_files, locks, output
from selftuning.training.provenance import ROOT

HOLD = """
import sys, time
from pathlib import Path
from selftuning.training.locks import locked
with locked(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(100)
"""


def no_constants(name):
    pytest.fail(f"{name} is no JSON")


@pytest.mark.fault("numbers that are not finite in a result", "null in the file, which is JSON")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float32("nan"), np.inf])
def test_what_is_not_finite_is_null_wherever_it_stands(bad, tmp_path):
    content = {"a": bad, "b": [1.5, (bad,)], "c": {"d": np.array([bad, 2.0])}, "e": np.int64(3)}
    json_files.write(tmp_path / "x.json", content)
    found = json.loads((tmp_path / "x.json").read_text(), parse_constant=no_constants)
    assert found == {"a": None, "b": [1.5, [None]], "c": {"d": [None, 2.0]}, "e": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_new_file_is_new(tmp_path):
    json_files.write_new(tmp_path / "x.json", {"a": 1})
    with pytest.raises(FileExistsError):
        json_files.write_new(tmp_path / "x.json", {"a": 2})
    json_files.write(tmp_path / "x.json", {"a": "é"})
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == '{\n  "a": "é"\n}\n'


@pytest.mark.fault("two processes in one directory", "one line for the second, exit code 2")
def test_a_lock_ends_with_its_process_however_that_ends(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    with pytest.raises(ConfigError, match="is in use"), locks.locked(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    refused = pytest.raises(ConfigError, match="is in use")  # twice in one process, too
    with locks.locked(tmp_path), refused, locks.locked(tmp_path):
        pass
    with locks.locked(tmp_path):
        pass


@pytest.mark.fault("a directory that cannot be written", "one line, exit code 2")
def test_where_no_lock_can_be_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="is no directory"), locks.locked(tmp_path / "gone"):
        pass
    if os.getuid():  # root writes everywhere
        tmp_path.chmod(0o500)
        with pytest.raises(ConfigError, match="cannot write"), locks.locked(tmp_path):
            pass
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), NotImplementedError("flock")])
def test_a_file_system_without_locks_is_said_and_used(error, tmp_path, monkeypatch, capsys):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(locks.FileLock, "acquire", fails)
    with locks.locked(tmp_path):
        pass
    assert f"{tmp_path} has no lock" in capsys.readouterr().err


@pytest.mark.fault("a directory is removed while it is written", "one line, exit code 1")
def test_a_directory_that_has_gone_is_said(tmp_path):
    directory = tmp_path / "run"
    for expected in (f"{directory} has been removed", "cannot write .*x.part: No such file"):
        raises = pytest.raises(LostOutputError, match=expected)
        with raises as raised, output.written(directory):
            json_files.write(directory / "under" / "x.json", {})
        assert "\n" not in str(raised.value)
        directory.mkdir(exist_ok=True)
    output.check(directory)
