"""CONTRIBUTING.md is true: its diffs apply, touch two files at most, and what they add works."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent
PARTS = ("agents", "benchmarks", "configs", "envs", "metagrad", "studies", "training")

# Uses one of each, which the diffs add from outside of what is installed.
USES = """
import jax
import numpy as np

import selftuning as st
from decayed import decay, decayed
from reinforce import reinforce
from residual import residual
from returns_alone import returns_alone
from steady import steadiness
from selftuning.configs import studies
from selftuning.envs import registry

assert st.__file__.startswith({root!r})
assert registry.in_graph("Drift")
own = st.train(
    "Drift", steps=4096, start={{"reward_scale": 0.5}}, tune=["reward_scale"], progress=False,
    meta_optimizer="adam",  # which moves at once; ftrl waits for evidence
    extensions=[steadiness, returns_alone, residual, decay, decayed],
)
for name, start in (("reward_scale", 0.5), ("steadiness", 0.01), ("decay", 0.02)):
    path = own.hyperparameters[name]
    assert np.isfinite(path).all() and path[-1] != np.float32(start), name
shapes = [x.shape for x in jax.tree.leaves(own.agent.params)]
assert shapes.count((64, 64)) == 2, "a torso of its own for policy and value"

# With rollouts and a learning rate for a single update on each.
learned = st.train(
    "CartPole", steps=100_000, preset="actor_critic", extensions=[reinforce], meta="none",
    progress=False,
)
assert learned.returns[-1] > 2 * learned.returns[10]

method = studies.METHODS["bmg_long"]
assert method.changes["tuning"]["target_steps"] == 4 and "bmg_long" in studies.help_text()
"""


def diffs() -> dict[str, str]:
    """The diff of each section, by its heading."""
    found, heading = {}, ""
    tokens = MarkdownIt().parse((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and after is not None:
            heading = after.content
        if token.type == "fence" and token.info == "diff":
            assert heading not in found
            found[heading] = token.content
    return found


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A copy of the project with all diffs applied, in their order."""
    copy = tmp_path_factory.mktemp("changed")
    for name in PARTS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("results"))
    shutil.copytree(ROOT / "selftuning", copy / "selftuning", symlinks=True)
    for heading, diff in diffs().items():
        applied = subprocess.run(
            ["git", "apply", "--verbose", "-"],
            cwd=copy,
            input=diff,
            capture_output=True,
            text=True,
            check=False,
        )
        assert applied.returncode == 0, f"{heading}: {applied.stderr}"
    return copy


def test_there_is_a_recipe_for_everything():
    added = "hyperparameter|loss term|outer objective|torso|update rule|algorithm|environment|study"
    assert len(diffs()) == 8
    for what in added.split("|"):
        assert any(what in heading for heading in diffs()), what


@pytest.mark.parametrize("heading", diffs())
def test_a_recipe_changes_two_files_at_most(heading):
    changes = re.findall(r"^--- a/(.*)$", diffs()[heading], re.MULTILINE)
    added = re.findall(r"^--- /dev/null$", diffs()[heading], re.MULTILINE)
    assert len(changes) + len(added) >= 1 and len(changes) <= 2 and len(added) <= 1


def test_recipes_apply(changed):
    assert (changed / "envs" / "drift.py").exists()


@pytest.mark.slow
def test_what_recipes_add_works(changed):
    (changed / "uses.py").write_text(USES.format(root=str(changed)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "uses.py"], cwd=changed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
