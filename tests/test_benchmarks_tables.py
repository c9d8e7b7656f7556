"""Tables of docs/ that are made from studies, and numbers that are made from their results."""

import json

import numpy as np
import polars as pl
import pytest
from scipy import stats

from selftuning.benchmarks import record, signals, signals_batches, tables
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


def test_numbers_have_two_digits_and_a_row_each():
    rows = {"`a`, 1/L": [4.27e-28, 0.0949, [1.79, 0.00123]], "`b`": [-2.96, 0.0, 12.3]}
    text = tables.numbers({"head": ["one", "two", "three"], "rows": rows})
    assert text.splitlines() == [
        "|  | one | two | three |",
        "| --- | --- | --- | --- |",
        "| `a`, 1/L | 4.3e-28 | 0.095 | 1.8; 1.2e-03 |",
        "| `b` | -3 | 0 | 12 |",
    ]


def test_what_is_said_of_the_lowest_gaps_on_pseudo_huber_is_so():
    rows = json.loads((record.RESULTS / "convex-pseudo-huber.json").read_text())["rows"]
    median, _, greatest = ({name: row[column] for name, row in rows.items()} for column in range(3))
    learned = {"`meta_gradient`, 1/L", "`optimistic_meta_gradient`, 1/L"}
    lowest, *following = sorted(median, key=median.__getitem__)
    assert lowest == "`momentum`, 1/L" == min(greatest, key=greatest.__getitem__)
    assert set(following[:2]) == learned
    certain = ("`nesterov`, 1/L", "`optimistic`, 1/(2L)", "`bootstrapped`, 1/(2L)")
    for name in (*certain, "`bootstrapped`, 1/L"):
        assert greatest[name] < min(greatest[one] for one in learned)


def test_signals_leave_the_first_tenth_out():
    gradients = np.array([1e6, *np.tile([-3.0, 1.0], 10)])[:20]
    columns = {f"diagnostics/meta_gradient/{name}": gradients for name in signals.TUNED}
    frame = pl.DataFrame({"method": ["bmg"] * 20, "point": range(20), **columns})
    found = signals.signals(frame)["bmg"]["gamma"]
    late = gradients[2:]
    assert found["signal_to_noise"] == pytest.approx(-late.mean() / late.std())
    assert found["raises"] == (late < 0).mean()
    assert found["largest_over_median"] == 3 / np.median(np.abs(late))


def test_the_signal_at_a_batch_is_a_mean_over_seeds():
    """Of each seed mean over deviation, the first tenth left out; + is what raises."""
    rng = np.random.default_rng(0)
    gradients = rng.normal([[-1.0], [0.0], [3.0]], 1.0, (3, 40))
    gradients[:, :4] = 1e6
    frame = pl.DataFrame(
        {
            "seed": np.repeat([0, 1, 2], 40),
            "point": np.tile(np.arange(40), 3),
            "diagnostics/meta_gradient/gamma": gradients.ravel(),
        }
    )
    found = signals_batches.signals(frame, "gamma")
    expected = -gradients[:, 4:].mean(axis=1) / gradients[:, 4:].std(axis=1)
    assert found.value == pytest.approx(expected.mean())
    low, high = stats.t.interval(0.95, 2, expected.mean(), stats.sem(expected))
    assert found.interval() == pytest.approx((low, high))


def test_drift_is_the_median_at_the_end():
    frame = pl.DataFrame(
        {
            "method": ["kl"] * 6,
            "point": [0, 1] * 3,
            **{key: [0.0, 1.0, 0.0, 2.0, 0.0, 9.0] for key in signals.TUNED},
        }
    )
    assert signals.drift(frame) == {"kl": dict.fromkeys(signals.TUNED, 2.0)}
