"""Tables of docs/ that are made from studies, and numbers that are made from their results."""

import json

import numpy as np
import polars as pl
import pytest

from selftuning.benchmarks import record, signals, tables
from selftuning.studies import summary
from tests import synthetic_study


def test_tables_of_the_docs_are_the_results():
    for page in record.DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert tables.render(text) == text, (
            f"{page.name} is out of date: python -m selftuning.benchmarks.tables"
        )


def test_a_study_is_kept_and_becomes_a_table(tmp_path, monkeypatch):
    found = summary.summarise(synthetic_study.study())
    result = tables.kept(json.loads(json.dumps(found)))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    (tmp_path / "mine.json").write_text(json.dumps(result))
    (tmp_path / "speed.json").write_text(json.dumps({"rows": {}}))
    page = "<!-- mine -->\nold\n<!-- end -->\n<!-- speed -->\nas it is\n<!-- end -->\n"
    text = tables.render(page)
    assert "old" not in text and "as it is" in text
    assert tables.render(text) == text
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + len(found["methods"])
    for line, method in zip(lines[2:], found["methods"].values(), strict=True):
        assert line[0] == f"| {method['label']}"
        mean = method["last_tenth"]["mean"]
        assert line[1] == f"{mean['value']:.0f} [{mean['low']:.0f}, {mean['high']:.0f}]"
        runs = np.concatenate([start["runs"] for start in method["by_start"]])
        assert line[3] == f"{runs.min():.0f}"
        assert line[5] == f"{method['solved']} of {method['runs']}"


def test_signals_leave_the_first_tenth_out():
    gradients = np.array([1e6, *np.tile([-3.0, 1.0], 10)])[:20]
    columns = {f"diagnostics/meta_gradient/{name}": gradients for name in signals.TUNED}
    frame = pl.DataFrame({"method": ["bmg"] * 20, "point": range(20), **columns})
    found = signals.signals(frame)["bmg"]["gamma"]
    late = gradients[2:]
    assert found["signal_to_noise"] == pytest.approx(-late.mean() / late.std())
    assert found["raises"] == (late < 0).mean()
    assert found["largest_over_median"] == 3 / np.median(np.abs(late))


def test_drift_is_the_median_at_the_end():
    frame = pl.DataFrame(
        {
            "method": ["kl"] * 6,
            "point": [0, 1] * 3,
            **{key: [0.0, 1.0, 0.0, 2.0, 0.0, 9.0] for key in signals.TUNED},
        }
    )
    assert signals.drift(frame) == {"kl": dict.fromkeys(signals.TUNED, 2.0)}
