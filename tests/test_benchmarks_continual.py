"""Lives are scored by blocks, levels have their share of steps, and the page has what is kept."""

import json

import numpy as np
import pytest

from selftuning.benchmarks import continual
from selftuning.configs.errors import ConfigError
from selftuning.training.metrics import Episodes

CARTPOLE, ACROBOT = "ContinualCartPole-v0", "ContinualAcrobot-v0"


def lived(*ends):
    """Episodes from (environment steps, return)."""
    env_steps, returns = zip(*ends, strict=True)
    return Episodes(np.array(env_steps, np.int64), np.array(returns, float))


def test_blocks_count_alike_however_many_episodes_end_in_them():
    # Two levels of two blocks of 10 steps; 10 and 20 are the last steps of theirs.
    episodes = lived((3, 1), (3, 2), (10, 6), (11, 5), (20, 7), (35, 100), (40, 50), (41, 1e9))
    found = continual.score(episodes, level_steps=20, levels=2, block=10)
    assert found == (np.mean([3, 6, 75]), [4.5, 75.0], 1)  # none ended in steps 21 to 30


def test_a_level_without_ends_has_no_mean():
    found = continual.score(lived((20, 4)), level_steps=20, levels=2, block=10)
    assert found.mean == 4 and found.levels[0] == 4 and np.isnan(found.levels[1])
    assert found.empty == 3


def test_the_score_of_one_environment_is_that_of_the_protocol():
    """Episodes of random lengths, cut at 400 steps and at the ends of blocks, scored by hand."""
    rng = np.random.default_rng(0)
    means, ends, time = [], [], 0
    for block in range(1, 11):
        returns = []
        while time < 800 * block:
            time = min(time + int(rng.integers(1, 600)), time + 400, 800 * block)
            returns.append(rng.normal())
            ends.append((time, returns[-1]))
        means.append(np.mean(returns))
    found = continual.score(lived(*ends), level_steps=1600, levels=5)
    assert found.empty == 0
    np.testing.assert_allclose(found.mean, np.mean(means))
    np.testing.assert_allclose(found.levels, np.reshape(means, (5, 2)).mean(axis=1))


@pytest.mark.parametrize("agent", continual.AGENTS)
def test_lives_have_the_steps_of_the_protocol(agent):
    settings = continual.life(CARTPOLE, agent, 3, continual.LEVEL_STEPS)
    assert settings.steps == 1_600_000 and settings.seed == 3
    assert not settings.agent.anneal_learning_rate
    kwargs = settings.environment.env_kwargs
    assert kwargs["switch_every"] * settings.num_envs == 160_000
    assert (kwargs["change"], kwargs["levels"]) == ("offset", 10)
    assert (kwargs["block"], kwargs["change_seed"]) == (800, 3)
    assert (settings.tuning.method == "none") == agent.startswith("untuned")
    assert (settings.agent.algorithm == "actor_critic") == agent.endswith("actor_critic")


def test_levels_that_cannot_be_shared():
    with pytest.raises(ConfigError, match="level-steps"):
        continual.life(CARTPOLE, "default", 0, 1000)


def result(task, agent, seed, score, level_steps=continual.LEVEL_STEPS):
    found = {"task": task, "agent": agent, "seed": seed, "level_steps": level_steps}
    return found | {"score": score, "levels": [score + i for i in range(9)] + [None]}


RESULTS = [
    result(ACROBOT, "untuned", 0, -100.0),
    result(CARTPOLE, "untuned", 0, 100.0),
    result(CARTPOLE, "untuned", 1, 140.0),
]


def cells(table, *first):
    (line,) = (x for x in table.splitlines() if x.startswith("| " + " | ".join(first) + " |"))
    return [x.strip() for x in line.strip("|").split("|")][len(first) :]


def test_tables_have_means_and_standard_errors():
    made = continual.table(RESULTS)
    empty = "not measured"
    assert cells(made, "untuned") == ["-100.0, 1", "120.0 (20), 2", empty, empty]
    assert cells(made, "default") == [empty] * 4
    published = ["-372.7 (3.3), 6", "61.8 (6.9), 6", "-499.4 (19.6), 6", "-346.6 (4.6), 6"]
    assert cells(made, "*PPO, published*") == published
    levels = continual.by_level(RESULTS)
    assert cells(levels, "CartPole", "untuned", "2") == [str(120 + i) for i in range(9)] + ["-"]
    assert "MountainCar" not in levels


def test_the_page_has_what_is_kept():
    text = continual.PAGE.read_text(encoding="utf-8")
    written = continual.render(text, RESULTS)
    assert continual.table(RESULTS) in written and continual.by_level(RESULTS) in written
    assert continual.render(written, RESULTS) == written
    file = continual.DOCS.parent / "benchmarks/results/continual.json"
    recorded = json.loads(file.read_text())["runs"] if file.exists() else []
    assert continual.render(text, recorded) == text  # nobody has changed a number by hand


def test_what_is_measured_is_not_measured_again(tmp_path, monkeypatch):
    class Lived:
        episodes = lived((800, 10), (1600, 20))
        summary = {"env_steps": 16_384, "wall_seconds": 1.0}  # noqa: RUF012

    made = []
    monkeypatch.setattr(continual.st, "train", lambda settings: made.append(settings) or Lived)
    monkeypatch.setattr(continual, "LEVEL_STEPS", 1600)
    for _ in range(2):
        continual.measure(tmp_path, CARTPOLE, "untuned, memory 5000", 3, 1600)
    assert len(made) == 1 and made[0].agent.normalization_memory == 5000
    (kept,) = continual.kept(tmp_path)
    assert (kept["score"], kept["steps"], kept["empty_blocks"]) == (15, 16_384, 18)
    assert kept["levels"] == [15, *[None] * 9]
    monkeypatch.setattr(continual, "LEVEL_STEPS", 3200)
    assert continual.kept(tmp_path) == []  # a short life is in no table
