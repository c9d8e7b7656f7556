"""The wheel lives in anybody's environment, beside packages and folders of the same names."""

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import version

import pytest

import selftuning
from selftuning.training import provenance

ROOT = provenance.ROOT

# A user's own packages have the names of our folders, and so have two published ones.
MINE = {
    "configs/__init__.py": "LENGTH = 5\n",
    "agents/__init__.py": "raise RuntimeError('nobody has asked for this package')\n",
    "envs/__init__.py": "",
    "envs/mine.py": """
import gymnasium as gym
import numpy as np
from configs import LENGTH

class Thing(gym.Env):
    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(2, np.float32), float(action), self.t >= LENGTH, False, {}

gym.register("Thing-v0", "envs.mine:Thing")
""",
}
THING = "envs.mine:Thing"


def run(*command, cwd, **env):
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=clean | env, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def mine(tmp_path):
    """The folder of a user, a git repository of their own."""
    folder = tmp_path / "mine"
    for name, text in MINE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    run("git", "init", "-q", cwd=folder)
    run("git", "add", "-A", cwd=folder)
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    run("git", *identity, "commit", "-qm", "mine", cwd=folder)
    return folder


def trains_evaluates_and_studies(program, folder):
    # That the package works is the question, and PPO would be compiled for most of a minute.
    quick = ("--algorithm", "actor_critic", "--rollout-length", 16, "--steps", 200)
    run(*program, "--env", THING, *quick, "--out", "a-run", cwd=folder)
    summary = json.loads((folder / "a-run/summary.json").read_text())
    assert summary["env_id"] == "Thing-v0" and summary["env_steps"] >= 200
    run(*program, "eval", "a-run", "--episodes", 2, "--trust", cwd=folder)
    evaluated = json.loads((folder / "a-run/eval-1.json").read_text())
    assert evaluated["steps"] == [5, 5]  # LENGTH of the user's own configs
    study = ("--methods", "none", "--seeds", 1, "--workers", 1, "--out", "a-study")
    run(*program, "study", "--env", THING, *quick, *study, cwd=folder)
    assert (folder / "a-study/results.parquet").exists()


def test_the_version_has_one_place():
    assert version("selftuning") == selftuning.__version__
    assert f"version: {selftuning.__version__}" in (ROOT / "CITATION.cff").read_text()


def test_a_checkout_of_this_project_says_its_commit(monkeypatch, tmp_path):
    commit = run("git", "rev-parse", "--short=12", "HEAD", cwd=ROOT).strip()
    assert commit in provenance.code_version()
    # Installed somewhere in a repository of its user's, it does not say theirs.
    run("git", "init", "-q", cwd=tmp_path)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.code_version.__wrapped__() == selftuning.__version__


@pytest.mark.slow
def test_a_checkout_beside_folders_of_the_same_names(mine):
    trains_evaluates_and_studies((sys.executable, ROOT / "run.py"), mine)


@pytest.mark.slow
def test_the_wheel_in_an_environment_of_its_own(mine, tmp_path):
    run(sys.executable, "-m", "build", "-q", "--outdir", tmp_path / "dist", ROOT, cwd=tmp_path)
    (wheel,), (source,) = ((tmp_path / "dist").glob(f"*.{end}") for end in ("whl", "tar.gz"))
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    assert {name.partition("/")[0] for name in names if "dist-info" not in name} == {"selftuning"}
    assert "selftuning/py.typed" in names
    with tarfile.open(source) as file:
        assert any(name.endswith("/LICENSE") for name in file.getnames())

    here = mine / ".venv"  # as people have it: inside of their own repository
    venv.create(here, with_pip=True)
    python = here / "bin/python"
    pip = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    run(*pip, "-c", ROOT / "constraints.txt", wheel, "openai-agents", "envs", cwd=mine)
    found = run(python, "-c", "import agents, envs; print(agents.__file__, envs)", cwd=tmp_path)
    assert str(here) in found
    said = "import selftuning.training.provenance as p; print(p.code_version())"
    assert run(python, "-c", said, cwd=mine).strip() == selftuning.__version__
    # The environments of our own are registered, whatever else is called envs.
    colours = "import selftuning as st; print(st.train('TwoColors', steps=100, progress=False))"
    run(python, "-c", colours, cwd=tmp_path)
    trains_evaluates_and_studies((here / "bin/selftuning",), mine)
