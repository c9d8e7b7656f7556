"""A study can be made again from its page: versions, settings, and the user's modules."""

import hashlib
import html
import re
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
from packaging.requirements import Requirement

from selftuning.configs import cli, studies, study_alike
from selftuning.configs.study_cli import Study
from selftuning.studies import compare, known, study, study_files, summary, user_modules
from selftuning.studies.outcome import outcome_of
from selftuning.studies.report import page as report_page
from selftuning.training import provenance
from tests import synthetic_study

TERM = """
from again_helper import squared
from selftuning import loss_term

@loss_term(start=0.01, low=1e-4, high=1.0)
def again_size(seen):
    return squared(seen.policy.logits)  # "quoted" <b>&amp;</b> ü \\u202e
"""
HELPER = "def squared(x):\n    return x**2\n"
MODULES = ("again_terms", "again_helper", "again_other")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, in which the user's modules are."""
    texts = dict(zip(MODULES, (TERM, HELPER, "nothing = 1\n"), strict=True))
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        sys.modules.pop(name, None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)


def measured():
    run = {"extensions": ["again_terms"]}
    found = synthetic_study.measured(methods="none,bmg", seeds=2, starts={"gamma": (0.7,)}, run=run)
    return found._replace(settings=study_alike.starting(found.settings))  # as the command makes it


def page_of(found):
    with known.unimported(found.known):
        outcome = outcome_of(found)
        return report_page.page(outcome, summary.summarise(outcome))


def saved(page):
    """What the links of a page save, by name of the file."""
    links = re.findall(r'<a download="([^"]+)" href="data:text/plain;charset=utf-8,([^"]*)"', page)
    return {html.unescape(name): unquote(address) for name, address in links}


def test_the_page_alone_has_settings_and_modules_with_their_digests(folder, monkeypatch):
    found = measured()
    page = page_of(found)
    files = saved(page)
    assert files.keys() == {"study.yaml", "again_terms.py", "again_helper.py"}  # but no other
    for name, text in (("again_terms.py", TERM), ("again_helper.py", HELPER)):
        assert files[name] == text
        assert hashlib.sha256(text.encode()).hexdigest() in page
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    for name, text in files.items():
        (elsewhere / name).write_text(text, encoding="utf-8")
    for name in MODULES:
        sys.modules.pop(name, None)
    monkeypatch.chdir(elsewhere)
    command = cli.parse(["study", "--config", "study.yaml"])
    assert isinstance(command, Study)
    assert list(studies.differences(found.settings, command.settings)) == []
    assert str(folder) not in page.replace(str(elsewhere), "")
    assert "selftuning study --config study.yaml" in page


def test_modules_that_changed_on_the_way_are_named(folder):
    found = measured()
    begun = user_modules.digests(found.known.modules)
    assert list(begun) == ["again_helper", "again_terms"]
    same = {name: about | {"modules": begun} for name, about in found.about.items()}
    assert "changed while it ran" not in page_of(found._replace(about=same))
    first = next(iter(same))
    other = same | {first: same[first] | {"modules": begun | {"again_terms": "0" * 64}}}
    page = page_of(found._replace(about=other))
    assert "again_terms changed while it ran" in page


def test_what_a_directory_keeps_is_what_a_report_shows(folder):
    """Modules that were changed or removed since the study began are shown as they were."""
    found = measured()
    directory = study_files.create(found.settings, folder / "out", study.origin())
    (folder / "again_terms.py").write_text("changed = 1\n")
    (folder / "again_helper.py").unlink()
    kept = study_files.begun(directory).known.modules
    assert kept == found.known.modules
    assert [one.text for one in kept] == [HELPER, TERM]


def test_modules_of_packages_have_versions_and_large_ones_digests(folder, monkeypatch):
    monkeypatch.setattr(user_modules, "_LARGEST", 60)
    by_name = {one.name: one for one in measured().known.modules}
    assert by_name["again_helper"].text == HELPER
    assert by_name["again_terms"].text is None
    assert by_name["again_terms"].sha256 == hashlib.sha256(TERM.encode()).hexdigest()
    import packaging  # of which the environment below is said to be

    (one,) = user_modules.used_by({}, ["packaging.version:Env-v0"])
    assert one == user_modules.UserModule("packaging", package=f"packaging {packaging.__version__}")
    assert user_modules.used_by({"env": "gymnasium.envs:CartPole-v1"}) == []


def test_packages_of_the_user_are_copied_with_all_that_was_imported(folder):
    package = folder / "again_package"
    (package / "inner").mkdir(parents=True)
    for path in ("__init__.py", "inner/__init__.py", "inner/deep.py", "never.py"):
        (package / path).write_text(f"# {path}\n")
    sys.path.insert(0, str(folder))
    try:
        import again_package.inner.deep  # noqa: F401

        found = user_modules.used_by({"environment": {"wrappers": ["again_package:Wrapper"]}})
    finally:
        for name in [name for name in sys.modules if name.startswith("again_package")]:
            del sys.modules[name]
    assert [one.file for one in found] == [
        "again_package/__init__.py",
        "again_package/inner/__init__.py",
        "again_package/inner/deep.py",
    ]


def test_versions_are_of_all_direct_dependencies():
    path = Path(__file__).parents[1] / "pyproject.toml"
    asked = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"]
    found = provenance.versions()
    assert {Requirement(text).name for text in asked} | {"selftuning", "python"} <= found.keys()
    assert "playwright" not in found  # of the tests alone
    page = page_of(synthetic_study.measured(methods="none,bmg", seeds=2, starts={}))
    assert "jax 1.2.3, numpy 2.3.4" in page  # those that the study ran with, not those of today


def test_two_studies_beside_each_other_are_not_said_to_run_again():
    one = synthetic_study.measured(methods="none,bmg", seeds=2, starts={"gamma": (0.7, 0.99)})
    page = page_of(compare.beside([one, one]))
    assert "Run it again" not in page
    assert "study.yaml" not in saved(page)


def test_the_command_of_a_page_has_no_path(tmp_path):
    one = synthetic_study.measured(methods="none,bmg", seeds=2, starts={})
    typed = f"python {tmp_path}/run.py study --env CartPole --out {tmp_path}/out --workers 3"
    page = page_of(one._replace(origin=one.origin | {"command": typed}))
    assert "python run.py study --env CartPole<" in page
    assert str(tmp_path) not in page
