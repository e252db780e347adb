"""The report in a real Chromium: draws, fetches nothing, fits a phone, prints."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.report_data import made_up_search
from tests.support.services import eventually

from quintain_cli.report.comparison import Curve, PageTable, render_comparison
from quintain_cli.report.page import render_picture, render_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
    pytest.mark.xdist_group("browser"),
]

playwright = pytest.importorskip("playwright.sync_api")
TRACES = "(one => one.querySelectorAll('.main-svg .trace').length)"
DESK, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}


@dataclass
class Seen:
    """What the page did beside showing itself."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_report(made_up_search()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        # --no-sandbox: the tests may run as root, and the page is our own.
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


def open_report(browser: playwright.Browser, report: Path, viewport: dict[str, int]) -> tuple[playwright.Page, Seen]:
    page, seen = browser.new_page(viewport=viewport), Seen()
    page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_selector("body[data-drawn]")
    page.wait_for_function(f"[...document.querySelectorAll('.plotly-graph-div')].every(one => {TRACES}(one) > 0)")
    return page, seen


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_it_draws_every_figure_without_errors_and_fetches_nothing(
    browser: playwright.Browser, report: Path, viewport: dict[str, int]
) -> None:
    page, seen = open_report(browser, report, viewport)
    assert page.locator(".plotly-graph-div").count() == 6, "open_report waited until each had drawn something"
    assert seen.errors == []
    assert seen.requests == [report.as_uri()]


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_searches_in_one_plot_fit_the_width(
    browser: playwright.Browser, tmp_path: Path, viewport: dict[str, int]
) -> None:
    data = made_up_search()
    curves = [Curve(f"s{n} a title of some length", f"s{n} a title of some length", data) for n in range(5)]
    table = PageTable("What they found", ("search", "score"), [(curve.name, "2.0") for curve in curves], frozenset({1}))
    path = tmp_path / "compared.html"
    path.write_text(render_comparison("searches compared", "5 searches", [], curves, [table], True), encoding="utf-8")
    page, seen = open_report(browser, path, viewport)
    assert (seen.errors, seen.requests) == ([], [path.as_uri()])
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_it_fits_the_width(browser: playwright.Browser, report: Path, viewport: dict[str, int]) -> None:
    page, _ = open_report(browser, report, viewport)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    widest = page.locator(".plotly-graph-div").evaluate_all("all => Math.max(...all.map(one => one.offsetWidth))")
    assert 0 < widest <= viewport["width"]


def test_hostile_texts_stay_texts(browser: playwright.Browser, report: Path) -> None:
    page, _ = open_report(browser, report, DESK)
    assert page.title().startswith("quintain: A search </script><script>")
    assert page.locator("img").count() == 0
    page.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    page.evaluate("Plotly.Fx.hover(document.querySelector('.js-plotly-plot'), [{curveNumber: 0, pointNumber: 1}])")
    page.wait_for_selector(".hoverlayer .hovertext")
    assert "onerror" in page.locator(".hoverlayer .hovertext").first.text_content()
    assert page.title().startswith("quintain: A search </script>"), "nothing of it ran"


def test_printed_figures_fit_the_paper(browser: playwright.Browser, report: Path) -> None:
    page, seen = open_report(browser, report, DESK)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 without margins of 10 mm, in CSS pixels
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function("[...document.querySelectorAll('.main-svg')].every(one => one.clientWidth <= 700)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert seen.errors == []


def test_in_the_dark_page_and_figures_are_dark_and_pictures_stay_readable(
    browser: playwright.Browser, report: Path
) -> None:
    page, seen = open_report(browser, report, DESK)
    page.emulate_media(color_scheme="dark")
    ink = "document.querySelector('[data-themed]').layout.font.color"
    eventually(lambda: page.evaluate(ink) == "#d7dde4", "the figures follow")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 25, 31)"
    other = "getComputedStyle(document.querySelector('.plotly-graph-div:not([data-themed])')).backgroundColor"
    assert page.evaluate(other) == "rgb(255, 255, 255)"
    assert seen.errors == []


def test_a_candidates_source_and_what_it_changed_open_under_it(browser: playwright.Browser, report: Path) -> None:
    page, _ = open_report(browser, report, DESK)
    button = page.locator("button[data-candidate='4']")
    button.click()
    opened = page.locator("tr.opened")
    assert opened.locator("h3").all_text_contents() == ["against its parent #1", "source of #4"]
    assert "+# policy 4" in opened.locator("pre").first.text_content()
    assert page.locator("img").count() == 0, "a source stays text"
    button.click()
    assert opened.count() == 0


def test_a_picture_fits_a_phone(browser: playwright.Browser, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    rows = [("metric", "all", *"abcdef"), ("a_metric_with_a_long_name", *["123,456"] * 7)]
    path.write_text(render_picture("mine.py on steady", "value 2.05", rows, made_up_search().timelines[0].figure))
    page, seen = open_report(browser, path, PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert seen.errors == []
