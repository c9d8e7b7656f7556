"""The report of a study as a file: what it says, shows and must not contain."""

import json
import time

import numpy as np
import pytest

from selftuning.studies import statistics
from selftuning.studies.contestants import in_words
from selftuning.studies.intervals import alone, said
from selftuning.studies.outcome import outcome_of
from selftuning.studies.report import page as report_page
from selftuning.studies.report import scales as report_scales
from selftuning.studies.report import style as report_style
from tests import synthetic_study
from tests.read_report import Report

SECTIONS = ["curves", "paths", "starts", "runs", "profiles", "better"]
SECTIONS += ["differences", "numbers", "origin"]


@pytest.fixture(scope="module")
def report():
    return Report(synthetic_study.searches())


def traces(chart, **having):
    return [
        trace for trace in chart["data"] if all(trace.get(key) == x for key, x in having.items())
    ]


# What it says


def test_it_says_question_answer_notes_and_all_sections(report):
    first = report.read.text[""]
    assert report.found["question"] in first
    for sentence in [*report.found["answer"], *report.found["notes"]]:
        assert all(line in first for line in sentence.split("\n"))
    assert [at for tag, _, at in report.read.elements if tag == "section"] == SECTIONS
    links = [a["href"] for tag, a, _ in report.read.elements if tag == "a"]
    inside = [address for address in links if address.startswith("#")]
    assert [f"#{name}" for name in SECTIONS] == inside[1:]


def test_the_table_of_contestants_has_the_numbers_of_the_summary(report):
    head, *rows = report.read.table("Contestants by")
    assert len(rows) == len(report.found["methods"]) == 6
    for row, method in zip(rows, report.found["methods"].values(), strict=True):
        cells = dict(zip(head, row, strict=True))
        last = method["last_tenth"]
        assert cells["contestant"] == method["label"]
        assert cells["runs"] == str(method["runs"])
        assert cells["IQM"] == said(last["iqm"])
        assert cells["mean, last tenth"] == said(last["mean"])
        assert cells["median"] == said(last["median"])
        assert cells["optimality gap"] == said(last["optimality_gap"])
        assert cells["mean, whole run"] == said(method["whole_run"]["mean"])
        assert cells["greedy"] == said(method["greedy"])
        assert cells["solved"] == f"{method['solved']} of {method['runs']}"
        assert cells["worst start"].startswith(alone(method["worst_start"]["last_tenth"]))
    (caption,) = (name for name in report.read.tables if name.startswith("Contestants by"))
    sorted_by = [row[2] for row in report.read.values[caption][1:]]
    assert [float(x) for x in sorted_by] == [
        method["last_tenth"]["mean"]["value"] for method in report.found["methods"].values()
    ]


def test_columns_with_nothing_to_tell_are_left_out(report):
    assert "diverged" not in report.read.table("Contestants by")[0]
    lost = Report(synthetic_study.with_losses()).read.table("Contestants by")
    assert "diverged" in lost[0]
    assert lost[1][lost[0].index("diverged")] == "1 of 9"


def test_the_matrix_has_the_probabilities_of_the_summary(report):
    head, *rows = report.read.table("Probability that")
    names = list(report.found["methods"])
    assert head[1:] == [report.found["methods"][name]["label"] for name in names]
    for name, (_, *cells) in zip(names, rows, strict=True):
        for other, cell in zip(names, cells, strict=True):
            found = report.found["better"][name].get(other)
            expected = "" if name == other else "-" if found is None else said(found)
            assert cell == expected


def test_how_it_was_made(report):
    text, origin = report.read.text["origin"], report.found["origin"]
    assert origin["command"] in text
    assert origin["code"] in text
    assert "jax 1.2.3, numpy 2.3.4" in text
    assert "A processor, 2 cores, Linux <x86_64>" in text
    assert "Interquartile mean (IQM)" in text
    assert "points: 30" in text  # settings


def test_what_is_missing_and_lost_is_said():
    unfinished = synthetic_study.measured(methods="none,bmg", seeds=2)._replace(missing=["bmg-9"])
    page = Report(outcome_of(unfinished)).read.text[""]
    assert "The study is not finished: 1 of its programs" in page
    lost = Report(synthetic_study.with_losses())
    assert "bmg: parameters of 1 of 9 runs became NaN." in lost.read.text[""]


@pytest.mark.parametrize("lost", [2, 100])
def test_runs_of_which_nothing_is_known_stop_no_report(lost):
    study = synthetic_study.study(
        methods="none,mg", seeds=2, starts={"gamma": (0.7, 0.99)}, lost=lost, unknown=lost < 100
    )
    report = Report(study)
    json.dumps(report.found, allow_nan=False)
    lowest = study.measured.table["return"].min()
    if lost == 2:
        tried = [one for one in study.contestants if one.name in ("none", "mg")]
        assert [run for one in tried for run in one.last[-1]] == pytest.approx([lowest] * 4)
        assert "did not converge" not in report.read.text["paths"]
    else:
        assert "mg: no run has a value at the end" in report.read.text["paths"]


# What it shows


def test_learning_curves_are_means_with_bands(report):
    (chart,) = report.charts("curves")
    for one in report.study.contestants:
        line, band = (
            next(t for t in traces(chart, legendgroup=one.name) if ("fill" in t) is filled)
            for filled in (False, True)
        )
        expected = statistics.mean(*(curve.T for curve in one.curves))
        np.testing.assert_allclose(line["y"], expected, rtol=1e-4)
        assert line["x"] == one.steps.tolist()
        low, high = band["y"][: len(expected)], band["y"][len(expected) :][::-1]
        assert (np.array(low) <= expected + 0.01).all()
        assert (np.array(high) >= expected - 0.01).all()
        assert line["customdata"][-1] == said((expected[-1], low[-1], high[-1]))
    assert [t["y"] for t in chart["data"] if t["line"].get("dash") == "7px,5px"] == [[475, 475]]
    head, *rows = report.read.table("Mean return, with its 95% interval, by env")
    assert rows[-1][0] == "200,000"
    assert rows[-1][1:] == [
        traces(chart, name=report_style.text(label))[0]["customdata"][-1] for label in head[1:]
    ]


def test_a_steep_rise_does_not_hide_how_lines_differ_later():
    study = synthetic_study.study(methods="none,bmg", seeds=2, starts={"gamma": (0.7, 0.99)})

    def risen(one, level):
        curves = [np.full_like(x, level) + np.linspace(0, 5, x.shape[1]) for x in one.curves]
        for curve in curves:
            curve[:, 0] = 20.0
        return one._replace(curves=curves)

    levels = (470.0, 480.0, 490.0)
    ends = [risen(one, level) for one, level in zip(study.contestants, levels, strict=True)]
    report = Report(study._replace(contestants=ends))
    low, high = report.charts("curves")[0]["layout"]["yaxis"]["range"]
    assert 460 < low < 470
    assert 495 < high < 500
    assert "The axis leaves out how lines begin, the lowest at 20," in report.read.text["curves"]
    whole = Report(study)
    assert "The axis leaves out" not in whole.read.text["curves"]


def test_wide_bands_do_not_press_lines_together():
    study = synthetic_study.study(methods="none,bmg", seeds=2, starts={"gamma": (0.7, 0.99)})
    one = study.contestants[0]
    wide = one._replace(curves=[curve * [[0.2], [1.8]] for curve in one.curves])
    report = Report(study._replace(contestants=[wide, *study.contestants[1:]]))
    (chart,) = report.charts("curves")
    lines = [y for trace in traces(chart, mode="lines+markers") for y in trace["y"]]
    low, high = chart["layout"]["yaxis"]["range"]
    assert low <= min(lines) < max(lines) <= high
    assert high - low < 2 * (max(lines) - min(lines))
    bands = [y for trace in chart["data"] if "fill" in trace for y in trace["y"]]
    assert max(bands) > high  # they are not drawn other than they are
    assert "Bands that go beyond the axis are cut." in report.read.text["curves"]


def test_heat_maps_have_all_means_and_one_scale(report):
    charts, scales = report.charts("starts"), set()
    for chart, name in zip(charts, ("none", "bmg"), strict=True):
        (heat,) = traces(chart, type="heatmap")
        scales.add((heat["zmin"], heat["zmax"], str(heat["colorscale"])))
        written = {(a["x"], a["y"]): a["text"] for a in chart["layout"]["annotations"]}
        for start in report.found["methods"][name]["by_start"]:
            across = heat["x"].index(f"{start['start']['gamma']:g}")
            up = heat["y"].index(f"{start['start']['entropy']:g}")
            mean = start["last_tenth"]["value"]
            assert heat["z"][up][across] == pytest.approx(mean, rel=1e-4)
            assert written[across, up] == alone(start["last_tenth"])
            assert said(start["last_tenth"]) in heat["customdata"][up][across]
    assert len(scales) == 1
    left_out = report.read.text["starts"].partition("Methods with a single start have no map")[2]
    for name, method in report.found["methods"].items():
        assert (f"{method['label']} {alone(method['last_tenth']['mean'])} [" in left_out) is (
            name not in ("none", "bmg")
        )


def test_three_names_make_a_map_with_all_combinations():
    report = Report(synthetic_study.three_names())
    for chart, name in zip(report.charts("starts"), ("none", "bmg"), strict=True):
        (heat,) = traces(chart, type="heatmap")
        assert np.shape(heat["z"]) == (4, 2)
        assert sorted(np.ravel(heat["z"])) == pytest.approx(
            sorted(s["last_tenth"]["value"] for s in report.found["methods"][name]["by_start"]),
            rel=1e-4,
        )
        assert "entropy 0.003<br>lambda 0.95" in heat["y"]


def test_one_name_makes_points_and_single_starts_lines():
    report = Report(synthetic_study.one_name())
    (chart,) = report.charts("starts")
    methods = report.found["methods"]
    for name in ("none", "mg", "bmg"):
        (means,) = traces(chart, legendgroup=name, mode="lines+markers")
        values = [start["last_tenth"]["value"] for start in methods[name]["by_start"]]
        assert means["y"] == pytest.approx(values, rel=1e-4)
    (line,) = traces(chart, legendgroup="outer")
    level = methods["outer"]["last_tenth"]["mean"]["value"]
    assert line["y"] == pytest.approx([level] * len(line["x"]), rel=1e-4)


def test_a_single_start_is_left_out_with_a_reason():
    report = Report(synthetic_study.single_start())
    assert report.charts("starts") == []
    assert "Every method had a single start" in report.read.text["starts"]


def test_paths_have_seeds_means_starts_and_the_outer_value(report):
    one = report.study.named("bmg")
    assert one is not None
    charts = [
        c
        for c in report.charts("paths")
        if c["layout"]["yaxis"]["title"]["text"] == "discount gamma"
    ]
    chart = charts[0]
    forward = report_scales.scale_of("gamma").forward
    (outer,) = (t for t in chart["data"] if t.get("line", {}).get("dash") == "2px,3px")
    assert outer["y"] == pytest.approx([float(forward(np.array(0.99)))] * 2, rel=1e-4)
    for start, runs in zip(one.starts, one.paths["gamma"], strict=True):
        mine = traces(chart, legendgroup=in_words(start))
        thin, thick, symbol = (
            next(t for t in mine if t["mode"] == mode and (t.get("opacity", 1) < 1) is faint)
            for mode, faint in (("lines", True), ("lines+markers", False), ("markers", False))
        )
        assert thin["x"].count(None) == len(runs)  # a gap after each seed
        assert thick["y"][0] == pytest.approx(float(forward(np.array(start["gamma"]))), rel=1e-4)
        ends = forward(runs.mean(0))
        np.testing.assert_allclose(thick["y"][1:], ends, rtol=1e-4, atol=1e-4)
        assert symbol["y"] == [thick["y"][0]]
        assert symbol["x"][0] < 0
    places = [(t["x"][0], t["y"][0]) for t in chart["data"] if t["mode"] == "markers"]
    assert len(set(places)) == 9  # no symbol hides another
    text = report.read.text["paths"]
    assert "bmg: converged. From 0.7 to 0.99, the means of the starts end at" in text
    search = charts[1]
    assert not traces(search, mode="markers")  # it has no start


def test_what_did_not_converge_is_said():
    one = synthetic_study.study(methods="none,mg", seeds=2, starts={"gamma": (0.7, 0.99)})
    report = Report(one)
    assert "Runs from different starts stay apart in gamma (mg)" in report.read.text["paths"]
    assert "mg: did not converge." in report.read.text["paths"]


def test_profiles_are_shares_of_runs(report):
    (chart,) = report.charts("profiles")
    for one in report.study.contestants:
        (line,) = traces(chart, legendgroup=one.name, mode="lines+markers")
        middle = len(line["x"]) // 2
        share = np.mean([(runs > line["x"][middle]).mean() for runs in one.last])
        assert line["y"][middle] == pytest.approx(share, abs=1e-3)
        assert line["y"][0] == 1
        assert line["y"][-1] == 0


def test_every_chart_has_words_and_numbers_beside_it(report):
    charts = [a for _, a, _ in report.read.elements if a.get("class") == "chart"]
    assert len(charts) == sum(len(found) for at, found in report.read.charts.items() if at)
    assert all(chart["role"] == "img" and len(chart["aria-label"]) > 50 for chart in charts)
    figures = [at for tag, _, at in report.read.elements if tag == "figure"]
    tables = [at for tag, _, at in report.read.elements if tag == "details" and at != "origin"]
    assert figures == tables


# What it must not contain


def test_nothing_is_loaded(report):
    for tag, attributes, _ in report.read.elements:
        assert tag not in {"iframe", "object", "embed", "base", "video", "audio"}
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    style = report.page.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = (
        a["content"]
        for _, a, _ in report.read.elements
        if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_it_is_small_and_soon_there(report, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    begun = time.perf_counter()
    report_page.write(path, report.study, report.found)
    assert time.perf_counter() - begun < 10
    assert path.stat().st_size < 8e6
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [path]


# How it looks
