"""Contestants take turns, and what is made of their times; then all of it, small."""

import json

import pytest
from rich.console import Console

from selftuning.benchmarks import two_colors_speed
from selftuning.benchmarks.speed import agents, bench, turns
from selftuning.benchmarks.speed.turns import Contestant
from selftuning.configs import bench as bench_settings
from selftuning.configs import cli
from selftuning.configs.bench import BenchSettings
from selftuning.configs.errors import ConfigError
from selftuning.configs.validate import validate


class Clock:
    """Time that passes only when a contestant spends it."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def contestant(self, name, seconds, steps=100, flops=0.0, group="group"):
        times = iter(seconds)

        def turn():
            self.log.append(name)
            self.now += next(times)

        def prepare():
            self.now += 7.0
            return turn, steps

        return Contestant(group, name, prepare, flops)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(turns.time, "perf_counter", lambda: clock.now)
    return clock


def test_contestants_take_turns_and_the_first_round_does_not_count(clock):
    # The machine is ten times slower in the second round, for both.
    one = clock.contestant("one", [99.0, 1.0, 10.0, 2.0], flops=3.0)
    two = clock.contestant("two", [99.0, 2.0, 20.0, 2.0], steps=50)
    results = turns.measure([one, two], 3, lambda: 600.0)
    assert clock.log == ["one", "two"] * 4
    assert results[0].steps_per_second == [100.0, 10.0, 50.0]
    assert results[1].steps_per_second == [25.0, 2.5, 25.0]
    assert turns.rate(results[0]) == 50.0
    assert turns.ratio(results[1], results[0]) == 0.25  # not 25 / 50
    assert results[0].of_peak == [0.5, 0.05, 0.25] and results[0].peak == [600.0] * 3
    assert [result.compile_seconds for result in results] == [7.0, 7.0]


def test_a_report_compares_within_groups_and_with_others(clock):
    ours = [
        clock.contestant(name, [1.0, seconds, seconds], group=group)
        for group in ("small", "large")
        for name, seconds in ((agents.A2C, 1.0), (agents.EVERY_FOURTH, 2.0))
    ]
    other = clock.contestant("PPO", [1.0, 4.0, 4.0], group=agents.OTHERS)
    contestants = [*ours, other]
    results = turns.measure(contestants, 2, lambda: 1.0)
    report = bench.report(BenchSettings(), contestants, results)
    assert [row["of_a2c"] for row in report["rows"]] == [1.0, 0.5, 1.0, 0.5, None]
    assert report["rows"][-1]["self_tuning_to"] == {"small": 2.0, "large": 2.0}
    assert report["rows"][0]["self_tuning_to"] is None
    assert json.loads(json.dumps(report["rows"])) == report["rows"]
    assert [table.title for table in bench.tables(report["rows"])] == [
        "small",
        "large",
        agents.OTHERS,
    ]


def test_ours_differ_from_the_preset_in_what_their_names_say():
    names = agents
    for name in (names.A2C, names.MG, names.BMG, names.EVERY_FOURTH):
        settings = names.settings_of(name, 256, 64, "jax")
        validate(settings)
        cycle = settings.tuning.period * settings.agent.rollout_length * settings.num_envs
        assert names.STEPS % cycle == 0
        assert settings.agent.hidden == (64, 64)
    tuning = names.settings_of(names.MG, 256, 64, "jax").tuning
    assert (tuning.method, tuning.inner_steps, tuning.period) == ("mg", 1, 1)


@pytest.mark.slow
def test_the_whole_bench(tmp_path):
    tiny = BenchSettings(num_envs=(4,), widths=(8,), repeats=1, scale=0.01)
    console = Console(record=True, width=100)
    out = bench.run(tiny, tmp_path / "out", console)
    result = json.loads((out / bench.RESULT).read_text())
    names = [row["name"] for row in result["rows"] if row["group"] != agents.OTHERS]
    assert len(names) == 12 and names[:6] == names[6:]
    for row in result["rows"]:
        assert row["steps_per_second"] > 0 and row["compile_seconds"] > 0
    said = console.export_text()
    assert "4 environments, 8 x 2, jax" in said and "64 environments, 8 x 2, host" in said
    with pytest.raises(ConfigError, match="is not empty"):
        bench.run(tiny, out, console)


def test_bench_flags():
    assert cli.parse(["bench"]) == cli.Bench(BenchSettings(), None)
    command = cli.parse(["bench", "--quick", "--num-envs", "8", "16", "--repeats", "3"])
    assert command == cli.Bench(BenchSettings((8, 16), (64,), 3), None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": (0,)}, "num_envs: 0 is not allowed; .* between 1 and 131072"),
        ({"widths": (64, 64)}, "widths: 64 64 has one of them twice"),
        ({"repeats": 0}, "repeats: 0 is not allowed"),
        ({"scale": 0.0}, "scale: 0.0 is not allowed"),
    ],
)
def test_what_cannot_be_measured_is_an_error(changes, message):
    with pytest.raises(ConfigError, match=message):
        bench_settings.settings(**changes)


def test_the_contestants_of_two_colors_are_allowed_and_take_whole_cycles():
    for settings in two_colors_speed.contestants().values():
        validate(settings)
        cycle = settings.tuning.period * settings.agent.rollout_length * settings.num_envs
        assert two_colors_speed.STEPS % cycle == 0
        assert sum(two_colors_speed.flops_of(settings).values()) > 1e6
