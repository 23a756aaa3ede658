import io
import re

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from npi_jax.training.monitor import display as display_module
from npi_jax.training.monitor.display import Display

LONG = [
    "full",
    "without(determiner_negation)+random",
    "without(sentential_negation)",
    "downsample(simple_question,100)",
]


def lines(width: int, variants: list[str], doing: str = "training", steps: int = 1000) -> list[str]:
    """The display during training, on a terminal of this width."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    display = Display(console, steps, variants)
    display.update(1, np.full(len(variants), 7.0), 9.0)
    display.update(steps // 2, np.arange(len(variants)) + 1.25, 123_456.0)
    display.detail(doing)
    return ["".join(segment.text for segment in line).rstrip() for line in console.render_lines(display, pad=False)]


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_shown(terminal, monkeypatch):
    monkeypatch.setattr(display_module, "PLAIN_SECONDS", 0.0)
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=140)
    with Display(console, 10, ["full", "full", "no_npi"]) as display:
        display.say("a line [not markup]")
        display.update(5, np.array([1.0, 2.0, 3.0]), 1234.5)
        display.update(10, np.array([1.0, 1.0, 2.0]), 1234.5)
    text = stream.getvalue()
    assert "a line [not markup]" in text
    # The end stays on a terminal too.
    assert "step 10/10  1,234 tokens/s  loss full 1.000  no_npi 2.000" in text
    # A terminal shows one bar that changes; without a terminal each update is a line.
    assert ("step 5/10  1,234" in text) != terminal


@pytest.mark.parametrize("doing", ["training", "comparing gradients"])
@pytest.mark.parametrize("width", [80, 100, 200])
def test_names_give_way_before_step_bar_and_times(width, doing):
    first, second = lines(width, LONG, doing)
    assert re.fullmatch(rf"{doing} +step 500/1000 ━+─+ \d:\d\d:\d\d left \d:\d\d:\d\d", first)
    assert max(len(first), len(second)) <= width
    assert second.startswith("123,456 tokens/s  loss full 1.250  ")
    # No digit is cut: they stand for the four variants in their order.
    assert re.findall(r"\d\.\d{3}(?= |$)", second) == ["1.250", "2.250", "3.250", "4.250"]
    assert all(name in second for name in LONG) == (width == 200)
    assert ("…" in second) == (width < 200)


def test_on_a_narrow_terminal_what_is_being_done_gives_way_and_then_the_bar():
    first, second = lines(40, LONG)
    assert re.fullmatch(r"step 500/1000 \S* ?\d:\d\d:\d\d left \d:\d\d:\d\d", first)
    assert max(len(first), len(second)) <= 40


@pytest.mark.parametrize("width", range(20, 60))
def test_no_number_is_cut_however_narrow_the_terminal_is(width):
    first, second = lines(width, LONG)
    # A number that does not fit is omitted, not cut.
    assert re.fullmatch(r"123,456 tokens/s( +loss .*)?", second)
    assert set(re.findall(r"\d+\.\d*", second)) <= {"1.250", "2.250", "3.250", "4.250"}
    assert len(re.findall(r"\d\.\d{3}(?= |$)", second)) == second.replace("...", "").count(".")
    assert second.endswith(("4.250", "...")) or "loss" not in second
    assert re.fullmatch(r"(training +)?step 500/1000( ━+─+)?( +\d:\d\d:\d\d)?( +left \d:\d\d:\d\d)?", first)


def test_letters_of_two_columns_take_two():
    _, second = lines(80, ["without(限定詞の否定と何か)", "without(文の否定)", "full", "no_npi"])
    assert cell_len(second) <= 80
    assert re.findall(r"\d\.\d{3}(?= |$)", second) == ["1.250", "2.250", "3.250", "4.250"]


def test_without_a_terminal_each_stage_is_a_line_and_steps_within_it_are_not():
    stream = io.StringIO()
    with Display(Console(file=stream, width=120), 10, ["full"]) as display:
        display.stage("preparing")
        assert list(display.track(range(5000), "annotating text")) == list(range(5000))
        assert display.doing == "preparing"
        display.stage("training")
        for step in range(1, 10):
            display.update(step, np.array([1.0]), 1.0)
            display.detail("scoring")
        display.stage("analyzing")
    assert stream.getvalue() == "preparing ...\ntraining ...\nanalyzing ...\n"


def test_long_work_says_how_far_it_is(monkeypatch):
    display = Display(Console(file=io.StringIO(), force_terminal=True))
    monkeypatch.setattr(display_module, "REFRESH_SECONDS", 0.0)
    seen = [display.doing for _ in display.track("abc", "reading")]
    assert seen == ["reading", "reading: 1 of 3", "reading: 2 of 3"]


def test_before_and_after_training_a_clock_runs():
    console = Console(file=io.StringIO(), force_terminal=True, width=40, color_system=None)
    display = Display(console, 10, ["full"])
    display.stage("compiling")
    display._began -= 65
    console.print(display)
    assert "compiling  0:01:05" in console.file.getvalue()  # type: ignore[attr-defined]
