"""A hyperparameter is described once: everywhere it is shown or used says the same of it.

One of each kind is looked up in all of `PLACES_OF_A_SCALE`, `PLACES_OF_A_LABEL`,
`PLACES_OF_AN_OUTER_VALUE` and `PLACES_OF_A_DOMAIN`: a new place belongs there.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from selftuning.agents import parts
from selftuning.configs import cli, files, hyperparameter_flags, studies
from selftuning.configs.errors import ConfigError
from selftuning.configs.extensions import definitions, extended
from selftuning.configs.hyperparameters import BUILT_IN, default_hyperparameters
from selftuning.configs.settings import AgentSettings, RunSettings
from selftuning.configs.validate import validate
from selftuning.studies import summary
from selftuning.studies.report import paths
from selftuning.studies.searches import ranges
from selftuning.training import plots
from tests import synthetic_study

MODULE = "tests.own_terms"
VALUES = (0.2, 0.5, 0.6)  # on all scales, each with a ratio of distances of its own
TRANSFORMS: dict[str, Callable] = {
    "log": np.log,
    "unit": lambda x: np.log(x / (1 - x)),
    "linear": lambda x: x,
}


class Kind(NamedTuple):
    """What is to be said of a hyperparameter everywhere."""

    scale: str
    outer: float | None
    label: str
    too_large: float


# One of each kind: on each scale, with an outer value and without, built in and of an extension.
KINDS = {
    "entropy": Kind("log", 0.01, "entropy weight", np.inf),
    "alpha_rho": Kind("unit", 1.0, "V-trace alpha_rho", 1.001),
    "learning_rate": Kind("log", None, "learning rate", np.inf),
    "momentum": Kind("unit", None, "momentum", 0.99995),
    "smoothness": Kind("log", 0.1, "smoothness", np.inf),
    "temperature": Kind("unit", 0.6, "temperature", 1.001),
    "surprise": Kind("linear", 0.2, "surprise", np.inf),
}
BEYOND_THE_AXIS = ("alpha_rho",)  # log-odds of an outer value of 1
every_kind = pytest.mark.parametrize("name", KINDS)


def ratio(places):
    """By which scales can be told apart, whatever their unit and direction."""
    low, middle, high = (float(x) for x in places)
    return (middle - low) / (high - middle)


def settings_of():
    """A run that reads and tunes one of each kind."""
    agent = AgentSettings(
        "actor_critic", correction="vtrace", inner_optimizer="momentum", hidden=(4,)
    )
    settings = extended(RunSettings(agent=agent), [MODULE])
    wide = {"learning_rate": {"high": 0.9}, "momentum": {"low": 0.1}}
    names = {
        name: replace(spec, tuned=name in KINDS, **wide.get(name, {}))
        for name, spec in settings.hyperparameters.items()
    }
    return replace(settings, steps=20_000, hyperparameters=names)


@cache
def study_of(name):
    """A study of runs like that, which start at each of the values."""
    return synthetic_study.study(
        methods="none,outer,bmg",
        starts={name: VALUES},
        seeds=1,
        points=3,
        run=files.plain(settings_of()),
    )


def contestant(name):
    return study_of(name).named("bmg")


@cache
def panel(name):
    """The axes on which a run draws its path, and the panel's lines by their labels."""
    axes = Figure().subplots()
    spec = settings_of().hyperparameters[name]
    definition = definitions([MODULE])[name]
    plots._draw_path(axes, definition, np.arange(1, 4), np.array(VALUES), spec)
    return axes, {line.get_label(): line for line in axes.get_lines()}


def section_of(study):
    settings, tuning = study.measured.settings, [one for one in study.contestants if one.tuned]
    found = [summary._convergence(settings, one, name) for one in tuning for name in one.tuned]
    return paths.section(study, found)


@cache
def picture(name):
    """The report's picture of its paths, and the first chart of it."""
    section = section_of(study_of(name))
    (found,) = (x for x in section.pictures if x.heading == name)
    return section, found, found.charts[0].figure


# The scale


def tuning(name):
    return parts.space(settings_of())[name].bijector.inverse(np.array(VALUES))


def search(name):
    return ranges.position(ranges.ranges_of(settings_of())[name], np.array(VALUES))


def plot_of_a_run(name):
    axes = panel(name)[0]
    return axes.yaxis.get_transform().transform(np.array(VALUES))


def report(name):
    _, _, figure = picture(name)
    starts = [x for x in figure.data if x.mode == "markers"]
    values = {id(x): float(re.search(r"<b>(.+)</b>", x.customdata[0])[1]) for x in starts}
    return [x.y[0] for x in sorted(starts, key=lambda x: values[id(x)])]


def convergence(name):
    """How much of a spread from the first to the second value a spread to the third is."""
    low, middle, high = VALUES
    ends = [np.full((1, 3), middle), np.full((1, 3), high)]
    one = contestant(name)
    one = one._replace(starts=[{name: low}, {name: middle}], paths={**one.paths, name: ends})
    found = summary._convergence(study_of(name).measured.settings, one, name)
    return 0.0, 1.0, 1.0 + found["spread_left"]


PLACES_OF_A_SCALE = (tuning, search, plot_of_a_run, report, convergence)


@every_kind
@pytest.mark.parametrize("place", PLACES_OF_A_SCALE, ids=lambda place: place.__name__)
def test_the_scale_is_the_same_everywhere(name, place):
    expected = ratio(TRANSFORMS[KINDS[name].scale](np.array(VALUES)))
    assert ratio(place(name)) == pytest.approx(expected, rel=1e-4)


# The label


def axis_of_the_plot(name):
    return panel(name)[0].get_ylabel()


def axis_of_the_report(name):
    return picture(name)[2].layout.yaxis.title.text


def caption_of_the_report(name):
    return picture(name)[1].caption.removeprefix("The ").partition(" over ")[0]


def table_of_the_report(name):
    return picture(name)[1].numbers.caption.removeprefix("Mean ").partition(" over ")[0]


PLACES_OF_A_LABEL = (
    axis_of_the_plot,
    axis_of_the_report,
    caption_of_the_report,
    table_of_the_report,
)


@every_kind
@pytest.mark.parametrize("place", PLACES_OF_A_LABEL, ids=lambda place: place.__name__)
def test_the_label_is_the_same_everywhere(name, place):
    assert place(name) == KINDS[name].label


@every_kind
def test_its_name_is_that_of_columns_and_settings(name):
    study = study_of(name)
    assert {name, f"start_{name}"} <= set(study.measured.table.columns)
    assert name in study.measured.settings.run.in_use
    found = summary._convergence(study.measured.settings, contestant(name), name)
    assert found["hyperparameter"] == name
    assert found["starts"] == [min(VALUES), max(VALUES)]


# The value in the outer objective


def outer_of_settings(name):
    return settings_of().outer.get(name)


def outer_of_config_yaml(name):
    return yaml.safe_load(files.dump(settings_of()))["hyperparameters"][name]["outer"]


def outer_of_the_flag(name):
    """What --outer leaves of it, or None where the flag refuses it."""
    before = settings_of().hyperparameters
    flags = hyperparameter_flags.HyperparameterFlags(outer=(f"{name}=0.3",))
    if KINDS[name].outer is None:
        with pytest.raises(ConfigError, match=f"^--outer: {name} is no part of the outer obj"):
            hyperparameter_flags.edit(before, flags)
    else:
        assert hyperparameter_flags.edit(before, flags)[name].outer == 0.3
    return before[name].outer


def outer_of_the_method(name):
    """Where runs of the method "outer" start it, other than at their own start."""
    (start,) = studies.starts(study_of(name).measured.settings, "outer")
    return start.get(name)


def outer_of_the_plot(name):
    line = panel(name)[1].get("in the outer objective")
    if name in BEYOND_THE_AXIS:
        assert line is None
        return KINDS[name].outer
    return None if line is None else line.get_ydata()[0]


def outer_of_the_report(name):
    section, found, figure = picture(name)
    assert any("outer" in key.label for key in section.legend)  # others that are tuned have one
    said = found.caption.partition("Its value in the outer objective is ")[2]
    drawn = [x for x in figure.data if x.line.dash == "2px,3px"]
    assert len(drawn) == (bool(said) and name not in BEYOND_THE_AXIS)
    return float(said.split()[0].rstrip(".")) if said else None


PLACES_OF_AN_OUTER_VALUE = (
    outer_of_settings,
    outer_of_config_yaml,
    outer_of_the_flag,
    outer_of_the_method,
    outer_of_the_plot,
    outer_of_the_report,
)


@every_kind
@pytest.mark.parametrize("place", PLACES_OF_AN_OUTER_VALUE, ids=lambda place: place.__name__)
def test_the_outer_value_is_the_same_everywhere(name, place):
    assert place(name) == KINDS[name].outer


def test_a_report_of_what_has_no_outer_value_has_no_line_and_no_legend_for_it():
    hyperparameters = {n: {"tuned": n == "learning_rate"} for n in default_hyperparameters()}
    run = {"env": "CartPole", "hyperparameters": hyperparameters}
    starts = {"learning_rate": (0.01, 0.001)}
    study = synthetic_study.study(methods="bmg", starts=starts, seeds=1, points=3, run=run)
    section = section_of(study)
    assert [key.label for key in section.legend] == ["learning_rate 0.01", "learning_rate 0.001"]


def test_the_method_outer_of_q_lambda_starts_what_its_loss_reads():
    run = {"env": "CartPole", "hyperparameters": {"gamma": {"outer": 0.9}}}
    layer = {"run": run, "methods": {"outer": {"of": "outer", "preset": "q_lambda"}}}
    assert studies.starts(studies.layered([layer]), "outer") == [{"gamma": 0.9, "lambda": 0.95}]


# The domain


def refused_by(check, name, value):
    with pytest.raises(ConfigError, match=f" of {name}: "):
        check(name, value)


def start_of_a_run(name, value):
    validate(studies.started(settings_of(), {name: value}))


def bounds_of_a_run(name, value):
    names = settings_of().hyperparameters
    names = names | {name: replace(names[name], start=0.15, low=0.12, high=value)}
    validate(replace(settings_of(), hyperparameters=names))


def range_of_a_search(name, value):
    ranges.check_ranges(settings_of(), {name: ranges.Range(0.1, value, "linear")})


PLACES_OF_A_DOMAIN = (start_of_a_run, bounds_of_a_run, range_of_a_search)


@every_kind
@pytest.mark.parametrize("place", PLACES_OF_A_DOMAIN, ids=lambda place: place.__name__)
def test_the_domain_is_the_same_everywhere(name, place):
    refused_by(place, name, KINDS[name].too_large)
    for value in (0.2, 0.9):
        place(name, value)


# Files and help


def test_help_has_all_of_the_record(capsys):
    assert cli.parse(["--help"]) is None
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, one in BUILT_IN.items():
        spec = one.default
        assert f"- {name}: {one.about}" in said
        for text in (f"{name}={spec.start:g}", f"{name}={spec.low:g}:{spec.high:g}"):
            assert text in said
    outer = said.partition("never tuned. [default: ")[2].partition("]")[0].split()
    assert outer == [f"{name}={value:g}" for name, value in RunSettings().outer.items()]


def test_a_file_with_a_number_that_never_counted_is_read_without_it(tmp_path):
    """Files of version 0.1 have outer values of all hyperparameters."""
    settings = settings_of()
    written = yaml.safe_load(files.dump(settings))
    assert written["hyperparameters"]["learning_rate"]["outer"] is None
    for name in ("learning_rate", "momentum", "epsilon", "hint_weight"):
        written["hyperparameters"][name]["outer"] = 0.5
    path = tmp_path / "config.yaml"
    for data in (written, files.plain(settings)):
        path.write_text(yaml.safe_dump(data))
        assert files.load(path) == settings


def test_what_has_an_outer_value_cannot_be_without(tmp_path):
    written = files.plain(settings_of())
    written["hyperparameters"]["gamma"]["outer"] = None
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(written))
    with pytest.raises(ConfigError, match="outer of gamma: None is not allowed; it must be a num"):
        validate(files.load(path))
    names = default_hyperparameters()
    names["momentum"] = replace(names["momentum"], outer=0.5)
    with pytest.raises(ConfigError, match=r"outer of momentum: 0\.5 .* must be left out"):
        validate(RunSettings(hyperparameters=names))
