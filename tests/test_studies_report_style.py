"""Colours, lines and axes of a report can be read."""

import numpy as np
import pytest

from selftuning.studies.report import scales as report_scales
from selftuning.studies.report import style as report_style
from tests import synthetic_study


def test_numbers_can_be_read_on_every_colour_of_the_heat_maps():
    for place, colour in zip(np.linspace(0, 1, 65), report_style.heat_colours(65), strict=True):
        shown = luminance(colour)
        ink = {"#000": 0.0, "#fff": 1.0}[report_style.on_heat(float(place))]
        lighter, darker = max(shown, ink), min(shown, ink)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def luminance(colour):
    """Relative luminance of #rrggbb, as in the guidelines of accessibility."""
    parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_lines_can_be_told_apart_without_colour_and_seen_in_both_themes():
    contestants = synthetic_study.searches().contestants
    looks = report_style.of_contestants(contestants).values()
    assert len({(look.dash, look.symbol) for look in looks}) == len(looks)
    for look in [*looks, *report_style.of_starts([str(n) for n in range(9)]).values()]:
        assert 1.05 / (luminance(look.colour) + 0.05) > 1.8
        assert (luminance(look.dark) + 0.05) / (luminance("#14181d") + 0.05) > 2.5


@pytest.mark.parametrize("name", ["gamma", "entropy"])
@pytest.mark.parametrize("ends", [(0.7, 0.999), (0.5, 0.5), (1e-4, 0.3), (0.9900, 0.9901)])
def test_axes_of_hyperparameters_have_ticks_that_can_be_read(name, ends):
    scale = report_scales.scale_of(name)
    axis = scale.axis(scale.forward(np.array(ends)))
    low, high = axis["range"]
    places = axis["tickvals"]
    assert 2 <= len(places) <= 8
    assert all(low <= place <= high for place in places)
    assert (np.diff(places) > 0.05 * (high - low)).all()
    assert len(set(axis["ticktext"])) == len(places)
    for place, label in zip(places, axis["ticktext"], strict=True):
        assert float(scale.inverse(np.array(place))) == pytest.approx(float(label), rel=1e-3)


@pytest.mark.parametrize(
    ("values", "bottom"),
    [((20, 500), 0.0), ((400, 500), 395.0), ((100, 500), 80.0), ((-500, -20), -524.0), ((0, 1), 0)],
)
def test_axes_of_scores_begin_at_zero_only_where_that_costs_nothing(values, bottom):
    low, high = report_style.score_axis("return", values)["range"]
    assert low == pytest.approx(bottom)
    assert high > max(values)
