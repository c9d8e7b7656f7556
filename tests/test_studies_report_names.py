"""Names of methods, environments and hyperparameters in a report may be anything."""

import io
import re

import pytest
from rich.console import Console

from selftuning.studies import study_report
from tests import synthetic_study
from tests.read_report import Report


@pytest.fixture(scope="module")
def report():
    with synthetic_study.hostile() as study:
        yield Report(study)


def test_names_that_are_markup_stay_text(report):
    elements = report.read.elements
    assert not [a for tag, a, _ in elements if tag == "img"]
    scripts = [a for tag, a, _ in elements if tag == "script" and "type" not in a]
    assert len(scripts) == 2  # Plotly, and the page's own
    handlers = [k for _, a, _ in elements for k in a if k.startswith("on")]
    assert handlers == []
    column = [row[0] for row in report.read.table("Contestants by")[1:]]
    assert [x for x in column if ", best start (" not in x] == list(synthetic_study.SHOWN)
    assert " ".join(synthetic_study.SHOWN) in report.read.text[""]  # the environment


def test_charts_read_no_markup_in_names(report):
    """Plotly knows some markup, and templates: there names are escaped once more."""
    named = " ".join(text.replace("<br>", " ") for text in texts(list(report.read.charts.values())))
    assert "&lt;img src=x onerror=alert(1)&gt;" in named
    assert re.findall(r"<(?!/?(?:b|extra)>)[^>]*>", named) == []
    bold = re.findall(r"<b>(.*?)</b>", named)
    assert bold
    assert not any("<" in text or "and on" in text for text in bold)
    templates = [t["hovertemplate"] for t in traces_of(report) if "hovertemplate" in t]
    assert not any("$title" in template for template in templates)  # %{x} in it would be filled in
    titles = [c["layout"][f"{x}axis"]["title"]["text"] for c in charts_of(report) for x in "xy"]
    assert any(title.startswith("&lt;/script&gt;") for title in titles)


def test_names_turn_no_line_around_and_fill_none(report):
    """What is written from right to left stands in an isolate, with nothing else."""
    for words in [*report.read.text.values(), *texts(list(report.read.charts.values()))]:
        assert not re.search("[\u202a-\u202e\u2066\u2067]", words)
        outside = re.sub("\u2068[^\u2068\u2069]*\u2069", "", words)
        assert not re.search("[\u0590-\u05ff\u2068\u2069]", outside)
    outside = [words for at, words in report.read.text.items() if at != "origin"]
    assert max(len(word) for words in outside for word in words.split()) <= 120
    assert "\\u202e" in report.read.text["origin"].lower()  # settings are spelled out


def test_names_are_no_markup_on_the_terminal(report, tmp_path):
    console = Console(file=io.StringIO(), width=2000)
    study_report.print_summary(console, tmp_path, report.study, report.found)
    assert "a tab and [red]brackets[/]" in console.file.getvalue()


def charts_of(report):
    return [chart for at, found in report.read.charts.items() if at for chart in found]


def traces_of(report):
    return [trace for chart in charts_of(report) for trace in chart["data"]]


def texts(value):
    """All texts in a value of JSON."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []
