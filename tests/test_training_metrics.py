"""Episode statistics, logs, plots and progress, on small arrays with known answers."""

import io
import json
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from configs.settings import default_hyperparameters
from training import plots
from training.metrics import Episodes, EpisodeStatistics, Log, finished_episodes
from training.progress import PlainProgress, Snapshot, make_progress


def read_events(path):
    """Events of a TensorBoard file: records of length, checksum, message, checksum."""
    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events


def test_finished_episodes_are_in_time_order_with_their_step():
    # Two cycles of two steps of three environments.
    end = np.zeros((2, 2, 3), bool)
    returns = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    end[0, 1, 2] = end[0, 1, 0] = end[1, 0, 1] = True
    episodes = finished_episodes(end, returns, steps_before=100)
    np.testing.assert_array_equal(episodes.returns, [3, 5, 7])
    np.testing.assert_array_equal(episodes.env_steps, [106, 106, 109])


@pytest.mark.parametrize("cuts", [[], [100], [1, 2, 99, 101, 250], list(range(0, 300, 7))])
def test_solved_does_not_depend_on_the_chunks(cuts):
    returns = np.concatenate([np.zeros(150), np.full(150, 10.0)])
    env_steps = np.arange(300) * 5
    statistics = EpisodeStatistics(threshold=5.0)
    for part in np.split(np.arange(300), cuts):
        statistics.add(Episodes(env_steps[part], returns[part]))
    # Half of the last 100 are at 10 when 50 of those have ended: episode 199, the first being 0.
    assert statistics.solved_at == 199 * 5
    assert statistics.last_mean == 10.0
    assert statistics.count == 300
    np.testing.assert_array_equal(statistics.all.returns, returns)


def test_it_takes_a_hundred_episodes_to_solve():
    statistics = EpisodeStatistics(threshold=5.0)
    statistics.add(Episodes(np.arange(99), np.full(99, 10.0)))
    assert statistics.solved_at is None and statistics.last_mean == 10.0
    statistics.add(Episodes(np.asarray([99]), np.asarray([10.0])))
    assert statistics.solved_at == 99


def test_without_episodes_or_threshold_there_is_no_answer():
    statistics = EpisodeStatistics(threshold=None)
    statistics.add(Episodes(np.zeros(0, np.int64), np.zeros(0)))
    assert statistics.last_mean is None
    statistics.add(Episodes(np.arange(500), np.full(500, 1e9)))
    assert statistics.solved_at is None


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
    (file,) = (tmp_path / "tensorboard").iterdir()
    values = [(e.step, v.tag, v.simple_value) for e in read_events(file) for v in e.summary.value]
    assert values == [(16, "a", 1.5), (32, "a", 2.5)]


def test_plots_can_be_drawn_of_little_and_of_boundary_values(tmp_path):
    none = Episodes(np.zeros(0, np.int64), np.zeros(0))
    some = Episodes(np.arange(150), np.arange(150.0))
    plots.learning_curve(tmp_path / "none.png", "none", none, None)
    plots.learning_curve(tmp_path / "some.png", "some", some, 100.0)
    settings = default_hyperparameters()
    for path, count in (("no_cycle.png", 0), ("cycles.png", 5000)):
        values = {name: np.linspace(spec.start, spec.low, count) for name, spec in settings.items()}
        values["lambda"] = np.ones(count)
        tuned = dict.fromkeys(settings, True)
        plots.hyperparameter_paths(
            tmp_path / path, "paths", np.arange(count), values, settings, tuned
        )
    for path in tmp_path.iterdir():
        assert min(Image.open(path).size) > 200


@example(low=0.2727272727272727, factor=9.0, name="gamma")
@given(
    low=st.floats(1e-7, 10.0), factor=st.floats(9.0, 1e7), name=st.sampled_from(["gamma", "critic"])
)
def test_axes_have_a_few_round_ticks(low, factor, name):
    high = low * factor
    if name == "gamma":
        low, high = low / (1 + low), high / (1 + high)
    ticks = plots._ticks(name, low, high)
    assert ticks == sorted(set(ticks)) and all(low <= tick <= high for tick in ticks)
    assert 2 <= len(ticks) <= 16


def test_plain_progress_prints_about_ten_lines():
    console = Console(file=io.StringIO())
    with make_progress(console, 1000) as progress:
        assert isinstance(progress, PlainProgress)
        for step in range(5, 1001, 5):
            progress.update(Snapshot(step, step / 100, 100.0, 12.5, {"gamma": 0.99}))
    lines = console.file.getvalue().splitlines()
    assert 10 <= len(lines) <= 12
    assert "1,000 steps 100%" in lines[-1]
    assert "return 12.5" in lines[-1] and "gamma 0.99" in lines[-1] and "0 s left" in lines[-1]


def test_live_progress_shows_the_numbers():
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with make_progress(console, 1000) as progress:
        progress.update(Snapshot(500, 1.0, 20_000.0, None, {"gamma": 0.5, "entropy": 0.01}))
    shown = console.file.getvalue()
    assert "20k steps/s  return -  gamma 0.5  entropy 0.01" in shown and "500 of 1,000" in shown
