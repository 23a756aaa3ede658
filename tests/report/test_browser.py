"""The report in a real browser: everything is shown, nothing is said on the console, phones are served."""

import shutil
from pathlib import Path

import pytest
from synthetic import VARIANTS, make_run

from npi_jax.corpus.annotations import ENVIRONMENTS
from npi_jax.report.html import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
service = pytest.importorskip("selenium.webdriver.chrome.service")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs chromium and chromedriver (apt-get install chromium chromium-driver)",
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=service.Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    names = ("full", "<script>alert(1)</script>", "no_" + "very" * 30, "\"'><b>")
    return write_report(
        make_run(tmp_path_factory.mktemp("hostile"), variants=names, environments=ENVIRONMENTS[:2], steps=(0, 1, 8))
    )


def open_page(browser, path: Path, width: int, *, scheme: str = "light"):
    metrics = {"width": width, "height": 850, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(path.as_uri())


def boxes(browser, selector):
    """Width and height of what is displayed."""
    found = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.getBoundingClientRect())"
        ".map(b => [b.width, b.height])",
        selector,
    )
    return [box for box in found if box != [0, 0]]


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_all_is_shown_at_every_width(browser, report, width):
    open_page(browser, report, width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    figures = boxes(browser, "figure svg")
    assert len(figures) == 5
    assert all(w > 300 and h > 150 for w, h in figures)
    tables = boxes(browser, "table")
    assert len(tables) == 6
    assert all(w > 200 and h > 80 for w, h in tables)
    assert len(boxes(browser, "#results-1 tbody tr")) == len(VARIANTS)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []


def test_lines_are_painted_in_the_pages_colors(browser, report):
    def line_color():
        return browser.execute_script(
            "const all = [...document.querySelectorAll('.wide svg path')];"
            "const ink = all.filter(p => p.style.stroke.includes('--ink'));"
            "const page = getComputedStyle(document.body).backgroundColor;"
            "return [ink.length, getComputedStyle(ink[0]).stroke, page]"
        )

    open_page(browser, report, 1000)
    lines, ink, page = line_color()
    assert lines > 8
    assert (ink, page) == ("rgb(31, 35, 40)", "rgb(255, 255, 255)")
    open_page(browser, report, 1000, scheme="dark")
    lines, ink, page = line_color()
    assert (ink, page) == ("rgb(230, 237, 243)", "rgb(20, 23, 26)")
    assert browser.get_log("browser") == []


def test_table_sorts(browser, report):
    open_page(browser, report, 1280)

    def column(number):
        return browser.execute_script(
            "return [...document.querySelectorAll('#results-1 tbody tr')]"
            ".map(r => r.cells[arguments[0]].dataset.value ?? r.cells[arguments[0]].textContent)",
            number,
        )

    def press(number):
        browser.execute_script(
            "document.querySelectorAll('#results-1 thead th')[arguments[0]].querySelector('button').click()",
            number,
        )

    assert column(0) == list(VARIANTS)
    press(1)
    values = [float(value) for value in column(1)]
    assert values == sorted(values, reverse=True)
    press(1)
    assert [float(value) for value in column(1)] == sorted(values)
    press(0)
    assert column(0) == sorted(VARIANTS)
    heads = browser.execute_script(
        "return [...document.querySelectorAll('#results-1 th[aria-sort]')].map(h => h.ariaSort)"
    )
    assert heads == ["ascending"]
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [390, 1280])
def test_hostile_names_do_nothing(browser, hostile, width):
    open_page(browser, hostile, width)
    assert browser.execute_script("return document.scripts.length") == 1
    assert "<script>alert(1)</script>" in browser.execute_script("return document.body.textContent")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
