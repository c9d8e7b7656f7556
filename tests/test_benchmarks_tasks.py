"""The table of tasks: means and intervals of what was measured, short runs apart, nothing twice."""

import json
import sys

import pytest
from scipy import stats

from selftuning.benchmarks import record, tasks
from selftuning.benchmarks.continual import __main__ as continual

HOPPER, BREAKOUT = "Hopper-v5", "gymnax:Breakout-MinAtar"


def result(task, agent, seed, score, asked, steps=None):
    known = {"task": task, "agent": agent, "seed": seed, "asked": asked}
    return known | {"score": score, "steps": steps or asked}


RESULTS = [
    result(HOPPER, "default", 0, 2000.0, 1_000_000),
    result(HOPPER, "default", 1, 3000.0, 1_000_000),
    result(HOPPER, "default", 2, 2500.0, 1_000_000),
    result(HOPPER, "untuned", 0, 1234.4, 1_000_000),
    result(BREAKOUT, "default", 0, 11.35, 1_000_000),
]


def cells(table, task):
    (line,) = (x for x in table.splitlines() if x.startswith(f"| {task} "))
    return [x.strip() for x in line.strip("|").split("|")]


def test_a_row_has_means_with_students_intervals():
    row = cells(tasks.table(RESULTS), HOPPER)
    half = stats.t.ppf(0.975, 2) * 500 / 3**0.5
    assert row[:2] == [HOPPER, "1000k"]
    assert row[2] == f"2500 [{2500 - half:.0f}, {2500 + half:.0f}]"
    assert row[3:] == ["1234", *["not measured"] * 3, "3/1/0/0/0", "2400", "2410"]


def test_two_seeds_are_shown_as_they_are():
    two = [x for x in RESULTS if x["seed"] < 2]
    assert cells(tasks.table(two), HOPPER)[2] == "2000, 3000"


def test_a_run_that_diverged_counts_in_the_row_that_it_was_made_for():
    lost = result(HOPPER, "untuned", 1, 5.0, 1_000_000, steps=200_704)
    assert cells(tasks.table([*RESULTS, lost]), HOPPER)[3] == "1234, 5"
    assert tasks.shorter([*RESULTS, lost]) == tasks.shorter(RESULTS)


def test_runs_with_fewer_steps_have_a_table_of_their_own():
    assert cells(tasks.table(RESULTS), BREAKOUT)[2] == "not measured"
    row = cells(tasks.shorter(RESULTS), BREAKOUT)
    assert row == [BREAKOUT, "1000k", "11.3", *["not measured"] * 2, "1/0/0", "28, 10000k"]
    assert HOPPER not in tasks.shorter(RESULTS)


def test_the_page_has_both_tables():
    text = tasks.PAGE.read_text(encoding="utf-8")
    written = tasks.render(text, RESULTS)
    for made in (tasks.table(RESULTS), tasks.shorter(RESULTS)):
        assert made in written
    assert tasks.render(written, RESULTS) == written
    recorded = json.loads((tasks.DOCS.parent / "benchmarks/results/tasks.json").read_text())
    assert tasks.render(text, recorded["runs"]) == text  # nobody has changed a number by hand


def test_what_is_measured_is_not_measured_again(tmp_path, monkeypatch):
    made = []

    def train(task, seed, steps, changes, out):
        made.append((task, seed, steps, changes))
        return {"steps": steps, "score": 1.0}

    monkeypatch.setattr(tasks, "_ours", train)
    for _ in range(2):
        tasks.measure(tmp_path, HOPPER, "untuned", 3, 500)
    assert made == [(HOPPER, 3, 500, {"meta": "none"})]
    (kept,) = tasks.kept(tmp_path)
    assert kept == result(HOPPER, "untuned", 3, 1.0, 500)
    (file,) = tmp_path.glob("*.json")
    before = {key: x for key, x in kept.items() if key != "asked"}  # as version 0.2 wrote it
    file.write_text(json.dumps(before | {"steps": 512}))
    assert tasks.kept(tmp_path) == [kept | {"steps": 512}]
    (tmp_path / "of-another-kind.json").write_text("{}")
    (tmp_path / "no-such-agent-500-0.json").write_text(json.dumps(kept | {"agent": "no such"}))
    assert len(tasks.kept(tmp_path)) == 1


def test_runs_join_those_that_are_recorded_or_take_their_place(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    first, other = result(HOPPER, "untuned", 3, 1.0, 500), result(HOPPER, "untuned", 4, 2.0, 500)
    assert record.with_recorded("tasks", [first], tasks.SAME) == [first]  # no file yet
    record.write("tasks", {"runs": [first, other]})
    again, shorter = first | {"score": 7.0, "steps": 512}, first | {"asked": 400}
    found = record.with_recorded("tasks", [again, shorter], tasks.SAME)
    assert found == [again, other, shorter]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "continual DIR ContinualCartPole-v0 --level-steps 5",
            "error: --level-steps: 5 is not",
        ),
        (
            "continual DIR --often ContinualLunarLander-v0",
            "ContinualLunarLander-v0 is not allowed with --often; it must be any of "
            "ContinualAcrobot-v0 | ContinualCartPole-v0 | ContinualMountainCar-v0",
        ),
        ("continual DIR --often --change physics", "--change: physics is not allowed"),
        ("continual DIR --often --level-steps 6400", "not allowed with argument --often"),
        ("continual DIR --seeds 0", "--seeds: 0 is not allowed; it must be at least 1"),
        ("continual FILE", "is a file; it must be a directory"),
        ("tasks DIR CartPole-v1 --steps many", "--steps: many is not allowed"),
        ("tasks DIR CartPol", "invalid choice: 'CartPol'"),
    ],
)
def test_what_is_not_allowed_is_said_in_a_line(arguments, said, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    places = {"DIR": str(tmp_path / "new"), "FILE": str(tmp_path / "file")}
    name, *rest = (places.get(x, x) for x in arguments.split())
    monkeypatch.setattr(sys, "argv", [name, *rest])
    with pytest.raises(SystemExit) as ended:
        record.run({"continual": continual, "tasks": tasks}[name].main)
    assert ended.value.code == 2 and said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "new").exists()


def test_a_run_that_was_stopped_goes_on_and_has_no_result_before_its_end(tmp_path, monkeypatch):
    train, asked = tasks.st.train, ("CartPole-v1", "untuned", 0, 4096)
    monkeypatch.setattr(tasks, "EPISODES", 2)
    small = {"eval_episodes": 2, "hidden": [8], "progress": False}

    def measure(name, **stops):
        monkeypatch.setattr(tasks.st, "train", lambda *a, **k: train(*a, **k, **small, **stops))
        tasks.measure(tmp_path / name, *asked)

    with pytest.raises(KeyboardInterrupt):
        measure("stopped", callback=lambda snapshot: True)
    assert not tasks.kept(tmp_path / "stopped")
    for name in ("stopped", "whole"):
        measure(name)
    (stopped,), (whole,) = (tasks.kept(tmp_path / name) for name in ("stopped", "whole"))
    assert stopped["steps"] >= 4096
    for result in (stopped, whole):
        del result["wall_seconds"]
    assert stopped == whole
