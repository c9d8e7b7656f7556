"""The report of a study as a browser without scripts has it."""

import json
from html.parser import HTMLParser

import pytest

from selftuning.studies import summary
from selftuning.studies.report import page as report_page

NEVER_CLOSED = {"meta", "link", "img", "br", "input"}


class Read(HTMLParser):
    """A page as a browser without scripts has it.

    Attributes:
      elements: name, attributes and id of the section around them, in order.
      text: what is there to read, by section ("" before the first).
      charts: Plotly's data, by section.
      tables: by caption, rows of cells' text.
      values: by caption, rows of what cells are sorted by.
    """

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.charts, self.tables, self.values = [], {}, {}, {}, {}
        self._open, self._section, self._json = [], "", ""
        self.feed(page)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in NEVER_CLOSED:
            self._open.append(tag)
        if tag == "section":
            self._section = attrs["id"]
        self.elements.append((tag, attrs, self._section))
        if tag == "caption":
            self._caption = ""
        if tag == "tr":
            self._cells, self._values = [], []
        if tag in ("td", "th"):
            self._cells.append("")
            self._values.append(attrs.get("data-value"))
        if tag == "script":
            self._json = "" if attrs.get("type") == "application/json" else None

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), self._section))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag == "caption":
            self.tables[self._caption], self.values[self._caption] = [], []
        if tag == "tr":
            self.tables[self._caption].append([cell.strip() for cell in self._cells])
            self.values[self._caption].append(self._values)
        if tag == "script" and self._json:
            # Numbers that JSON has not would stop every chart.
            content = json.loads(self._json, parse_constant=pytest.fail)
            self.charts.setdefault(self._section, []).append(content)
        if tag == "section":
            self._section = ""

    def handle_data(self, data):
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            self._json = None if self._json is None else self._json + data
        elif inside != "style":
            self.text[self._section] = self.text.get(self._section, "") + data
        if inside == "caption":
            self._caption += data
        if {"td", "th"} & set(self._open):
            self._cells[-1] += data

    def table(self, start):
        """The only table whose caption begins so."""
        (caption,) = (caption for caption in self.tables if caption.startswith(start))
        return self.tables[caption]


class Report:
    """A study, its summary, and its page as text and as it is read."""

    def __init__(self, study):
        self.study, self.found = study, summary.summarise(study)
        self.page = report_page.page(study, self.found)
        self.read = Read(self.page)

    def charts(self, section):
        return self.read.charts.get(section, [])
