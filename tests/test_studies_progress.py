"""What a study shows while it runs."""

import heapq
import io

import numpy as np
import pytest
from rich.console import Console

from selftuning.studies import study_progress
from selftuning.studies.study_progress import StudyProgress
from selftuning.training.progress import duration


@pytest.fixture
def clock(monkeypatch):
    """Time that goes on when told to, in seconds."""
    now = [100.0]
    monkeypatch.setattr(study_progress.time, "monotonic", lambda: now[0])
    return now


def test_progress_without_a_terminal_is_a_line_for_each_tenth(clock):
    console = Console(file=io.StringIO(), width=80)
    with StudyProgress(console, {"one": 100, "two": 300}, {"one": 5, "two": 2}, 2) as progress:
        for done in range(1, 11):
            clock[0] += 10
            progress.tell("one", done / 10)
        for done in range(1, 31):
            clock[0] += 10
            progress.tell("two", done / 30)
    lines = console.file.getvalue().splitlines()
    assert [line[:4] for line in lines] == [f" {share}%" for share in range(10, 100, 10)]
    assert lines[0] == " 10%  0 of 7 runs, 5 min left"
    assert lines[-1] == " 90%  5 of 7 runs, 40 s left"


def test_a_slow_study_is_seen_to_live(clock):
    console = Console(file=io.StringIO(), width=80)
    with StudyProgress(console, {"one": 1000}, {"one": 5}, 1) as progress:
        for done in range(1, 5):
            clock[0] += 59
            progress.tell("one", done / 1000)
    assert len(console.file.getvalue().splitlines()) == 2


def test_progress_on_a_terminal_is_a_bar_that_goes_away():
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with StudyProgress(console, {"one": 100}, {"one": 5}, 1) as progress:
        progress.tell("one", 0.5)
        progress._bar.refresh()
    assert "0 of 5 runs" in console.file.getvalue()
    assert "50%" not in console.file.getvalue()


def test_time_that_is_left_is_told_at_the_speed_since_the_study_went_on(clock):
    """A unit that is half done when it is gone on with says nothing of the speed."""
    console = Console(file=io.StringIO(), width=80)
    with StudyProgress(console, {"one": 100}, {"one": 5}, 1) as progress:
        clock[0] += 30
        progress.tell("one", 0.5)
        clock[0] += 20
        progress.tell("one", 0.6)
    assert console.file.getvalue().splitlines()[-1] == " 60%  0 of 5 runs, 80 s left"


@pytest.mark.parametrize("seed", range(40))
def test_time_that_is_left_is_right_within_a_factor_of_two(seed, clock):
    """After the first tenth of the work, whatever estimates are worth; compiling is included."""
    rng = np.random.default_rng(seed)
    workers, count = int(rng.choice([1, 2, 8])), int(rng.integers(1, 25))
    work = {f"unit-{n}": float(x) for n, x in enumerate(np.sort(rng.uniform(20, 200, count))[::-1])}
    compiling, factor = rng.uniform(0, 100), rng.uniform(0.6, 2)
    events, free = [], [0.0] * workers
    for name, seconds in work.items():
        begun = heapq.heappop(free)
        run = seconds * factor * rng.uniform(0.8, 1.2)
        ready = begun + compiling * rng.uniform(0.8, 1.2)
        points = [(ready + run * n / 20, name, n / 20) for n in range(1, 21)]
        events += [(begun, name, 0.0), (ready, name, 0.0), *points]
        heapq.heappush(free, ready + run)
    end, begun = max(free), clock[0]
    known = compiling * rng.uniform(0.5, 1.5)
    runs = dict.fromkeys(work, 1)
    progress = StudyProgress(Console(quiet=True), work, runs, workers, known)
    for at, name, part in sorted(events):
        clock[0] = begun + at
        progress.tell(name, part)
        if 0.1 <= progress.share < 1:
            told, left = progress.left(clock[0]), end - at
            assert left / 2 <= told + 0.02 * end and told <= 2 * left + 0.02 * end, (at / end, told)


def test_durations_in_words():
    assert [duration(x) for x in (4, 600, 9000)] == ["4 s", "10 min", "2.5 h"]
