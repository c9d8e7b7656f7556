"""The report of a study in a real browser: what it draws, tells and sorts, and for whom."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from selftuning.studies import statistics, summary
from selftuning.studies.intervals import number, said
from selftuning.studies.report import page as report_page
from selftuning.studies.report.parts import Progress, Running
from tests import synthetic_study
from tests.in_browser import Opened
from tests.marks import mostly_slow

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    BROWSER is None,
    reason="no browser: install chromium, on Debian with apt-get install chromium",
)
SCREENSHOTS = os.environ.get("SCREENSHOTS")  # directory to keep pictures of pages in
VIEWS = [(theme, width) for theme in ("light", "dark") for width in (1280, 390)]
SHORT = {"light-1280", "dark-390"}  # each theme and each width


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def study():
    return synthetic_study.study(
        methods="none,mg,bmg", starts={"gamma": (0.7, 0.99), "entropy": (0.003, 0.03)}, seeds=3
    )


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    report_page.write(path, study, summary.summarise(study))
    return path


@pytest.fixture(scope="module")
def page(browser, report):
    """A page that several tests use: each leaves all but the order of the table as it was."""
    one = Opened(browser, report)
    yield one.drawn("light")
    one.close()


@pytest.fixture
def opened(browser):
    """Opens pages, and looks at the end of the test at what they did."""
    pages = []

    def open_page(*arguments, **options):
        pages.append(Opened(browser, *arguments, **options))
        return pages[-1]

    yield open_page
    for one in pages:
        one.close()


@pytest.mark.parametrize(
    ("theme", "width"), mostly_slow({f"{t}-{w}": (t, w) for t, w in VIEWS}, SHORT)
)
def test_it_opens_from_disk_fits_and_can_be_used_by_all(opened, report, theme, width):
    one = opened(report, theme, width)
    page = one.drawn(theme)
    assert page.locator(".chart .main-svg").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") == width
    cut = "(one) => one.scrollWidth > one.clientWidth"
    assert page.locator("#numbers .scroll").evaluate(cut) is (width == 390)
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(SCREENSHOTS, f"report-{theme}-{width}.png"), full_page=True)
    # With all tables in sight, as faults of what is hidden are not looked for.
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    violations = Axe().run(page).response["violations"]
    serious = [
        (fault["id"], fault["impact"], [node["html"][:200] for node in fault["nodes"][:3]])
        for fault in violations
        if fault["impact"] in ("serious", "critical")
    ]
    assert serious == []


# Pointing


def point_at(page, chart, x, y):
    """Moves the mouse to a place in data of a chart, and returns what is told there."""
    page.locator(chart).first.scroll_into_view_if_needed()
    place = page.evaluate(
        """([chart, x, y]) => {
          const one = document.querySelector(chart), { xaxis, yaxis } = one._fullLayout;
          const { left, top } = one.getBoundingClientRect();
          return [
            left + xaxis._offset + xaxis.d2p(x), top + yaxis._offset + yaxis.d2p(y),
          ];
        }""",
        [chart, x, y],
    )
    page.mouse.move(place[0] - 40, place[1] + 20)
    page.mouse.move(*place, steps=4)
    page.wait_for_timeout(500)  # what is told follows the mouse with a delay
    return page.locator(f"{chart} .hoverlayer").first.text_content()


def said_of(label, told):
    """The number that stands after a label, before its interval."""
    return float(told.partition(f"{label}: ")[2].partition(" [")[0])


def test_pointing_at_a_curve_tells_its_numbers(page, study):
    one = study.named("bmg")
    point = 20
    value = float(statistics.mean(*(curve[:, point] for curve in one.curves)))
    told = point_at(page, "#curves .chart", float(one.steps[point]), value)
    assert f"after {one.steps[point]:,.0f} environment steps" in told
    assert said_of("bmg", told) == pytest.approx(value, abs=0.51)


def test_pointing_at_a_heat_map_tells_mean_interval_and_runs(page, study):
    start = summary.describe(study.named("none"), study.target)["by_start"][1]
    assert start["start"] == {"gamma": 0.7, "entropy": 0.03}
    told = point_at(page, "#starts .chart", 0, 1)
    assert "gamma 0.7, entropy 0.03" in told
    assert said(start["last_tenth"]) in told
    assert number(start["runs"][0]) in told


def test_pointing_at_a_path_tells_the_value(page, study):
    runs = study.named("mg").paths["gamma"][0]
    place = page.evaluate(
        """() => {
          const mean = document.querySelector("#paths .chart").data.find(
            (trace) => trace.legendgroup === "gamma 0.7, entropy 0.003" && trace.hovertemplate);
          return [mean.x.at(-1), mean.y.at(-1)];
        }"""
    )
    told = point_at(page, "#paths .chart", *place)
    assert f"gamma {runs[:, -1].mean():.3f}" in told
    assert "after 200,000 steps" in told


# Sorting


def order(page):
    return page.locator(".sortable tbody th").all_text_contents()


def test_a_click_or_enter_sorts_rows(page, study):
    found = summary.summarise(study)["methods"]
    ranked = sorted(found.values(), key=lambda method: method["last_tenth"]["mean"]["value"])
    upwards = [method["label"] for method in ranked]
    assert order(page) not in (upwards, upwards[::-1])
    head = page.locator(".sortable thead th").nth(2)
    assert head.text_content() == "mean, last tenth"
    head.locator("button").click()
    assert order(page) == upwards[::-1]  # the best first
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("#told").text_content() == "Sorted by mean, last tenth, descending"
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert order(page) == upwards
    assert head.get_attribute("aria-sort") == "ascending"
    gap = page.locator(".sortable thead th", has_text="optimality gap")
    gap.locator("button").click()
    assert gap.get_attribute("aria-sort") == "ascending"  # the smaller, the better
    by_gap = sorted(found.values(), key=lambda one: one["last_tenth"]["optimality_gap"]["value"])
    assert order(page) == [method["label"] for method in by_gap]
    page.locator(".sortable thead th button").first.press("Enter")
    assert order(page) == sorted(upwards, key=str.lower)
    assert head.get_attribute("aria-sort") is None
    assert page.locator("[aria-sort]").count() == 1


def test_what_is_not_known_is_last_both_ways(page):
    (place,) = (
        n
        for n, text in enumerate(page.locator(".sortable thead th").all_text_contents())
        if text == "median steps to solve"
    )
    for _ in range(2):
        page.locator(".sortable thead th").nth(place).locator("button").click()
        cells = [
            row.locator("th, td").nth(place).text_content()
            for row in page.locator(".sortable tbody tr").all()
        ]
        assert "-" in cells
        known = [cell for cell in cells if cell != "-"]
        assert cells == known + ["-"] * (len(cells) - len(known))


# The rest of the page


def test_the_theme_can_be_chosen(page):
    paper = "getComputedStyle(document.body).backgroundColor"
    stroke = """() => getComputedStyle(document.querySelector(
        "#curves .chart .scatterlayer .trace:last-child .js-line")).stroke"""
    drawn = "html[data-drawn='{}']"
    before = page.evaluate(paper), page.evaluate(stroke)
    page.locator("#theme").select_option("dark")
    page.locator(drawn.format("dark")).wait_for(state="attached")
    after = page.evaluate(paper), page.evaluate(stroke)
    assert (before[0], after[0]) == ("rgb(255, 255, 255)", "rgb(20, 24, 29)")
    assert before[1] != after[1]
    page.locator("#theme").select_option("")
    page.locator(drawn.format("light")).wait_for(state="attached")
    assert (page.evaluate(paper), page.evaluate(stroke)) == before
    page.emulate_media(color_scheme="dark")
    page.locator(drawn.format("dark")).wait_for(state="attached")
    assert (page.evaluate(paper), page.evaluate(stroke)) == after
    page.emulate_media(color_scheme="light")
    page.locator(drawn.format("light")).wait_for(state="attached")


def test_legends_show_and_hide_lines(page):
    lines = page.locator("#curves .chart .scatterlayer .trace")
    before = lines.count()
    entry = page.locator("#curves .legend button", has_text="bmg")
    entry.click()
    assert entry.get_attribute("aria-pressed") == "false"
    page.wait_for_timeout(100)
    assert lines.count() == before - 2  # a line and its band
    entry.press("Enter")
    assert entry.get_attribute("aria-pressed") == "true"
    page.wait_for_timeout(100)
    assert lines.count() == before


def test_the_keyboard_reaches_content_and_tables(opened, report):
    page = opened(report).drawn()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("#curves summary").press("Enter")
    table = page.locator("#curves table")
    assert table.is_visible()
    page.set_viewport_size({"width": 390, "height": 900})
    region = page.locator("#numbers .scroll")
    region.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert region.evaluate("(one) => one.scrollLeft") > 0


def test_without_scripts_there_is_all_but_the_charts(opened, report):
    page = opened(report, java_script_enabled=False).page
    assert page.locator("h1").is_visible()
    assert "Charts need JavaScript" in page.locator("noscript p").text_content()
    assert page.locator("#numbers table").is_visible()
    assert not page.locator(".chart").first.is_visible()
    assert not page.locator("#theme").is_visible()
    page.locator("#curves summary").click()
    assert page.locator("#curves table").is_visible()


def test_names_that_are_markup_do_nothing(opened, tmp_path):
    path = tmp_path / "report.html"
    with synthetic_study.hostile() as study:
        report_page.write(path, study, summary.summarise(study))
    page = opened(path, width=390).drawn()
    assert page.locator("img").count() == 0
    assert page.locator(".chart a").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    labels = page.locator("#curves .legend button").all_text_contents()
    assert [x for x in labels if ", best start (" not in x] == list(synthetic_study.SHOWN)
    one = study.named("none")
    value = float(statistics.mean(*(curve[:, -1] for curve in one.curves)))
    told = point_at(page, "#curves .chart", float(one.steps[-1]), value)
    assert said_of("<img src=x onerror=alert(1)>", told) == pytest.approx(value, abs=0.51)
    page.set_viewport_size({"width": 1280, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
    entry = page.locator("#curves .legend button", has_text="brackets")
    lines = page.locator("#curves .chart .scatterlayer .trace")
    before = lines.count()
    entry.click()
    page.wait_for_timeout(100)
    assert lines.count() == before - 2  # a line and its band


# While a study runs


def test_a_page_of_a_study_that_runs_looks_for_the_next_one(opened, study, tmp_path):
    """It stays as its reader has it, and ends with the last one."""
    path, found = tmp_path / "report.html", summary.summarise(study)

    def write(done, every):
        running = [Running("bmg", done, 12, done / 12)]
        now = Progress(running, time.time(), every)
        report_page.write(path, study, found, now if done < 12 else None)

    write(3, 3.0)
    one = opened(path)
    page = one.drawn("light")
    assert "3 of 12 runs have ended" in page.locator("#live h2").text_content()
    page.locator("#theme").select_option("dark")
    page.locator("#curves summary").click()
    write(6, 600.0)
    page.get_by_text("6 of 12 runs have ended").wait_for()
    one.drawn("dark")
    assert page.locator("#theme").input_value() == "dark"
    assert page.locator("#curves table").is_visible()
    assert page.locator("#fresh").text_content().startswith("Drawn at ")
    write(12, 600.0)
    page.reload()
    one.drawn("light")
    assert page.locator("#live").count() == 0
    assert len(one.requests) >= 3
    assert set(one.requests) == {one.address}  # and `close` looks at what else was asked for
    one.requests[:] = [one.address]


def test_a_page_that_was_not_drawn_for_long_says_so_and_can_be_held(opened, study, tmp_path):
    path = tmp_path / "report.html"
    old = Progress([Running("bmg", 3, 12, 0.3)], time.time() - 3600, 3.0)
    report_page.write(path, study, summary.summarise(study), old)
    one = opened(path)
    page = one.drawn("light")
    page.locator("#again").uncheck()
    before = len(one.requests)
    page.wait_for_timeout(4000)
    assert len(one.requests) == before
    assert "60 min ago. It may have stopped" in page.locator("#fresh").text_content()
    one.requests[:] = [one.address]


# On paper


def test_on_paper_every_chart_has_the_width_of_its_place(opened, report):
    """Whatever the theme and the width of the window that it is printed from."""
    for theme, width in (("dark", 1280), ("light", 390)):
        page = opened(report, theme, width).drawn(theme)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 703, "height": 1000})
        for chart in page.locator(".chart").all():
            place, drawn, last = chart.evaluate(
                """(one) => [
                  one.parentElement, one.querySelector(".main-svg"),
                  [...one.querySelectorAll(".xtick")].at(-1),
                ].map((each) => each.getBoundingClientRect().right)"""
            )
            assert drawn == pytest.approx(place, abs=1)
            assert 0.6 * place < last <= place + 1
        ink = "getComputedStyle(document.querySelector('.chart .xtick text')).fill"
        assert page.evaluate(ink) == "rgb(31, 35, 40)"
        adjust = "getComputedStyle(document.querySelector('.verdict')).printColorAdjust"
        assert page.evaluate(adjust) == "exact"
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(300)
        chart = page.locator(".chart").first
        assert chart.locator(".main-svg").first.get_attribute("viewBox") is None
        assert chart.locator(".main-svg").first.bounding_box()["width"] == pytest.approx(
            chart.bounding_box()["width"], abs=1
        )


@pytest.mark.slow
def test_charts_of_all_kinds_are_drawn(opened, tmp_path):
    """Of one name, of three, of single starts: without a fault, and with as much as they have."""
    for make, charts in (
        (synthetic_study.one_name, 1),
        (synthetic_study.three_names, 2),
        (synthetic_study.single_start, 0),
    ):
        study, path = make(), tmp_path / f"{make.__name__}.html"
        report_page.write(path, study, summary.summarise(study))
        page = opened(path, width=390).drawn()
        assert page.locator("#starts .chart .main-svg").count() >= charts
        assert page.locator("#starts .chart").count() == charts
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert np.isfinite(page.evaluate("document.documentElement.scrollHeight"))
