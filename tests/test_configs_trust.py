"""Modules that files of others name are imported by nobody who did not say so."""

import io
import json
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

import run
import selftuning as st
from selftuning.configs import modules, trust
from selftuning.configs.errors import ConfigError
from selftuning.envs import registry
from selftuning.studies import study, study_files
from tests.small_studies import here, small

WRITES = """
import pathlib
pathlib.Path("imported").touch()
"""
TERM = """
import selftuning as st

@st.loss_term(start=0.01, low=1e-5, high=1.0)
def of_a_stranger(seen):
    return seen.policy.entropy()
"""
ENV = """
import gymnasium as gym
from selftuning.envs.hosted import HostedEnv
from selftuning.envs.cartpole import CartPole

class Own(HostedEnv):
    metadata = {"render_modes": []}
    functional = CartPole

gym.register("OfAStranger-v0", Own, reward_threshold=77.0)
"""
STRANGERS = pytest.mark.fault(
    "a run or a study of a stranger names modules",
    "nothing is imported before the user says so, and never for a report",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, in which a stranger's modules are."""
    for name, text in {"strange_terms": TERM, "strange_env": ENV}.items():
        (tmp_path / f"{name}.py").write_text(WRITES + text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("strange_terms", "strange_env"):
        sys.modules.pop(name, None)


def run_of(folder, **settings):
    """A run directory of a stranger's, as far as its settings go."""
    directory = folder / "run"
    directory.mkdir()
    (directory / "config.yaml").write_text(yaml.safe_dump(settings))
    return directory


NAMED = {
    "an extension": {"extensions": ["strange_terms"]},
    "a part of it": {"extensions": ["strange_terms:of_a_stranger"]},
    "an environment": {"env": "strange_env:OfAStranger-v0"},
    "a wrapper": {"environment": {"wrappers": ["strange_env:Own"]}},
}


@STRANGERS
@pytest.mark.parametrize("named", NAMED)
def test_the_modules_of_a_run_are_named_and_not_imported(named, folder, capsys):
    directory = run_of(folder, **NAMED[named])
    for command in (["eval", str(directory)], ["--out", str(directory)]):
        assert run.main(command) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "strange_" in said and str(folder) in said and "--trust" in said
    with pytest.raises(ConfigError, match=r"import it first or give trust=True"):
        st.load(directory)
    with pytest.raises(ConfigError, match="import it first if you trust"):
        st.train(out=directory)
    assert not (folder / "imported").exists()


@STRANGERS
def test_who_says_so_or_has_imported_it_is_not_asked(folder, monkeypatch):
    directory = run_of(folder, **NAMED["an extension"])
    path, data = directory / "config.yaml", NAMED["an extension"]
    with pytest.raises(ConfigError, match=r"checkpoint: .* does not exist"):
        st.load(directory, trust=True)
    assert (folder / "imported").exists()
    with pytest.raises(ConfigError, match=r"checkpoint: .* does not exist"):
        st.load(directory)  # it is imported now
    del sys.modules["strange_terms"]
    trust.check(data, path, True, trust.FLAG)
    trust.check(data, path, False, trust.FLAG, named={"extensions": ["strange_terms"]})

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for answer, agreed in (("y\n", True), ("yes\n", True), ("\n", False), ("", False)):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        monkeypatch.setattr(sys, "stderr", Terminal())
        if agreed:
            trust.check(data, path, False, trust.FLAG)
        else:
            with pytest.raises(ConfigError, match="would be run"):
                trust.check(data, path, False, trust.FLAG)


def test_what_needs_no_question():
    known = ("CartPole-v1", "gymnasium:CartPole-v1", "selftuning.envs:TwoColors", "ALE/Pong-v5")
    libraries = ("gymnax:Breakout-MinAtar", "envpool:CartPole-v1", "ale:Pong", "brax:ant")
    for env in (*known, *libraries, "minigrid:MiniGrid-Empty-5x5-v0", "is_not_there:X", "a\0b:X"):
        assert (
            trust.strange({"env": env, "environment": {"wrappers": ["gymnasium.wrappers:X"]}}) == []
        )
    assert trust.strange({"extensions": ["antigravity"]}) != []  # it opens a window


def test_a_module_here_is_none_of_an_installed_package(folder, monkeypatch):
    # The working directory is looked into first.
    (folder / "minigrid.py").write_text(WRITES)
    monkeypatch.delitem(sys.modules, "minigrid", raising=False)
    (found,) = trust.strange({"env": "minigrid:MiniGrid-Empty-5x5-v0"})
    assert str(folder / "minigrid.py") in found


@pytest.mark.parametrize("name", ["os", "antigravity", "json.tool"])
def test_modules_of_python_itself_are_refused_unimported(name, folder, monkeypatch):
    monkeypatch.setattr(modules.importlib, "import_module", lambda name: pytest.fail(name))
    with pytest.raises(ConfigError, match=f"env: {name} is a module of Python itself"):
        registry.resolve(f"{name}:CartPole")


def test_a_module_of_ones_own_may_be_called_like_one_of_pythons(folder, monkeypatch):
    (folder / "antigravity.py").write_text(ENV.replace("OfAStranger", "Falling"))
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    assert registry.resolve("antigravity:Falling") == "antigravity:Falling-v0"


@STRANGERS
def test_a_report_imports_nothing(folder, monkeypatch, capsys):
    monkeypatch.setattr(study, "open_launcher", here)
    some = ("--env", "strange_env:OfAStranger", "--extension", "strange_terms")
    command = small(
        *some,
        "--steps",
        "640",
        "--points",
        "4",
        "--evaluations",
        "0",
        "--seeds",
        "1",
        out=Path("s"),
    )
    assert study.run(command, Console(quiet=True)) == 0
    before = json.loads(Path("s/summary.json").read_text())
    assert before["target"] == 77.0
    (folder / "imported").unlink()
    for name in ("strange_terms", "strange_env"):
        del sys.modules[name]
    for missing in (False, True):
        if missing:
            for name in ("strange_terms", "strange_env"):
                (folder / f"{name}.py").rename(folder / name)
        assert run.main(["study", "report", "s"]) == 0
        assert run.main(["study", "compare", "s", "s"]) == 0
        assert json.loads(Path("s/summary.json").read_text()) == before
        assert not (folder / "imported").exists()
    (folder / "strange_env").rename(folder / "strange_env.py")
    capsys.readouterr()
    assert run.main(["study", "--out", "s"]) == 2  # which would run them
    said = capsys.readouterr().err
    assert "module strange_env" in said and "--trust" in said
    # A directory of an earlier version does not say what it knows.
    origin = json.loads(Path("s/origin.json").read_text())
    kept = {key: origin[key] for key in ("command", "begun", "code")}
    Path("s/origin.json").write_text(json.dumps(kept))
    with pytest.raises(ConfigError, match="of an earlier version and names module strange_env"):
        study_files.read(Path("s"))
    assert not (folder / "imported").exists()
