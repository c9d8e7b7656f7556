"""Single runs of a report, and those that are named because they differ from the others."""

import numpy as np
import pytest

from selftuning.studies import single_runs
from selftuning.studies.intervals import number
from tests import synthetic_study
from tests.read_report import Report


def study_of(*scores):
    """A study whose method "none" has ended at some scores, a list of seeds for each start."""
    count = len(scores[0])
    found = synthetic_study.study(methods="none,bmg", seeds=count, starts={"gamma": (0.7, 0.9)})

    def ended(one, values):
        curves = [np.tile(np.array(x, float)[:, None], one.curves[0].shape[1]) for x in values]
        return one._replace(curves=curves)

    quiet = [np.linspace(0, 500, count)] * 2  # which sets the range, and has nobody far off
    whose = {"none": scores, "bmg": quiet}
    some = [ended(one, whose[one.name]) for one in found.contestants if one.name in whose]
    return found._replace(contestants=some)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([500, 500, 500, 498, 292], {4}),  # an interquartile mean of 500 says nothing of it
        ([500, 500, 498, 389, 292], {3, 4}),
        ([500, 292, 500], {1}),
        ([100, 200, 300, 400, 500], set()),  # all over the place: nobody stands out
        ([500, 500, 500, 499, 460], set()),  # 40 of 500 are not much
        ([500, 400], set()),  # of two nobody knows which is the odd one
        ([10, 12, 11, 13, 400], {4}),  # better ones too
    ],
)
def test_seeds_that_differ_much_from_the_rest_are_found(scores, expected):
    flat = [250.0] * len(scores)
    found = single_runs.apart(study_of(scores, flat))
    assert {(run.method, run.start, run.seed) for run in found} == {
        ("none", 0, seed) for seed in expected
    }
    for run in found:
        assert run.score == pytest.approx(scores[run.seed])
        assert run.mean == pytest.approx(np.mean(scores))
        assert run.median == pytest.approx(np.median(scores))


def test_where_seeds_scatter_few_are_named():
    """Of 20 seeds that scatter as a bell, hardly one; of 20 with one far away, that one."""
    rng = np.random.default_rng(0)
    named, missed = 0, 0
    for _ in range(50):
        scores = 250 + 40 * rng.standard_normal(20)
        named += len(single_runs.apart(study_of(scores, scores)))
        odd = [*scores[1:], 250 + 10 * 40]
        missed += all(run.seed != 19 for run in single_runs.apart(study_of(odd, scores)))
    assert named < 0.02 * 50 * 40
    assert missed == 0


def test_the_page_draws_every_run_and_names_those():
    report = Report(study_of([500, 500, 500, 498, 292], [250, 251, 252, 253, 254]))
    assert [(run["method"], run["seed"]) for run in report.found["apart"]] == [("none", 4)]
    text = report.read.text["runs"]
    assert (
        "no tuning: from gamma 0.7, seed 4 ends at 292, while the mean of its start is 458" in text
    )
    (chart,) = report.charts("runs")
    for one in report.study.contestants:
        points, means = (
            next(t for t in chart["data"] if t["legendgroup"] == one.name and t["mode"] == mode)
            for mode in ("markers", "lines")
        )
        assert points["y"] == pytest.approx(np.concatenate(one.last).tolist(), rel=1e-4)
        assert len(set(points["x"])) == len(points["x"])  # none hides another
        heights = [y for y in means["y"] if y is not None]
        assert heights == pytest.approx(np.repeat([x.mean() for x in one.last], 2), rel=1e-4)
    (name,) = chart["layout"]["annotations"]
    assert (name["text"], name["y"]) == ("seed 4", 292)
    points = next(t for t in chart["data"] if t["mode"] == "markers")
    assert name["x"] == points["x"][points["y"].index(292)]
    head, *rows = report.read.table("Score of each run")
    assert head == ["method", "start", *(f"seed {seed}" for seed in range(5))]
    assert rows[0] == ["no tuning", "gamma 0.7", *map(number, (500, 500, 500, 498, 292))]


def test_without_any_that_is_said():
    report = Report(study_of([250, 251, 252], [250, 251, 252]))
    assert "No run ends far from the others of its start." in report.read.text["runs"]
    assert "annotations" not in report.charts("runs")[0]["layout"]
