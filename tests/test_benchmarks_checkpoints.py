"""What the docs say of checkpoints is what was measured, and what is promised."""

import json

from selftuning.benchmarks import checkpoints
from selftuning.benchmarks.record import RESULTS, with_table


def test_the_table_is_the_results_and_saving_once_a_minute_costs_less_than_two_percent():
    rows = json.loads((RESULTS / "checkpoints.json").read_text())["rows"]
    page = checkpoints.PAGE.read_text()
    assert with_table(page, "checkpoints", checkpoints.table(rows)) == page
    assert {row["task"] for row in rows} == checkpoints.TASKS.keys()
    for row in rows:
        assert row["share"] < 0.02
        assert row["write"]["safetensors"] < row["write"]["orbax"]
