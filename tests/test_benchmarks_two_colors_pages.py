"""Tables of docs/ that are made from what is kept of Two Colors studies."""

import json

import numpy as np
import pytest

from selftuning.benchmarks.two_colors import pages
from selftuning.benchmarks.two_colors import summary as two_colors_summary
from selftuning.configs import studies
from tests.test_benchmarks_two_colors import summary_of, written


def test_tables_of_the_docs_are_what_is_kept():
    made = 0
    for page in pages.DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert pages.render(text) == text, page.name
        made += text.count("| to the best fixed weight |")
    assert made >= 3


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """What is kept of a study whose runs are dead at the end, but for those with 0.2."""
    monkeypatch.setattr(pages, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(pages, "DOCS", tmp_path / "docs")
    pages.RESULTS.mkdir()
    pages.DOCS.mkdir()
    (pages.DOCS / "page.md").write_text("A\n<!-- two-colors-x -->\n<!-- end -->\nB")
    drawn = []

    def reward(rng, shape):
        values = np.full(shape, 0.1)
        drawn.append(shape)
        if len(drawn) != 2:  # units are those of 0.1, 0.2, 0.3 and so on
            values[-shape[0] // 20 :, 0] = -0.04
        return values

    settings = studies.layered([studies.preset("two-colors"), {"seeds": 2, "points": 2000}])
    written(tmp_path / "study", settings, reward)
    pages.keep("two-colors-x", summary_of(tmp_path / "study"))
    return json.loads((pages.RESULTS / "two-colors-x.json").read_text())


def test_what_is_kept_is_on_the_page(kept):
    text = (pages.DOCS / "page.md").read_text()
    assert f"\n{pages.table(kept)}\n" in text and text.startswith("A") and text.endswith("B")
    assert "a machine" not in json.dumps(kept) and "--out" not in kept["command"]


def test_runs_that_end_below_zero_are_counted_as_dead(kept):
    dead = [row["dead"] for row in kept["rows"].values()]
    assert sorted(dead) == [0, 1, 1, 1, 1]
    assert kept["rows"]["fixed_0.2"]["dead"] == 0
    (line,) = (x for x in pages.table(kept).splitlines() if x.startswith("| entropy weight 0.2 |"))
    assert "| 0 of 2 |" in line
    assert two_colors_summary.DEAD == 500_000  # the last twentieth of these runs


def test_the_published_total_of_fixed_weights_stands_beside_the_best(kept):
    lines = pages.table(kept).splitlines()[2:]
    beside = [line.split("|")[-2].strip() for line in lines]
    fixed = [text for line, text in zip(lines, beside, strict=True) if "entropy weight" in line]
    assert fixed == ["", "1.24 (0.09)", ""]
    assert beside[len(fixed) :] == ["1.58 (0.06)", "1.74 (0.03)"]
