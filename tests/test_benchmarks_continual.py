"""Lives are scored by blocks, levels have their share of steps, and the page has what is kept."""

import json

import numpy as np
import pytest

from selftuning.benchmarks import record
from selftuning.benchmarks.continual import agents, lives, markdown
from selftuning.configs.errors import ConfigError
from selftuning.envs.changes import CHANGES
from selftuning.training.metrics import Episodes

CARTPOLE, ACROBOT = "ContinualCartPole-v0", "ContinualAcrobot-v0"
TEN, SHORT = lives.Schedule(10, lives.LEVEL_STEPS), lives.Schedule(10, 6400)


def lived(*ends):
    """Episodes from (environment steps, return, environment), in order of time."""
    env_steps, returns, env = zip(*sorted(ends), strict=True)
    steps = np.array(env_steps, np.int64)
    return Episodes(steps, np.array(returns, float), np.array(env), np.ones(len(steps), np.int64))


def test_blocks_count_alike_however_many_episodes_end_in_them():
    # Two levels of two blocks of 10 steps; 10 and 20 are the last steps of theirs.
    ends = (3, 1), (3, 2), (10, 6), (11, 5), (20, 7), (30, 100), (40, 50), (41, 1e9)
    episodes = lived(*((*end, 0) for end in ends))
    found = lives.score(episodes, 1, level_steps=20, levels=2, block=10)
    assert found == (np.mean([3, 6, 100, 50]), [4.5, 75.0])


def test_a_life_that_was_cut_short_has_no_score():
    episodes = lived((10, 4, 0), (20, 4, 0), (30, 4, 0))
    with pytest.raises(ValueError, match="1 blocks of 4"):
        lives.score(episodes, 1, level_steps=20, levels=2, block=10)


def test_the_score_is_that_of_the_protocol_with_several_environments():
    """Episodes of random lengths, cut at 400 steps and at the ends of blocks, scored by hand."""
    rng = np.random.default_rng(0)
    means, ends = np.zeros((2, 10)), []
    for env in range(2):
        time = 0
        for block in range(10):
            returns = []
            while time < 800 * (block + 1):
                time = min(time + int(rng.integers(1, 600)), time + 400, 800 * (block + 1))
                returns.append(rng.normal())
                ends.append((2 * time, returns[-1], env))
            means[env, block] = np.mean(returns)
    found = lives.score(lived(*ends), 2, level_steps=3200, levels=5)
    np.testing.assert_allclose(found.mean, np.mean(means))
    np.testing.assert_allclose(found.levels, means.reshape(2, 5, 2).mean(axis=(0, 2)))


@pytest.mark.parametrize("agent", agents.AGENTS)
def test_lives_have_the_steps_of_the_protocol(agent):
    settings = lives.life(CARTPOLE, agent, 3, TEN)
    assert settings.steps == 1_600_000 and settings.seed == 3
    assert settings.agent.anneal_learning_rate == (agent == "anneal")  # as practitioners do
    kwargs = settings.environment.env_kwargs
    assert kwargs["switch_every"] * settings.num_envs == 160_000
    assert (kwargs["change"], kwargs["levels"]) == ("offset", 10)
    assert (kwargs["block"], kwargs["change_seed"]) == (800, 3)
    assert (settings.tuning.method == "none") == agent.startswith(("untuned", "anneal"))
    assert (settings.agent.algorithm == "actor_critic") == ("actor_critic" in agent)


def test_levels_that_cannot_be_shared():
    with pytest.raises(ConfigError, match="level-steps"):
        lives.life(CARTPOLE, "default", 0, lives.Schedule(10, 1000))


@pytest.mark.parametrize("change", CHANGES)
def test_lives_have_the_change_that_is_asked_for(change):
    settings = lives.life(ACROBOT, "untuned", 0, TEN, change)
    assert settings.environment.env_kwargs["change"] == change


def test_the_best_fixed_setting_is_chosen_from_five_weights_and_three_rates():
    runs = (lives.life(ACROBOT, x, 0, SHORT) for x in ("untuned", *agents.GRID))
    settings = [run.hyperparameters for run in runs]
    tried = {(x["entropy"].start, x["learning_rate"].start) for x in settings}
    assert tried == {(w, r) for w in agents.WEIGHTS for r in agents.RATES}
    assert len(settings) == len(tried) == 15


def test_levels_that_come_often_have_settings_of_their_own_to_choose_from():
    runs = [lives.life(ACROBOT, x, 0, lives.OFTEN[ACROBOT]) for x in agents.OFTEN_GRID]
    tried = set()
    for run in runs:
        (name,) = {run.agent.regularize} & {"barrier"} or {"entropy"}
        at = run.hyperparameters
        tried.add((name, at[name].start, at["learning_rate"].start))
        assert run.tuning.method == "none" and run.agent.algorithm == "actor_critic"
    weights = [(name, weight) for name, found in agents.OFTEN_WEIGHTS for weight in found]
    assert tried == {(*x, rate) for x in weights for rate in agents.OFTEN_RATES}
    assert len(runs) == len(tried) == 24


@pytest.mark.parametrize("task", lives.OFTEN)
def test_lives_whose_changes_come_often_are_as_long_as_the_published_ones(task):
    settings = lives.life(task, "actor_critic, rate by a network", 3, lives.OFTEN[task])
    kwargs = settings.environment.env_kwargs
    levels, level_steps = lives.OFTEN[task]
    assert kwargs["levels"] * kwargs["switch_every"] * settings.num_envs == settings.steps
    assert kwargs["levels"] == levels and levels * level_steps in (1_600_000, 3_200_000)
    tuned = [name for name, x in settings.hyperparameters.items() if x.tuned]
    assert tuned == ["learning_rate"] and settings.tuning.context == "rich"


def result(task, agent, seed, score, level_steps=lives.LEVEL_STEPS, change="offset"):
    found = {"task": task, "change": change, "agent": agent, "seed": seed}
    found["level_steps"] = level_steps
    return found | {"score": score, "levels": [score + i for i in range(10)]}


def frequent(task, agent, seed, score, last_half):
    found = result(task, agent, seed, score, lives.OFTEN[task].level_steps, "actions")
    del found["levels"]
    found["num_levels"] = lives.OFTEN[task].levels
    return found | {"tenths": [2 * score - last_half] * 5 + [last_half] * 5}


RESULTS = [
    result(ACROBOT, "untuned", 0, -100.0),
    result(CARTPOLE, "untuned", 0, 100.0),
    result(CARTPOLE, "untuned", 1, 140.0),
    result(CARTPOLE, "untuned", 0, 30.0, change="actions"),
    result(CARTPOLE, "anneal", 0, 20.0, change="actions"),
]


_OTHER = "untuned, entropy 0.03, rate 0.003"
CHOICE = [
    result(ACROBOT, "default", 1000, -80.0),
    result(ACROBOT, "untuned", 1000, -100.0),
    result(ACROBOT, "untuned", 1001, -90.0),
    result(ACROBOT, _OTHER, 1000, -90.0),
    result(CARTPOLE, _OTHER, 1000, 7.0, change="actions"),
]


def cells(table, *first):
    (line,) = (x for x in table.splitlines() if x.startswith("| " + " | ".join(first) + " |"))
    return [x.strip() for x in line.strip("|").split("|")][len(first) :]


def test_tables_have_means_and_standard_errors():
    made = markdown.table(RESULTS)
    empty = "not measured"
    assert cells(made, "untuned") == ["-100.0, 1", "120.0 (20), 2", empty, empty]
    assert "default" not in made
    published = ["-372.7 (3.3), 6", "61.8 (6.9), 6", "-499.4 (19.6), 6", "-346.6 (4.6), 6"]
    assert cells(made, "*PPO, published*") == published
    levels = markdown.by_level(RESULTS)
    assert cells(levels, "CartPole", "untuned", "2") == [str(120 + i) for i in range(10)]
    assert "MountainCar" not in levels
    others = markdown.other_changes(RESULTS)
    assert cells(others, "actions", "untuned") == [empty, "30.0, 1", empty]
    assert cells(others, "actions", "anneal") == [empty, "20.0, 1", empty]
    assert "offset" not in others


def test_differences_are_over_the_seeds_that_two_agents_share():
    ours = [result(CARTPOLE, markdown.TUNED, seed, 10.0 * seed) for seed in range(5)]
    theirs = [result(CARTPOLE, "untuned", seed, 9.0 * seed) for seed in (0, 1, 2, 7)]
    few = [result(ACROBOT, agent, 0, 1.0) for agent in (markdown.TUNED, "untuned")]
    made = markdown.differences([*ours, *theirs, *few])
    # 0, 1 and 2: a mean of 1 and a standard error of 1 / sqrt(3), times Student's 4.303
    empty = "fewer than 3 seeds"
    row = [empty, "1.0 [-1.5, 3.5], 3", empty, empty]
    assert cells(made, "offset", "untuned") == row
    assert markdown.TUNED not in made


def test_lives_whose_changes_come_often_have_a_last_half():
    ours = [frequent(CARTPOLE, markdown.OFTEN_TUNED, seed, 10.0 * seed, 100) for seed in range(3)]
    theirs = [frequent(CARTPOLE, "actor_critic", seed, 9.0 * seed, 40) for seed in range(3)]
    lost = [x | {"score": None, "tenths": None} for x in ours[:1]]
    made, empty = markdown.often([*ours, *theirs]), "not measured"
    assert cells(made, "all", "actor_critic") == [empty, "9.0 (5.2), 3", empty]
    assert cells(made, "last half", markdown.OFTEN_TUNED) == [empty, "100.0 (0), 3", empty]
    (row,) = [x for x in markdown.often([*lost, *ours[1:]]).splitlines() if "last half" in x]
    assert "100.0 (0), 2; 1 diverged" in row
    ahead, few = markdown.often_differences([*ours, *theirs]), "fewer than 3 seeds"
    assert cells(ahead, "all", "actor_critic") == [few, "1.0 [-1.5, 3.5], 3", few]
    assert cells(ahead, "last half", "actor_critic") == [few, "60.0 [60.0, 60.0], 3", few]


def test_lives_that_diverged_are_said_where_they_are_missing():
    lost = result(CARTPOLE, "untuned", 2, 0.0) | {"score": None, "levels": None}
    row = cells(markdown.table([*RESULTS, lost]), "untuned")
    assert row[:2] == ["-100.0, 1", "120.0 (20), 2; 1 diverged"]
    assert markdown.by_level([*RESULTS, lost]) == markdown.by_level(RESULTS)
    assert markdown.choice([*CHOICE, lost | {"seed": 1000}]) == markdown.choice(CHOICE)


def test_a_life_that_is_stopped_has_no_result_and_one_that_diverged_no_score(tmp_path, monkeypatch):
    class Lived:
        interrupted, episodes = True, None
        summary = {"env_steps": 128, "wall_seconds": 1.0, "diverged": True}  # noqa: RUF012

    monkeypatch.setattr(lives.st, "train", lambda settings: Lived)
    with pytest.raises(KeyboardInterrupt):
        lives.measure(tmp_path, CARTPOLE, "untuned", 3, TEN)
    assert lives.kept(tmp_path, lives.published()) == []
    monkeypatch.setattr(Lived, "interrupted", False)
    lives.measure(tmp_path, CARTPOLE, "untuned", 3, TEN)
    (kept,) = lives.kept(tmp_path, lives.published())
    assert kept["score"] is None and kept["steps"] == 128


def test_the_best_of_the_fixed_settings_is_marked_and_no_other_agent():
    made, empty = markdown.choice(CHOICE), "not measured"
    assert cells(made, "offset", "default") == ["-80.0, 1", empty, empty, empty]
    assert cells(made, "offset", "untuned") == ["**-95.0, 2**", empty, empty, empty]
    assert cells(made, "offset", _OTHER) == ["-90.0, 1", empty, empty, empty]
    assert cells(made, "actions", _OTHER) == [empty, "**7.0, 1**", empty, empty]
    assert "all" not in made


def test_the_page_has_what_is_kept():
    text = markdown.PAGE.read_text(encoding="utf-8")
    often = [frequent(ACROBOT, markdown.OFTEN_TUNED, 0, -100, -90)]
    found = dict(zip(lives.RECORDED, (RESULTS, CHOICE, often, CHOICE[:1]), strict=True))
    written = markdown.render(text, found)
    made = markdown.table(RESULTS), markdown.by_level(RESULTS), markdown.other_changes(RESULTS)
    for table in (*made, markdown.choice(CHOICE)):
        assert table in written
    assert markdown.often_choice(CHOICE[:1]) in written
    assert markdown.often(often) in written and markdown.render(written, found) == written
    recorded = {
        name: json.loads((record.RESULTS / f"{name}.json").read_text())["runs"]
        for name in lives.RECORDED
    }
    assert markdown.render(text, recorded) == text  # nobody has changed a number by hand


def test_what_is_measured_is_not_measured_again(tmp_path, monkeypatch):
    class Lived:
        episodes = lived(*((800 * 8 * i, 10.0 * i, env) for i in range(1, 11) for env in range(8)))
        summary = {"env_steps": 65_536, "wall_seconds": 1.0, "diverged": False}  # noqa: RUF012
        interrupted = False

    made = []
    monkeypatch.setattr(lives.st, "train", lambda settings: made.append(settings) or Lived)
    short = lives.published(6400)
    for _ in range(2):
        lives.measure(tmp_path, CARTPOLE, "untuned, memory 5000, keeps all", 3, SHORT)
    assert len(made) == 1 and made[0].agent.normalization_memory == 5000
    (kept,) = lives.kept(tmp_path, short)
    assert (kept["score"], kept["steps"]) == (55, 65_536)
    assert kept["levels"] == [10.0 * i for i in range(1, 11)]
    lives.measure(tmp_path, CARTPOLE, "untuned", 3, SHORT)
    lives.measure(tmp_path, CARTPOLE, "untuned", 3, SHORT, "actions")
    assert [x["change"] for x in lives.kept(tmp_path, short)] == ["offset", "offset", "actions"]
    lives.measure(tmp_path, CARTPOLE, "untuned", lives.CHOICE, SHORT)
    assert len(lives.kept(tmp_path, short)) == 3  # by such a seed a setting is chosen
    assert [x["seed"] for x in lives.tried(tmp_path, short)] == [lives.CHOICE]
    for file in tmp_path.glob(f"{CARTPOLE}-untuned-*.json"):  # as earlier versions wrote them
        old = json.loads(file.read_text())
        del old["change"]
        file.write_text(json.dumps(old))
    assert {x["change"] for x in lives.kept(tmp_path, short)} == {"offset", "actions"}
    assert lives.kept(tmp_path, lives.published()) == []  # a short life is in no table


def test_of_lives_with_many_levels_the_tenths_are_kept(tmp_path, monkeypatch):
    class Lived:
        episodes = lived(*((800 * 4 * i, float(i), env) for i in range(1, 41) for env in range(4)))
        summary = {"env_steps": 128_000, "wall_seconds": 1.0, "diverged": False}  # noqa: RUF012
        interrupted = False

    monkeypatch.setattr(lives.st, "train", lambda settings: Lived)
    twenty = lives.Schedule(20, 6400)
    lives.measure(tmp_path, ACROBOT, markdown.OFTEN_TUNED, 3, twenty, "actions")
    (kept,) = lives.kept(tmp_path, {ACROBOT: twenty})
    assert kept["tenths"] == [4 * i + 2.5 for i in range(10)] and kept["score"] == 20.5
    assert lives.kept(tmp_path, {CARTPOLE: twenty}) == [] and "levels" not in kept
    # A life of ten such levels, to try things out, is another one.
    lives.measure(tmp_path, ACROBOT, markdown.OFTEN_TUNED, 3, SHORT, "actions")
    assert len([*tmp_path.iterdir()]) == 2
    assert lives.kept(tmp_path, {ACROBOT: twenty}) == [kept]
