"""Two Colors studies as tables of docs/."""

import json

import numpy as np
import pytest

from selftuning.benchmarks.two_colors import __main__ as script
from selftuning.benchmarks.two_colors import markdown
from selftuning.benchmarks.two_colors import summary as two_colors_summary
from selftuning.configs import studies
from tests.test_benchmarks_two_colors import written


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """What is kept of a study whose runs are dead at the end, but for those with 0.2."""
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    pages = []
    monkeypatch.setattr(script.tables, "write_pages", lambda: pages.append("written"))
    drawn = []

    def reward(rng, shape):
        values = np.full(shape, 0.1)
        drawn.append(shape)
        if len(drawn) != 2:  # units are those of 0.1, 0.2, 0.3 and so on
            values[-shape[0] // 20 :, 0] = -0.04
        return values

    settings = studies.layered([studies.preset("two-colors"), {"seeds": 2, "points": 2000}])
    written(tmp_path / "study", settings, reward)
    assert script.main([str(tmp_path / "study"), "--keep", "two-colors-x"]) == 0
    assert pages == ["written"]
    return json.loads((tmp_path / "two-colors-x.json").read_text())


def test_nothing_of_one_machine_is_kept(kept):
    assert "a machine" not in json.dumps(kept) and "--out" not in kept["command"]


def test_runs_that_end_below_zero_are_counted_as_dead(kept):
    dead = [row["dead"] for row in kept["rows"].values()]
    assert sorted(dead) == [0, 1, 1, 1, 1]
    assert kept["rows"]["fixed_0.2"]["dead"] == 0
    (line,) = (
        x for x in markdown.table(kept).splitlines() if x.startswith("| entropy weight 0.2 |")
    )
    assert "| 0 of 2 |" in line
    assert two_colors_summary.DEAD == 500_000  # the last twentieth of these runs


def test_the_published_total_of_fixed_weights_stands_beside_the_best(kept):
    lines = markdown.table(kept).splitlines()[2:]
    beside = [line.split("|")[-2].strip() for line in lines]
    fixed = [text for line, text in zip(lines, beside, strict=True) if "entropy weight" in line]
    assert fixed == ["", "1.24 (0.09)", ""]
    assert beside[len(fixed) :] == ["1.58 (0.06)", "1.74 (0.03)"]
