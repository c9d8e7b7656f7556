"""Pins, hashes, licences and what CI makes of reports about them."""

import contextlib
import json
import tomllib
from importlib import metadata

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests import supply_chain

PROJECT = tomllib.loads((supply_chain.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def test_constraints_are_the_lock_without_hashes():
    lines = supply_chain.CONSTRAINTS.read_text("utf-8").splitlines()[1:]
    assert lines == [pin.requirement for pin in supply_chain.pins().values()]


def test_every_pin_has_hashes():
    assert len(supply_chain.pins()) > 200
    assert all(pin.hashes for pin in supply_chain.pins().values())


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_the_lock_has_what_the_project_asks_for(extra):
    """Needs `bash .ci/lock` after a change of pyproject.toml."""
    pins = supply_chain.pins()
    for line in EXTRAS[extra] if extra else PROJECT["dependencies"]:
        asked = Requirement(line)
        name = canonicalize_name(asked.name)
        if name == PROJECT["name"]:
            continue
        assert name in pins, line
        assert asked.specifier.contains(pins[name].version, prereleases=True), line


def test_the_lock_has_what_these_need_in_turn():
    """All that the project and its tests need here."""
    found, todo = set(), [*PROJECT["dependencies"], *EXTRAS["test"], *EXTRAS["docs"]]
    while todo:
        asked = Requirement(todo.pop())
        within = [default_environment() | {"extra": extra} for extra in asked.extras or {""}]
        if (name := canonicalize_name(asked.name)) in found and not asked.extras:
            continue
        found.add(name)
        for line in _requires(name):
            marker = Requirement(line).marker
            if marker is None or any(map(marker.evaluate, within)):
                todo.append(line)
    assert len(found) > 50
    assert found - {PROJECT["name"]} <= set(supply_chain.pins())


def test_nothing_is_a_nightly_build_but_what_distrax_needs():
    pins = supply_chain.pins()
    nightly = {name for name, pin in pins.items() if Version(pin.version).is_devrelease}
    assert nightly == {"tfp-nightly"}
    assert pins["tfp-nightly"].via == ("distrax",)


def test_the_table_of_licences_is_current():
    """Needs `python -m tests.supply_chain licences` after a change of the lock."""
    text, pins = supply_chain.PAGE.read_text("utf-8"), supply_chain.pins()
    rows = supply_chain.table(text)
    assert {name: version for name, (version, _) in rows.items()} == {
        name: pin.version for name, pin in pins.items()
    }
    assert not [name for name, (_, said) in rows.items() if said == "not known"]
    here = [name for name in rows if _version(name) == pins[name].version]
    assert len(here) > 50
    for name in here:
        assert rows[name][1] == supply_chain.licence(name), name


def _version(name):
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(name)


def _requires(name):
    with contextlib.suppress(metadata.PackageNotFoundError):
        return [] if name == PROJECT["name"] else metadata.requires(name) or []
    return []


KNOWN = {"id": "PYSEC-1", "fix_versions": ["2.1"]}
UNMENDED = {"id": "PYSEC-2", "fix_versions": []}


@pytest.mark.parametrize(
    ("holes", "code", "line"),
    [
        ([], 0, "audited 1 of 2 packages"),
        ([UNMENDED], 0, "one 2.0: PYSEC-2, not mended by any version"),
        ([UNMENDED, KNOWN], 1, "one 2.0: PYSEC-1, mended in 2.1"),
    ],
)
def test_a_vulnerability_fails_if_a_newer_version_mends_it(holes, code, line):
    one = {"name": "one", "version": "2.0", "vulns": holes}
    lines, found = supply_chain.judged({"dependencies": [one, {"name": "b", "skip_reason": "?"}]})
    assert found == code
    assert line in lines


@pytest.mark.parametrize(
    ("tool", "line"),
    [
        ("import sys; print('no route to host', file=sys.stderr); sys.exit(1)", "no route to host"),
        ("import time; time.sleep(60)", "no answer within 1 seconds"),
        ("print('{')", "pip-audit said nothing"),
    ],
    ids=["unreachable", "hangs", "torn"],
)
@pytest.mark.fault("the advisory service does not answer", "said, and CI goes on")
def test_an_audit_without_an_answer_is_said_and_does_not_fail(
    tool, line, tmp_path, monkeypatch, capsys
):
    (tmp_path / "pip_audit.py").write_text(tool)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(supply_chain, "AUDIT_SECONDS", 1)
    assert supply_chain.audit() == 0
    assert capsys.readouterr().out == f"not audited: {line}\n"


@pytest.mark.fault("a downloaded file that is not the locked one", "said by CI, exit code 1")
def test_what_pip_installed_is_compared_with_the_lock(tmp_path):
    def installed(name, sha256):
        archive = {"archive_info": {"hashes": {"sha256": sha256}}} if sha256 else {"dir_info": {}}
        return {"metadata": {"name": name, "version": "1"}, "download_info": archive}

    pins = supply_chain.pins()
    right = [installed(name, min(pins[name].hashes)) for name in ("jax", "numpy")]
    own = installed(PROJECT["name"], None)
    report, wrong = tmp_path / "report.json", [installed("Jax", "0" * 64), installed("huh", "1")]
    for added, code in (([], 0), (wrong, 1)):
        report.write_text(json.dumps({"install": [*right, own, *added]}))
        assert supply_chain.main("installed", str(report)) == code
    lines = supply_chain.differing({"install": wrong})
    assert [line.split()[0] for line in lines] == ["jax", "huh"]
