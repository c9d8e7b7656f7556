"""Files of a study can be believed: what is not a result of its settings is never taken for one."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import run
from selftuning.configs.errors import ConfigError, LostOutputError
from selftuning.studies import (
    known,
    old_units,
    origins,
    plan,
    study,
    study_files,
    summary,
    table,
    unit_files,
)
from selftuning.studies.outcome import outcome_of
from selftuning.training import locks
from tests.small_studies import again, here, small

SHORT = ("--steps", "640", "--points", "4", "--evaluations", "1", "--seeds", "2", "--block", "2")
REFUSED = pytest.mark.fault(
    "a file of a study is damaged, changed or put in the place of another",
    "the unit runs again or one line refuses it, and never other numbers",
)


@pytest.fixture(autouse=True)
def workers_are_here(monkeypatch):
    monkeypatch.setattr(study, "open_launcher", here)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a study that has run."""
    out = tmp_path_factory.mktemp("believed") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "open_launcher", here)
        assert study.run(small(*SHORT, out=out), Console(quiet=True)) == 0
    return out


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture
def console():
    return Console(width=200, force_terminal=False, record=True)


def numbers(directory):
    """All that a report is made of: a function of these."""
    measured = study_files.read(directory)
    return measured.table, measured.settings, measured.known, measured.missing


def told(directory):
    """The same, or the line that refuses it."""
    try:
        return numbers(directory)
    except ConfigError as error:
        return str(error)


def same(one, two):
    return one[0].equals(two[0]) and one[1:] == two[1:]


def units_in(directory):
    return {path.name: path for path in sorted((directory / "units").iterdir())}


@REFUSED
def test_no_bit_that_flips_changes_a_number_in_silence(finished, copied):
    before, rng, refused = numbers(finished), random.Random(0), 0
    names = ["study.yaml", "origin.json", *(f"units/{name}" for name in units_in(finished))]
    assert len(names) == 6
    for number in range(200):
        path = copied / names[number % len(names)]
        whole = path.read_bytes()
        bad = bytearray(whole)
        for _ in range(rng.choice([1, 1, 1, 8])):
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        found = told(copied)
        assert found.count("\n") == 0 if isinstance(found, str) else same(found, before)
        refused += isinstance(found, str)
        path.write_bytes(whole)
    assert refused > 150  # else the flips are no flips
    assert same(numbers(copied), before)


@REFUSED
@pytest.mark.parametrize(
    "change", ["another unit", "another study", "flipped", "cut off", "empty", "text"]
)
def test_what_is_no_result_of_its_unit_is_refused_and_runs_again(
    change, finished, copied, console, capsys
):
    units = units_in(copied)
    victim = units["bmg-0.safetensors"]
    whole = victim.read_bytes()
    if change == "another unit":
        shutil.copy(units["none-0.safetensors"], victim)
    elif change == "another study":
        _forged(copied, "bmg-0", study="0" * 64)
    else:
        flipped = bytes([*whole[:-9], whole[-9] ^ 1, *whole[-8:]])
        bad = {"flipped": flipped, "cut off": whole[:-100], "empty": b"", "text": b"{}"}
        victim.write_bytes(bad[change])
    assert run.main(["study", "report", str(copied)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "bmg-0.safetensors" in said and "runs it again" in said
    assert study.run(again(copied), console) == 0
    assert f"{victim}" in (printed := console.export_text()) and "it runs again" in printed
    assert same(numbers(copied), numbers(finished))
    assert "bmg-0.damaged" in units_in(copied)  # what it was is kept


@REFUSED
@pytest.mark.parametrize(
    ("old", "new"),
    [("  steps: 640", "  steps: 6400"), ("target: null", "target: 9"), ("label: bmg", "label: x")],
)
def test_settings_that_were_changed_are_refused(old, new, copied, capsys, console):
    path = copied / "study.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    before = {name: unit.read_bytes() for name, unit in units_in(copied).items()}
    for arguments in (["report", str(copied)], ["--out", str(copied)]):
        assert run.main(["study", *arguments]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "study.yaml was changed since" in said
    assert before == {name: unit.read_bytes() for name, unit in units_in(copied).items()}
    path.write_text("# A remark does no harm.\n" + text)
    study.report(copied, console)


def test_results_of_different_code_are_a_note_in_summary_and_page(copied, console):
    settings, knows, digest = study_files.begun(copied)
    unit = plan.units_of(settings, knows)[0]
    result = unit_files.read(copied, [unit], digest).results[unit.name]
    code, other = result.about["code"], "0.1.9, commit 0123456789ab"
    unit_files.write(copied, unit, digest, result._replace(about=result.about | {"code": other}))
    study.report(copied, console)
    found = json.loads((copied / "summary.json").read_text())
    (note,) = (line for line in found["notes"] if "versions of the code" in line)
    assert code in note and other in note
    assert note in (copied / "report.html").read_text(encoding="utf-8")
    assert note in console.export_text()


# Studies of versions before 0.3.


def make_old(directory):
    """Makes of a directory what earlier versions left: Parquet files, and no digests."""
    settings, knows, digest = study_files.begun(directory)
    units = plan.units_of(settings, knows)
    for name, result in unit_files.read(directory, units, digest).results.items():
        (unit,) = (unit for unit in units if unit.name == name)
        new = ("code", "unit", "study", "runs", "columns")
        about = {"unit": name} | {k: x for k, x in result.about.items() if k not in new}
        rows = table.of_unit(settings, unit, result).drop("env")
        path = directory / "units" / f"{name}.parquet"
        rows.write_parquet(path, metadata={"about": json.dumps(about)})
        unit_files.path_of(directory, unit).unlink()
    said = json.loads((directory / "origin.json").read_text())
    kept = {key: said[key] for key in ("command", "begun", "code")}
    (directory / "origin.json").write_text(json.dumps(kept))


def test_a_study_of_an_earlier_version_has_the_same_numbers_and_a_note(finished, copied, console):
    make_old(copied)
    assert same(numbers(copied), numbers(finished))
    study.report(copied, console)
    assert "4 of its programs ran with a version before 0.3" in console.export_text()
    (copied / "units" / "none-1.parquet").unlink()
    assert study.run(again(copied), Console(quiet=True)) == 0  # goes on with it
    assert same(numbers(copied), numbers(finished))
    assert [path for path in units_in(copied) if path.endswith("tensors")] == ["none-1.safetensors"]
    assert origins.read(copied).known is not None


@REFUSED
def test_an_old_result_of_another_unit_is_refused(copied):
    make_old(copied)
    shutil.copy(copied / "units/none-0.parquet", copied / "units/none-1.parquet")
    with pytest.raises(ConfigError, match=r"none-1.parquet is not the result of none-1"):
        study_files.read(copied)


@pytest.mark.fault("a file of a stranger that breaks its reader", "one line, exit code 2")
def test_a_file_that_ends_its_reader_ends_no_more(tmp_path, monkeypatch):
    good = tmp_path / "good.parquet"
    pl.DataFrame({"method": ["a"], "x": [1.0]}).write_parquet(good, metadata={"about": "{}"})
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"PAR1")
    paths = {"one": good, "two": bad, "three": tmp_path / "missing.parquet", "four": good}
    found = old_units.read(paths)
    assert list(found) == ["one", "two", "four"]
    assert isinstance(found["two"], ConfigError)
    assert found["one"].columns["x"].tolist() == [1.0]
    # As if the second one ended the process, by a signal or for want of memory.
    told = old_units._told
    monkeypatch.setattr(old_units, "_told", lambda left: list(told(left))[: 1 - (left[0] == bad)])
    broken = old_units.read(paths)
    assert "breaks what reads it" in str(broken["two"])
    assert broken["four"].columns["x"].tolist() == [1.0]


# Two processes, and a directory that goes.


@pytest.mark.fault("two processes in one directory", "one line for the second, exit code 2")
def test_a_study_that_runs_is_left_alone(copied, capsys):
    before = {name: unit.stat().st_mtime_ns for name, unit in units_in(copied).items()}
    with locks.locked(copied):
        assert run.main(["study", "--out", str(copied)]) == 2
    assert f"{copied} is in use" in capsys.readouterr().err
    assert before == {name: unit.stat().st_mtime_ns for name, unit in units_in(copied).items()}


@pytest.mark.fault("a directory is removed while it is written", "one line, exit code 1")
@pytest.mark.parametrize("gone", [".", "units"])
def test_a_study_whose_directory_goes_says_so(gone, tmp_path, monkeypatch):
    from selftuning.studies import execute

    out, run_job = tmp_path / "study", execute.run_job

    def removes(job, tell):
        shutil.rmtree(out / gone)
        return run_job(job, tell)

    monkeypatch.setattr(execute, "run_job", removes)
    with pytest.raises(LostOutputError, match=r"has been removed|cannot write") as raised:
        study.run(small(*SHORT, "--methods", "none", out=out), Console(quiet=True))
    assert "\n" not in str(raised.value)
    assert not (out / gone).exists()


# Hostile results, whose digests are right.


def _forged(directory, name, change=dict, study=None):
    """Replaces the arrays of a unit by others, with digests that are right."""
    settings, knows, digest = study_files.begun(directory)
    (unit,) = (unit for unit in plan.units_of(settings, knows) if unit.name == name)
    result = unit_files.read(directory, [unit], digest).results[name]
    values = change(result.values)
    unit_files.write(directory, unit, study or digest, result._replace(values=values))


FORGED = {
    "a column is missing": lambda x: {k: v for k, v in x.items() if k != "return"},
    "a column is a label": lambda x: x | {"method": x["return"]},
    "fewer runs": lambda x: {k: v[:, :1] for k, v in x.items()},
    "no points": lambda x: {k: v[:0] for k, v in x.items()},
    "too many points": lambda x: {k: np.repeat(v, 100, 0) for k, v in x.items()},
    "other numbers": lambda x: {k: v.astype(np.float32) for k, v in x.items()},
    "steps that are none": lambda x: x | {"env_steps": x["env_steps"] * np.nan},
    "steps without end": lambda x: x | {"env_steps": x["env_steps"] * np.inf},
}


@pytest.mark.fault("a file of a stranger that breaks its reader", "one line, exit code 2")
@pytest.mark.parametrize("name", FORGED)
def test_forged_results_get_one_line(name, copied):
    _forged(copied, "none-0", FORGED[name])
    with pytest.raises(ConfigError, match=r"none-0.safetensors is no result of none-0"):
        study_files.read(copied)


def test_results_without_end_are_unknown(copied):
    _forged(copied, "none-0", lambda x: x | {"return": np.where(x["episodes"] > 0, np.inf, np.nan)})
    with study_files.unimported(copied):
        outcome = outcome_of(study_files.read(copied))
        json.dumps(summary.summarise(outcome), allow_nan=False)


def test_what_is_known_is_the_same_in_a_file():
    settings = small(*SHORT, "--extension", "tests.own_terms").settings
    found = known.asked(settings)
    assert found.extensions["tests.own_terms"]
    again_ = known.from_plain(json.loads(json.dumps(known.to_plain(found))), "origin.json")
    assert again_ == found
