"""When a run counts as solved in the benchmark of starting up, and many seeds in one program."""

import json

import pytest

from selftuning.benchmarks import startup
from selftuning.benchmarks.speed import agents
from selftuning.configs import presets


def test_a_log_says_when_a_run_is_solved(tmp_path):
    log = tmp_path / "metrics.jsonl"
    assert not startup.has_solved(log)
    rows = [json.dumps({"return_mean_100": mean}) for mean in (None, 474.9, 475.0)]
    log.write_text("\n".join(rows[:2]) + "\n")
    assert not startup.has_solved(log)
    log.write_text("\n".join(rows))  # the last line is not complete
    assert not startup.has_solved(log)
    log.write_text("\n".join(rows) + "\n")
    assert startup.has_solved(log)


@pytest.mark.slow
def test_a_timed_turn_goes_on_for_all_seeds():
    turn, steps = agents.training_many(presets.for_env("CartPole-v1"), range(3), 1000)
    assert steps == 3 * 1024
    turn()
    turn()
