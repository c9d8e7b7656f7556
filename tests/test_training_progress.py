"""What is said while a run goes on: progress, the time that is left, and lines that fit."""

import io

import pytest
from rich.console import Console

from selftuning.training.progress import (
    PlainProgress,
    Snapshot,
    TimeLeft,
    in_lines,
    in_paragraph,
    make_progress,
)


def test_plain_progress_prints_about_ten_lines():
    console = Console(file=io.StringIO())
    with make_progress(console, 1000) as progress:
        assert isinstance(progress, PlainProgress)
        for step in range(5, 1001, 5):
            progress.update(Snapshot(step, step / 100, 100.0, 12.5, 1.0, {"gamma": 0.99}))
    lines = console.file.getvalue().splitlines()
    assert 10 <= len(lines) <= 12
    assert "1,000 steps 100%" in lines[-1]
    assert "return 12.5" in lines[-1] and "gamma 0.99" in lines[-1] and "0 s left" in lines[-1]


def test_live_progress_shows_the_numbers():
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with make_progress(console, 1000) as progress:
        values = {"gamma": [0.9, 0.5, 0.99], "entropy": 0.01}
        progress.update(Snapshot(500, 1.0, 20_000.0, None, 0.125, values))
    shown = console.file.getvalue()
    numbers = "20k steps/s  reward 0.125 a step  gamma 0.5..0.99  entropy 0.01"
    assert numbers in shown and "500 of 1,000" in shown


def test_parts_of_a_line_are_never_broken():
    parts = ["56k steps/s", "return 96.0", *(f"name_{n} 0.1234..0.5678" for n in range(7))]
    lines = in_lines(parts, 80)
    assert all(len(line) <= 80 for line in lines) and "  ".join(lines) == "  ".join(parts)
    assert len(lines) == 3 and in_lines(["x" * 99, "y"], 80) == ["x" * 99, "y"]


def test_time_left_is_told_at_the_speed_since_the_run_was_first_seen():
    left = TimeLeft(100_000)
    assert left(1000, 50.0) == 50 * 99  # nothing else is known
    assert left(11_000, 60.0) == pytest.approx(89)
    assert left(100_000, 149.0) == left(100_032, 149.1) == 0
    again = TimeLeft(100_000)
    again(50_000, 1e6)  # on another machine
    assert again(60_000, 1e6 + 10) == pytest.approx(40)


@pytest.mark.parametrize(
    "pair", ["gamma 0.7,", "at 481,", "271 [158, 384],", "-3.1 [-55, -0.2],", "0.9 [0.71, 1]."]
)
def test_no_line_of_a_paragraph_ends_between_a_number_and_its_name_or_interval(pair):
    for width in range(40, 80):
        text = f"{'word ' * 12}{pair} and more"
        lines = in_paragraph(text, width).splitlines()
        assert " ".join(lines) == text and max(map(len, lines)) <= width
        assert any(pair in line for line in lines)
    assert in_paragraph("one\ntwo", 80) == "one\ntwo"
