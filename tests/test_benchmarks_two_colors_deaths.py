"""What runs of Two Colors are like where they get nothing: looks, and the table made of them."""

import json
from dataclasses import replace

import numpy as np

from selftuning.benchmarks import two_colors_deaths as deaths
from selftuning.benchmarks.record import RESULTS


def look(phase, number, **values):
    every = {key: [0.0, 0.0] for key in (*deaths.Look._fields, "reward", "jump", "weight")}
    return {"phase": phase, "look": number} | every | values


def test_phases_are_counted_by_what_the_policy_does_at_their_ends():
    late = deaths.LOOKS - 2
    looks = [
        look(0, late, good=[0.0, 0.0], jump=[99.0, 0.0]),  # before any change of signs
        look(1, 0, jump=[17.0, 3.0]),
        look(1, late, good=[300.0, 4.0], moves=[1.0, 0.8], entropy=[0.2, 1.3], jump=[2.0, 1.0]),
        look(2, late, good=[200.0, 0.0], moves=[1.0, 0.0]),
        look(2, late + 1, good=[0.0, 0.0]),  # signs may have changed
    ]
    lines = deaths._lines({"agent": "a", "looks": looks})
    assert [line[1:3] for line in lines] == [
        ("collects rewards", "50%"),
        ("wanders", "25%"),
        ("stands still", "25%"),
    ]
    assert [line[3] for line in lines] == ["250, 0", "4, 0", "0, 0"]
    assert {line[-1] for line in lines} == {"17, 2"}


def test_a_look_sees_a_policy_that_does_not_learn_yet(tmp_path):
    agents = deaths.agents()
    settings = replace(agents["SGD 0.1"], steps=2 * deaths.SWITCH // deaths.LOOKS)
    settings = replace(settings, agent=replace(settings.agent, hidden=(16, 16)))
    deaths.measure(tmp_path, "SGD 0.1", settings, seeds=(0, 1))
    (found,) = deaths.kept(tmp_path)
    (first, _) = found["looks"]
    assert 1.2 < min(first["entropy"]) <= max(first["entropy"]) <= np.log(4) + 1e-5
    assert min(first["moves"]) > 0.5 and max(first["dead"]) < 0.5
    assert 5 < np.mean(np.add(first["good"], first["bad"])) < 100
    assert first["weight"] == [0.1] * 2


def test_agents_are_what_their_names_say():
    for name, settings in deaths.agents().items():
        values = {key: spec.start for key, spec in settings.in_use.items()}
        tuned = "bmg" in name
        assert settings.tuning.method == ("bmg" if tuned else "none")
        assert values["entropy"] == (0.2 if tuned else 0.1)
        steps = {"lambda 0.5": 0.5, "one-step": 0.01}
        trace = next((value for word, value in steps.items() if word in name), 0.9)
        assert values["lambda"] == trace
        assert (settings.agent.inner_optimizer == "rms") == name.startswith("RMSProp")


def test_the_page_has_the_table_of_what_was_measured():
    result = json.loads((RESULTS / "two-colors-deaths.json").read_text())
    assert deaths.table(result["runs"]) in deaths.PAGE.read_text()
