"""What the docs say of checkpoints is what was measured, and what is promised."""

import json

from selftuning.benchmarks import checkpoints, logged
from selftuning.benchmarks.record import RESULTS, with_table


def test_the_table_is_the_results_and_saving_once_a_minute_costs_less_than_two_percent():
    rows = json.loads((RESULTS / "checkpoints.json").read_text())["rows"]
    page = checkpoints.PAGE.read_text()
    assert with_table(page, "checkpoints", checkpoints.table(rows)) == page
    assert {row["task"] for row in rows} == checkpoints.TASKS.keys()
    for row in rows:
        assert row["share"] < 0.02
        assert row["write"]["safetensors"] < row["write"]["orbax"]


def test_what_is_logged_costs_little():
    rows = json.loads((RESULTS / "logged.json").read_text())["rows"]
    page = logged.PAGE.read_text()
    assert with_table(page, "logged", logged.table(rows)) == page
    assert [row["agent"] for row in rows] == list(logged.AGENTS)
    for row in rows:
        assert row["ratio"] < 1.03 and row["quartiles"][0] < 1 < row["quartiles"][1]  # within noise
