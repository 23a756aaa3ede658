"""The report in a real browser: everything is shown, nothing is said on the console, phones are served."""

import base64
import shutil
from pathlib import Path

import pytest
from facts import denies, sentence_with
from synthetic import STEPS, VARIANTS, make_run

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.report import write_comparison
from npi_jax.report.data.selection import pair_alignment
from npi_jax.report.format import short_number
from npi_jax.report.pages.run_page import write_report

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
    tasks = (ENVIRONMENTS[0], "</script><script>alert(5)</script>", "a" * 60)
    return write_report(
        make_run(tmp_path_factory.mktemp("hostile"), variants=names, environments=tasks, steps=(0, 1, 8))
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
    # All of the 15 but the static heat map, for which the interactive one stands.
    assert len(figures) == 14
    assert all(w > 300 and h > 100 for w, h in figures)
    tables = boxes(browser, "table")
    assert len(tables) == 16 + 2
    assert all(w > 150 and h > 80 for w, h in tables)
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
    kinds = browser.execute_script("return [...document.scripts].map(s => s.type)")
    assert kinds == ["application/json", ""]
    assert "</script><script>alert(5)</script>" in browser.execute_script("return document.body.textContent")
    titles = browser.execute_script("return [...document.querySelectorAll('#heat-table-0 thead th')].map(h => h.title)")
    assert "</script><script>alert(5)</script>" in titles
    assert "<script>alert(1)</script>" in browser.execute_script("return document.body.textContent")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []


def cells(browser, number=0):
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])]"
        ".map(c => [c.textContent, c.style.backgroundColor, c.className])",
        f"#heat-table-{number} tbody td",
    )


def choose(browser, selector, value, event):
    browser.execute_script(
        "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event(arguments[2], {bubbles: true}))",
        selector,
        str(value),
        event,
    )


def expected(tables, label, step, group):
    """What the cell of conditional and only has to say."""
    place = {"label": label, "step": step, "group": group, "task_i": "conditional", "task_j": "only"}
    return short_number(pair_alignment(tables).filter(**place)["corrected"][0])


# The heat map is 10 tasks wide: the nine and ordinary text.
PLACE = 10 * ENVIRONMENTS.index("conditional") + ENVIRONMENTS.index("only")


def test_the_heat_map_opens_at_the_last_step_with_two_variants(browser, report, tables):
    open_page(browser, report, 1280)
    for number, variant in enumerate(VARIANTS[:2]):
        found = cells(browser, number)
        assert len(found) == 100
        assert found[PLACE][0] == expected(tables, variant, 2000, "recurrent")
        assert found[PLACE][1].startswith("rgb")
    assert browser.execute_script("return document.querySelector('#heat-now').textContent") == "step 2,000"
    assert not boxes(browser, ".static svg")


def test_slider_group_and_variant_change_the_cells(browser, report, tables):
    open_page(browser, report, 1280)
    last = cells(browser)
    choose(browser, "#heat-step", STEPS.index(64), "input")
    early = cells(browser)
    assert early[PLACE][0] == expected(tables, "full", 64, "recurrent")
    assert early != last
    assert early[PLACE][1] != last[PLACE][1]
    choose(browser, "#heat-group", 3, "change")
    assert browser.execute_script("return document.querySelector('#heat-group').selectedOptions[0].text") == "embedding"
    assert cells(browser)[PLACE][0] == expected(tables, "full", 64, "embedding")
    choose(browser, "#heat-variant-0", 2, "change")
    assert cells(browser)[PLACE][0] == expected(tables, "no_conditional", 64, "embedding")
    # At step 1 the embedding's gradients of the first task are lost in noise.
    choose(browser, "#heat-step", 1, "input")
    first = cells(browser)[:10]
    assert {(text, kind) for text, _, kind in first} == {("", "nan")}
    assert browser.get_log("browser") == []


def test_the_heat_map_is_used_by_keyboard(browser, report, tables):
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    open_page(browser, report, 1280)
    slider = browser.find_element("id", "heat-step")
    slider.send_keys(keys.ARROW_LEFT)
    assert browser.execute_script("return document.querySelector('#heat-now').textContent") == "step 1,600"
    assert slider.get_attribute("aria-valuetext") == "step 1,600"
    assert cells(browser)[PLACE][0] == expected(tables, "full", 1600, "recurrent")
    select = browser.find_element("id", "heat-variant-0")
    select.send_keys(keys.TAB)
    for key in (keys.ARROW_DOWN, *[keys.ARROW_RIGHT] * ENVIRONMENTS.index("only")):
        browser.switch_to.active_element.send_keys(key)
    said = browser.execute_script("return document.querySelector('#heat-said').textContent")
    value = expected(tables, "full", 1600, "recurrent")
    assert said == f"conditional and only: {value}, from all 3 seeds (full, recurrent weights, step 1,600)."
    label = browser.switch_to.active_element.get_attribute("aria-label")
    assert label == f"conditional and only: {value}, from all 3 seeds"
    stops = browser.execute_script("return document.querySelectorAll('#heat-table-0 td[tabindex=\"0\"]').length")
    assert stops == 1
    browser.switch_to.active_element.send_keys(keys.END)
    browser.switch_to.active_element.send_keys(keys.ARROW_RIGHT)
    assert browser.execute_script("return document.activeElement.cellIndex") == 10


def test_pointing_at_a_lost_cell_says_why(browser, report):
    open_page(browser, report, 1280)
    choose(browser, "#heat-step", 1, "input")
    choose(browser, "#heat-group", 3, "change")
    said = browser.execute_script(
        "document.querySelector('#heat-table-0 tbody td').dispatchEvent(new MouseEvent('mouseenter'));"
        "return document.querySelector('#heat-said').textContent"
    )
    assert sentence_with(said, "noise", "norm", "0")
    assert denies(said)


def test_print_shows_the_last_steps_heat_map(browser, report):
    open_page(browser, report, 900)
    choose(browser, "#heat-step", 0, "input")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    assert not boxes(browser, "#heat")
    assert all(w > 300 and h > 300 for w, h in boxes(browser, ".static svg"))
    assert len(boxes(browser, ".static svg")) == 1
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(base64.b64decode(printed["data"])) > 100_000
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_without_scripts_the_static_heat_map_is_shown(browser, report):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(browser, report, 1280)
        found = browser.find_elements("css selector", ".static svg")
        assert [element.size["width"] > 300 for element in found] == [True]
        assert not browser.find_element("id", "heat").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("width", [390, 1280])
def test_a_comparison_is_shown(browser, run, tmp_path, width):
    open_page(browser, write_comparison(run, run, tmp_path / "page.html"), width)
    assert len(boxes(browser, "figure svg")) == 4
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
