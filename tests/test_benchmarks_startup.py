"""When a run counts as solved in the benchmark of starting up, and many seeds in one program."""

import json
from dataclasses import replace

import pytest

from selftuning.benchmarks import startup
from selftuning.benchmarks.cartpole import settings_for
from selftuning.studies import population


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
    settings = replace(settings_for("none"), steps=1000)
    turn, steps = population.timed_turn(settings, range(3))
    assert steps == 3 * 1024
    turn()
    turn()
