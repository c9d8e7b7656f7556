"""How the charts of a report look: colours, dashes and symbols, axes, numbers as text.

Figures are complete in the colours of the light theme; `Look.dark` and `DARK` say what each becomes
in the dark, where the page puts one for the other. Contestants have the colours of Okabe & Ito and
a dash each. Starts have an order, and so a sequential scale and a symbol each. Both can be told
apart without colour.
"""

from __future__ import annotations

import html
import itertools
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale, unlabel_rgb

from selftuning.studies.contestants import Contestant
from selftuning.studies.report.legible import legible

INK, MUTED, GRID, PAPER = "#1f2328", "#59636e", "#d9dee3", "#ffffff"
DARK = {INK: "#e6edf3", MUTED: "#9da7b3", GRID: "#353c45", PAPER: "#1c2128"}
HEAT = "Cividis"  # of scores; Viridis is that of starts
SINGLE = 0.4  # opacity of what belongs to single runs
BAND = 0.17  # of intervals
NO_PAPER = "rgba(0,0,0,0)"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_WIDTH = 28  # letters of a line in hover labels, for phones
_MOST_LINES = 6  # of them for one name
_LONGEST_TITLE = 44  # letters of the title of an axis
_ROOM = 0.012  # of an axis of steps, beyond the last
_AROUND = 0.05  # of an axis of scores, below the lowest and above the highest
_BEYOND = 0.3  # of the height of all values, for which intervals may go beyond on either side
_TO_ZERO = 0.1  # of an axis of scores, which may be empty so that it begins at 0

# Black for the first that does not tune, grey for the best start of it; the brighter for the dark.
_PLAIN, _BEST = ("#000000", "#f0f3f6"), ("#767676", "#9a9fa5")
_HUES = (
    ("#d55e00", "#ff8b45"),
    ("#0072b2", "#58b1f0"),
    ("#009e73", "#2bc49a"),
    ("#cc79a7", "#e79bc5"),
    ("#e69f00", "#f2bd42"),
    ("#56b4e9", "#b4defc"),
)
_DASHES = ("solid", "9px,4px", "2px,3px", "9px,3px,2px,3px", "16px,5px")
# Plotly's names of symbols, and their outlines in a square of 12 units for legends.
SYMBOLS = {
    "circle": "M6 1.5a4.5 4.5 0 1 0 .01 0z",
    "square": "M2 2h8v8h-8z",
    "diamond": "M6 .5 11.5 6 6 11.5 .5 6z",
    "triangle-up": "M6 1 11 10.5H1z",
    "triangle-down": "M6 11 11 1.5H1z",
    "cross": "M4.2 1h3.6v3.2H11v3.6H7.8V11H4.2V7.8H1V4.2h3.2z",
    "x": "M3.2 .8 6 3.6 8.8 .8l2.4 2.4L8.4 6l2.8 2.8-2.4 2.4L6 8.4l-2.8 2.8L.8 8.8 3.6 6 .8 3.2z",
    "star": "M6 .5 7.5 4.3 11.6 4.6 8.4 7.2 9.4 11.2 6 9 2.6 11.2 3.6 7.2 .4 4.6 4.5 4.3z",
}


class Look(NamedTuple):
    """How something is drawn.

    Attributes:
      colour: on white.
      dark: colour on black.
      dash: of lines, in Plotly's words.
      symbol: of points, a key of `SYMBOLS`.
    """

    colour: str
    dark: str
    dash: str
    symbol: str


Looks = Mapping[str, Look]  # by name


def of_contestants(everybody: Iterable[Contestant]) -> dict[str, Look]:
    """A look for each contestant, by name; of those that tune come the plainer dashes."""
    everybody = list(everybody)
    plain = next((one.name for one in everybody if one.fixed), None)
    hues = itertools.cycle(_HUES)
    colours = {
        one.name: _PLAIN if one.name == plain else _BEST if one.chosen else next(hues)
        for one in everybody
    }
    ranked = sorted(everybody, key=lambda one: (one.chosen, one.fixed))
    styles = zip(itertools.cycle(_DASHES), itertools.cycle(SYMBOLS), strict=False)
    styles_of = {one.name: style for one, style in zip(ranked, styles, strict=False)}
    return {name: Look(*pair, *styles_of[name]) for name, pair in colours.items()}


def of_starts(names: Sequence[str]) -> dict[str, Look]:
    """A look for each of some starts in order, by the same names."""
    places = np.linspace(0, 1, len(names)) if len(names) > 1 else np.array([0.4])
    # Not the ends of the scale that are hard to see on white, or on black.
    light, dark = (_sampled(low + (high - low) * places) for low, high in ((0, 0.82), (0.3, 1)))
    symbols = itertools.cycle(SYMBOLS)
    looks = zip(light, dark, itertools.repeat("solid"), symbols, strict=False)
    return {name: Look(*look) for name, look in zip(names, looks, strict=False)}


def dark_colours(looks: Iterable[Look]) -> dict[str, str]:
    """What the colours of figures become in the dark."""
    return DARK | {look.colour: look.dark for look in looks}


def heat_colours(count: int) -> list[str]:
    """Colours of `HEAT`, from the lowest to the highest."""
    return _sampled(np.linspace(0, 1, count), HEAT)


def on_heat(place: float) -> str:
    """Black or white, whichever can be read on the colour at a place between 0 and 1."""
    (colour,) = _sampled(np.array([place]), HEAT)
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    luminance = float(np.dot((0.2126, 0.7152, 0.0722), linear))
    # Not a colour of the theme, as the cell's is none. Contrast with both is equal at 0.179.
    return "#000" if luminance > 0.179 else "#fff"


def _sampled(places: np.ndarray, scale: str = "Viridis") -> list[str]:
    colours = sample_colorscale(scale, [float(x) for x in places])
    return ["#{:02x}{:02x}{:02x}".format(*(round(x) for x in unlabel_rgb(c))) for c in colours]


def figure(
    traces: Sequence[Any], x: Mapping[str, Any], y: Mapping[str, Any], **layout: Any
) -> go.Figure:
    """A figure without a legend, in the house's style.

    Args:
      traces: of Plotly.
      x: what its axis has beyond the usual; `title` is its text, which is cut if it is too long.
      y: the same of the other axis.
      layout: and of the figure.
    """
    base = {
        "showlegend": False,
        "paper_bgcolor": NO_PAPER,
        "plot_bgcolor": NO_PAPER,
        "font": {"family": _FONT, "size": 13, "color": INK},
        "margin": {"l": 58, "r": 22, "t": 12, "b": 50},
        "hoverlabel": {
            "bgcolor": PAPER,
            "bordercolor": MUTED,
            "font": {"family": _FONT, "size": 13, "color": INK},
            "align": "left",
            "namelength": -1,
        },
    }
    return go.Figure(traces, base | {"xaxis": _axis(x), "yaxis": _axis(y)} | layout)


def scatter(
    x: Any,
    y: Any,
    look: Look,
    *,
    width: float = 0,
    size: Any = None,
    marker: Mapping[str, Any] = MappingProxyType({}),
    tip: str | None = None,
    **more: Any,
) -> go.Scatter:
    """Lines of a `width` and points of a `size` in pixels, either or both, in a look.

    None in x and y makes a gap. `marker` adds to the points, `tip` is the template of what the
    mouse shows over one.
    """
    drawn: dict[str, Any] = {"hoverinfo": "skip"}
    if tip is not None:
        drawn = {"hovertemplate": f"{tip}<extra></extra>"}
    if width:
        drawn["line"] = {"color": look.colour, "dash": look.dash, "width": width}
    if size is not None:
        drawn["marker"] = {"color": look.colour, "symbol": look.symbol, "size": size, **marker}
    modes = {"lines": width > 0, "markers": size is not None}
    drawn["mode"] = "+".join(mode for mode, there in modes.items() if there)
    return go.Scatter(x=np.asarray(x).tolist(), y=np.asarray(y).tolist(), **drawn, **more)


def _axis(given: Mapping[str, Any]) -> dict[str, Any]:
    usual = {
        "gridcolor": GRID,
        "linecolor": MUTED,
        "tickcolor": MUTED,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "zeroline": False,
        "nticks": 6,
        "automargin": True,
    }
    title = {"text": text(shortened(given["title"], _LONGEST_TITLE)), "standoff": 8}
    return usual | {**given, "title": title}


def steps_axis(last: float, before: float = 0.0, **more: Any) -> dict[str, Any]:
    """The axis of environment steps, from 0 to the last with room for its symbols.

    Args:
      last: environment steps at the end.
      before: room on the left of 0, as a part of the last.
      more: what the axis has beyond that.
    """
    name = {"title": "environment steps", "tickformat": "~s", "hoverformat": ",d"}
    return name | {"range": [-before * last, (1 + _ROOM) * last]} | more


def score_axis(title: str, values: Sequence[float], ends: Sequence[float] = ()) -> dict[str, Any]:
    """The axis of scores around what is drawn, from 0 if that costs next to nothing of it.

    Args:
      title: of it.
      values: all of which are shown.
      ends: of intervals, and what else is shown if it is near: intervals of few seeds may be many
        times as wide as the values are apart.
    """
    low, high = min(values), max(values)
    reach = _BEYOND * (high - low)
    near = [float(np.clip(end, low - reach, high + reach)) for end in ends]
    low, high = min([low, *near]), max([high, *near])
    room = _AROUND * (high - low) or max(0.5, abs(high) / 100)
    bottom = 0.0 if 0 <= low <= _TO_ZERO * high else low - room
    return {"title": title, "separatethousands": True, "range": [bottom, high + room]}


def is_cut(axis: Mapping[str, Any], ends: Sequence[float]) -> bool:
    """Whether some ends are off an axis."""
    low, high = axis["range"]
    return any(not low <= end <= high for end in ends)


def data_of(chart: go.Figure) -> dict[str, Any]:
    """A figure as compact plain data: five digits, no template, null for what is not finite."""
    data = chart.to_plotly_json()
    data["layout"].pop("template", None)
    return _compact(data)


def _compact(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _compact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_compact(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return legible(value)
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def text(words: str) -> str:
    """Words for a figure, in which Plotly would otherwise see markup."""
    return html.escape(words, quote=False)


def shortened(words: str, letters: int) -> str:
    """Words of at most so many letters, for figures do not break lines."""
    return words if len(words) <= letters else f"{words[: letters - 1]}…"


def wrapped(words: str) -> str:
    """The same in a few lines that fit on a phone."""
    lines = textwrap.wrap(shortened(words, _MOST_LINES * _WIDTH), _WIDTH)
    return "<br>".join(text(line) for line in lines) or text(words)
