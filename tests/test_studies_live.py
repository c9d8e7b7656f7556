"""The page of a study while it runs: what has ended so far, and how far the rest is."""

import io
import itertools
import re

import pytest
from rich.console import Console

from selftuning.studies import plan, study, study_files
from selftuning.studies.live import Live
from selftuning.studies.report import page
from tests import synthetic_study
from tests.read_report import Read


@pytest.fixture
def settings():
    return synthetic_study.measured(
        methods="none,bmg", seeds=3, starts={"gamma": (0.7, 0.99)}
    ).settings


class Watched:
    """A study whose units end one by one, without an agent, and its page."""

    def __init__(self, settings, directory):
        self.directory = study_files.create(settings, directory, study.origin())
        self.settings, self.units = settings, plan.units_of(settings)
        self.console = Console(file=io.StringIO(), width=1000)

    def end(self, unit):
        study_files.write_unit(self.directory, unit, synthetic_study.result(self.settings, unit))

    @property
    def page(self):
        return (self.directory / study_files.REPORT).read_text(encoding="utf-8")

    @property
    def read(self):
        return Read(self.page)

    @property
    def said(self):
        return self.console.file.getvalue()


@pytest.fixture
def watched(settings, tmp_path):
    return Watched(settings, tmp_path / "study")


def test_it_follows_a_study_from_its_first_point_to_its_last(watched, monkeypatch):
    """With any number of units there, and nothing but those on the page."""
    monkeypatch.setattr("selftuning.studies.live._SHARE", 1.0)
    with Live(watched.directory, watched.console, first=0, between=0) as live:
        first = watched.units[0]
        live.tell(first.name, 0.25)
        rows = watched.read.table("How far each method is")
        assert "is running. Nothing has ended yet" in watched.read.text[""]
        assert rows[1][:2] == ["no tuning", "0 of 6"]
        share = 0.25 * len(first.runs) / 6
        assert rows[1][2].strip() == f"{share:.0%}"
        for number, unit in enumerate(watched.units, 1):
            watched.end(unit)
            live.tell(unit.name, 1.0)
            read = watched.read
            done = sum(len(one.runs) for one in watched.units[:number])
            assert f"The study is running: {done} of 12 runs have ended" in read.text[""]
            shown = {row[0] for row in read.table("Contestants by")[1:]}
            assert ("bmg" in shown) is any(u.method == "bmg" for u in watched.units[:number])
            if number < len(watched.units):
                assert "The study is not finished" in read.text[""]
    assert watched.said == ""
    study.report(watched.directory, watched.console)
    assert 'id="live"' not in watched.page  # the last page looks for no other one
    assert 'http-equiv="refresh"' not in watched.page


def stop_in(watched, unit):
    """Ends as by Ctrl-C, in the middle of a unit."""
    with Live(watched.directory, watched.console, first=0) as live:
        live.tell(unit.name, 0.5)
        assert 'id="live"' in watched.page
        raise KeyboardInterrupt


def test_a_study_that_stops_leaves_a_page_that_does_not_wait(watched):
    with pytest.raises(KeyboardInterrupt):
        stop_in(watched, watched.units[0])
    assert "has stopped. Nothing has ended yet" in watched.page
    assert 'id="live"' not in watched.page
    watched.end(watched.units[0])
    with pytest.raises(KeyboardInterrupt):
        stop_in(watched, watched.units[1])
    assert "The study is not finished" in watched.page
    assert 'id="live"' not in watched.page


def test_short_studies_have_no_page_before_their_end(watched):
    with Live(watched.directory, watched.console) as live:
        live.tell(watched.units[0].name, 0.5)
    assert not (watched.directory / study_files.REPORT).exists()


def test_drawing_takes_a_small_part_of_the_time(watched, monkeypatch):
    """A page that takes 3 seconds is drawn once a minute, whoever tells how often."""
    clock = itertools.count(0.0, 1.0)  # a second passes whenever somebody looks
    now = [0.0]
    monkeypatch.setattr("selftuning.studies.live.time.monotonic", lambda: now[0])
    drawn = []

    def slow(*_arguments):
        drawn.append(now[0])
        now[0] += 3.0

    monkeypatch.setattr(page, "write_first", slow)
    with Live(watched.directory, watched.console, first=5.0, between=15.0) as live:
        for second in clock:
            if now[0] > 600:
                break
            now[0] += 1.0
            live.tell(watched.units[0].name, min(second / 1000, 0.9))
    gaps = [later - earlier for earlier, later in itertools.pairwise(drawn)]
    assert drawn[0] == 5.0
    assert all(59 <= gap <= 62 for gap in gaps[:-1])


def test_a_page_that_cannot_be_drawn_ends_no_study(watched, monkeypatch):
    def broken(*_arguments):
        raise ValueError("no\npage")

    monkeypatch.setattr(page, "write_first", broken)
    with Live(watched.directory, watched.console, first=0, between=0) as live:
        for part in (0.1, 0.2):
            live.tell(watched.units[0].name, part)
    assert re.findall("is not drawn before its end: no page", watched.said) == [
        "is not drawn before its end: no page"
    ]
