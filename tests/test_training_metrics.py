"""Episode statistics, logs, plots and progress, on small arrays with known answers."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from selftuning.configs.hyperparameters import BUILT_IN, default_hyperparameters
from selftuning.configs.settings import RunSettings
from selftuning.envs.task import TaskSpec
from selftuning.training import divergence, learning_plots, plots, report
from selftuning.training.metrics import (
    Episodes,
    EpisodeStatistics,
    RewardStatistics,
    finished_episodes,
    first_window,
)
from selftuning.training.progress import (
    describe,
)
from selftuning.training.recorder import Recorder
from selftuning.training.runner import CycleMetrics
from selftuning.training.sinks import Log

SETTINGS = RunSettings()
THREE = RunSettings(num_envs=3)


def read_events(path):
    """Events of a TensorBoard file: records of length, checksum, message, checksum."""
    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events


def episodes(env_steps, returns):
    """Those of a single environment."""
    none = np.zeros(len(returns), np.int32)
    return Episodes(env_steps, returns, none, np.diff(env_steps, prepend=0))


def test_finished_episodes_are_in_time_order_with_their_step():
    # Two cycles of two steps of three environments.
    end = np.zeros((2, 2, 3), bool)
    returns = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    end[0, 1, 2] = end[0, 1, 0] = end[1, 0, 1] = True
    found = finished_episodes(end, returns, steps_before=100)
    np.testing.assert_array_equal(found.returns, [3, 5, 7])
    np.testing.assert_array_equal(found.env_steps, [106, 106, 109])
    np.testing.assert_array_equal(found.env, [0, 2, 1])
    np.testing.assert_array_equal(found.lengths, [2, 2, 3])
    begun = np.array([97, 100, 40])  # the first one ended just before, the last one goes on
    np.testing.assert_array_equal(finished_episodes(end, returns, 100, begun).lengths, [3, 22, 3])


@pytest.mark.parametrize("cuts", [[], [1], [3, 4, 11], list(range(1, 30))])
def test_lengths_are_those_that_were_played_wherever_chunks_are_cut(cuts):
    """As counted step by step."""
    rng = np.random.default_rng(0)
    end = rng.random((30, 4, 3)) < 0.15
    played, expected = np.zeros(3, int), []
    for row in end.reshape(-1, 3):
        played += 1
        expected += played[row].tolist()
        played[row] = 0
    recorder = Recorder(TaskSpec("Task-v0", None, None, None, None, "jax"), THREE, 12)
    for part in np.split(end, cuts):
        recorder.take(recorder._chunk(metrics_of(part)))
    assert recorder.episodes.all.lengths.tolist() == expected
    assert recorder.episodes.last_length == pytest.approx(np.mean(expected[-100:]))
    # What earlier versions have written is without them, and they are the same.
    old = Recorder(recorder.spec, THREE, 12)
    for part in np.split(np.arange(30), cuts):
        chunk = recorder._chunk(metrics_of(end[part]))
        steps = finished_episodes(end[part], end[part], 12 * int(part[0])).env_steps
        episodes = chunk.episodes._replace(env_steps=steps, lengths=np.zeros(0, np.int64))
        old.take(chunk._replace(episodes=episodes))
    assert old.episodes.all.lengths.tolist() == expected


def metrics_of(end):
    """Cycles [N, S, B] in which nothing but ends of episodes matters."""
    values = {name: np.zeros(len(end)) for name in THREE.in_use}
    rewards = np.zeros(len(end), np.float32)
    return CycleMetrics(end, end.astype(np.float32), rewards, values, {}, {}, {})


def test_the_first_window_is_the_first_of_all():
    rng = np.random.default_rng(0)
    for window in (1, 10, 100):
        returns = rng.normal(np.linspace(0, 100, 400), 20)
        means = [returns[n - window + 1 : n + 1].mean() for n in range(window - 1, 400)]
        first = next(n for n, mean in enumerate(means) if mean >= 60) + window - 1
        assert first_window(returns, 60, window) == first
        assert first_window(returns[:first], 60, window) is None
    assert first_window(np.zeros(99), 0.0) is None


def test_what_is_reached_says_how_many_steps_its_window_took():
    statistics = EpisodeStatistics(threshold=5.0)
    returns = np.concatenate([np.zeros(150), np.full(150, 10.0)])
    statistics.add(episodes(np.arange(1, 301) * 7, returns))
    assert statistics.reached() == (200 * 7, 100 * 7)
    assert statistics.reached(10) == (155 * 7, 10 * 7)
    early = EpisodeStatistics(threshold=5.0)
    early.add(episodes(np.arange(1, 101) * 7, np.full(100, 10.0)))
    assert early.reached() == (700, 700) and early.solved_at == 700


@pytest.mark.parametrize("cuts", [[], [100], [1, 2, 99, 101, 250], list(range(0, 300, 7))])
def test_solved_does_not_depend_on_the_chunks(cuts):
    returns = np.concatenate([np.zeros(150), np.full(150, 10.0)])
    env_steps = np.arange(300) * 5
    statistics = EpisodeStatistics(threshold=5.0)
    for part in np.split(np.arange(300), cuts):
        statistics.add(episodes(env_steps[part], returns[part]))
    # Half of the last 100 are at 10 when 50 of those have ended: episode 199, the first being 0.
    assert statistics.solved_at == 199 * 5
    assert statistics.last_mean == 10.0
    assert statistics.count == 300
    np.testing.assert_array_equal(statistics.all.returns, returns)


def test_it_takes_a_hundred_episodes_to_solve():
    statistics = EpisodeStatistics(threshold=5.0)
    statistics.add(episodes(np.arange(99), np.full(99, 10.0)))
    assert statistics.solved_at is None and statistics.last_mean == 10.0
    statistics.add(episodes(np.asarray([99]), np.asarray([10.0])))
    assert statistics.solved_at == 99


def test_without_episodes_or_threshold_there_is_no_answer():
    statistics = EpisodeStatistics(threshold=None)
    statistics.add(episodes(np.zeros(0, np.int64), np.zeros(0)))
    assert statistics.last_mean is None
    statistics.add(episodes(np.arange(500), np.full(500, 1e9)))
    assert statistics.solved_at is None


@pytest.mark.parametrize("cuts", [[], [1], [10, 11, 50]])
def test_rewards_do_not_depend_on_the_chunks(cuts):
    # Means of 91 cycles of two steps of three environments: the last ten are the last tenth.
    reward = np.arange(91 * 6, dtype=np.float32).reshape(91, 2, 3)
    statistics = RewardStatistics(6)
    assert statistics.last_mean is None and statistics.total == 0.0
    for part in np.split(reward, cuts):
        assert statistics.add(part.mean((1, 2))) == pytest.approx(part.mean())
    assert statistics.total == reward.sum(dtype=np.float64)
    np.testing.assert_allclose(statistics.cycles, 2.5 + 6 * np.arange(91))
    assert statistics.last_mean == pytest.approx(reward[-10:].mean())


def test_trailing_means_end_with_the_last_value():
    ends, means = plots._trailing_means(np.arange(11.0), window=4, stride=3)
    np.testing.assert_array_equal(ends, [5, 8, 11])
    np.testing.assert_allclose(means, [2.5, 5.5, 8.5])
    assert len(plots._trailing_means(np.arange(3.0), 4, 1)[0]) == 0


def cycle_metrics(ends, heads):
    """Three cycles of two steps of one environment, with rewards 0 to 5."""
    reward = np.arange(6, dtype=np.float32).reshape(3, 2, 1)
    values = {name: np.full(3, h.start, np.float32) for name, h in SETTINGS.in_use.items()}
    if heads:
        values["gamma"] = np.tile(np.float32([0.9, 0.99]), (3, 1))
    means, fine = reward.mean((1, 2)), {"parameters": np.full(3, divergence.NONE)}
    learning = {"entropy": np.array([np.nan, 0.5, 0.25]), "kl": np.full(3, np.nan)}
    end, info = np.full(reward.shape, ends), {"x": np.ones(3)}
    return CycleMetrics(end, reward, means, values, info, fine, learning)


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("ends", [False, True])
def test_recorder_tells_tasks_with_and_without_episodes(ends, heads, tmp_path, monkeypatch):
    spec = TaskSpec("Task-v0", None, None, None, None, "jax")
    log = Log(tmp_path)
    recorder = Recorder(spec, replace(SETTINGS, num_envs=1), 2, log)
    snapshot = recorder.add(cycle_metrics(ends, heads))
    recorder.add(cycle_metrics(ends, heads))
    log.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    line = json.loads(text.splitlines()[-1])
    assert line["reward_per_step"] == snapshot.reward_per_step == 2.5
    assert line["env_steps"] == 12 and "NaN" not in text
    assert (line["return_mean_100"] is None) == (snapshot.mean_return is None) == (not ends)
    assert ("return" in describe(snapshot)) == ends
    assert ("reward 2.5 a step" in describe(snapshot)) == (not ends)
    assert line["learning/entropy"] == 0.375 and line["learning/kl"] is None
    assert line["episode_length"] == (1 if ends else None)
    table = (tmp_path / "episodes.csv").read_text().splitlines()
    assert table[0] == "env_steps,env,return,length"
    assert table[1:3] == (["1,0,0.0,1", "2,0,1.0,1"] if ends else [])
    (file,) = tmp_path.glob("events*")
    tags = {value.tag for event in read_events(file) for value in event.summary.value}
    assert {"episodes/reward_per_step", "learning/entropy", "time/steps_per_second"} <= tags
    assert ("episodes/return_mean_100" in tags) == ("episodes/episode_length" in tags) == ends
    assert "learning/kl" not in tags
    last = {name: x[-1] for name, x in cycle_metrics(ends, heads).hyperparameters.items()}
    end = recorder.hyperparameters(last)
    assert end["gamma"]["end"] == ([0.9, 0.99] if heads else 0.99)
    if heads:
        assert "hyperparameters/gamma" not in line
        assert [line[f"hyperparameters/gamma/{head}"] for head in (0, 1)] == [0.9, 0.99]
    else:
        assert line["hyperparameters/gamma"] == 0.99
    drawn = []
    for name in ("learning_curve", "reward_curve"):
        monkeypatch.setattr(plots, name, lambda *args, name=name: drawn.append((name, args)))
    recorder.plot(tmp_path)
    ((name, arguments),) = drawn
    assert name == ("learning_curve" if ends else "reward_curve")
    if not ends:
        assert arguments[2] == 2
        np.testing.assert_allclose(arguments[3], [0.5, 2.5, 4.5] * 2)
    for drawn in ("hyperparameters.png", "learning.png"):
        assert min(Image.open(tmp_path / "plots" / drawn).size) > 200


def test_log_writes_lines_and_events(tmp_path):
    log = Log(tmp_path)
    log.write(16, {"a": 1.5, "b/c": None, "d": float("nan")})
    log.write(32, {"a": 2.5})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"env_steps": 16, "a": 1.5, "b/c": None, "d": None},
        {"env_steps": 32, "a": 2.5},
    ]
    (file,) = tmp_path.glob("events*")
    values = [(e.step, v.tag, v.simple_value) for e in read_events(file) for v in e.summary.value]
    assert values == [(16, "a", 1.5), (32, "a", 2.5)]


def test_plots_can_be_drawn_of_little_and_of_boundary_values(tmp_path):
    none = episodes(np.zeros(0, np.int64), np.zeros(0))
    some = episodes(np.arange(150), np.arange(150.0))
    plots.learning_curve(tmp_path / "none.png", "none", none, None)
    plots.learning_curve(tmp_path / "some.png", "some", some, 100.0)
    for cycles in (0, 1, 7, 5003):
        plots.reward_curve(tmp_path / f"reward{cycles}.png", "some", 16, np.arange(float(cycles)))
    settings = default_hyperparameters()
    for path, count in (("no_cycle.png", 0), ("cycles.png", 5000)):
        values = {name: np.linspace(spec.start, spec.low, count) for name, spec in settings.items()}
        values["lambda"] = np.ones(count)
        tuned = dict.fromkeys(settings, True)
        steps, found = np.arange(count), dict.fromkeys(settings, "noise +0.4 sd")
        plots.hyperparameter_paths(
            tmp_path / path, "paths", steps, values, settings, tuned, BUILT_IN, found
        )
    for path in tmp_path.iterdir():
        assert min(Image.open(path).size) > 200


@example(low=0.2727272727272727, factor=9.0, scale="unit")
@given(
    low=st.floats(1e-7, 10.0), factor=st.floats(9.0, 1e7), scale=st.sampled_from(["unit", "log"])
)
def test_axes_have_a_few_round_ticks(low, factor, scale):
    high = low * factor
    if scale == "unit":
        low, high = low / (1 + low), high / (1 + high)
    ticks = plots._ticks(scale, low, high)
    assert ticks == sorted(set(ticks)) and all(low <= tick <= high for tick in ticks)
    assert 2 <= len(ticks) <= 16


def test_a_sum_of_rewards_that_misses_the_threshold_by_rounding_has_solved_it():
    total, steps = sum([0.1] * 1000), np.arange(1, 101) * 1000
    assert total < 100.0
    for threshold, solved_at in ((100.0, 100_000), (100.001, None)):
        statistics = EpisodeStatistics(threshold)
        statistics.add(episodes(steps, np.full(100, total)))
        assert statistics.solved_at == solved_at


@pytest.mark.parametrize(("threshold", "word"), [(475.0, "above"), (-90.0, "below"), (12.0, "")])
def test_a_threshold_far_from_the_data_does_not_squeeze_them(threshold, word):
    axes = Figure().subplots()
    axes.plot([0.0, 1.0], [0.0, 10.0])
    before = axes.get_ylim()
    plots._draw_threshold(axes, threshold)
    low, high = axes.get_ylim()
    assert (axes.get_ylim() == before) == bool(word)
    assert high - low < 2 * (before[1] - before[0])
    assert [text.get_text() for text in axes.texts] == (
        [f"threshold {threshold:g} ({word})"] * bool(word)
    )


@pytest.mark.parametrize(
    ("values", "low", "high", "limits"),
    [
        ([0.2, 0.8], -1.0, 1.0, (0.2, 0.8)),
        ([-50.0, 0.8], -1.0, 1.0, (-1.0, 0.8)),
        ([-50.0, -5.0], -1.0, 1.0, (-1.0, 1.0)),  # none of it is of interest
        ([-1e-9, 3.0], 0.0, None, (0.0, 3.0)),
        ([0.0, 0.0], 0.0, None, (0.0, 1.0)),
        ([-4.0, 2.0], None, None, (-4.0, 2.0)),
    ],
)
def test_panels_show_what_is_of_interest(values, low, high, limits):
    drawn = min(values), max(values)
    assert learning_plots._limits(drawn, np.array(values), low, high) == limits


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "of the only episode"),
        (2, "mean of all 2 episodes"),
        (100, "mean of the last 100 episodes"),
    ],
)
def test_a_mean_says_of_how_many_episodes_it_is(count, said):
    assert report._mean_of(count) == said


def test_what_is_solved_says_when_the_policy_was_first_that_good():
    summary = dict.fromkeys(
        ("solved_at_env_steps", "solved_window_env_steps", "reached_at_env_steps")
    )
    assert list(report._solved(summary | {"greedy_reached_at_env_steps": None})) == []
    known = summary | {
        "reward_threshold": 475.0,
        "reached_at_env_steps": 51_200,
        "greedy_reached_at_env_steps": 48_000,
    }
    rows = list(report._solved(known))
    assert rows == [("reached 475", "step 51,200 (10 episodes), step 48,000 (greedy)")]
    solved = known | {"solved_at_env_steps": 93_000, "solved_window_env_steps": 49_512}
    (row, first) = report._solved(solved)
    assert first == rows[0]
    assert row == ("solved", "step 93,000 (mean of 100 episodes, over 49,512 steps)")
