import io

import pytest
from facts import sentence_with
from rich.console import Console
from synthetic import VARIANTS, make_run

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.report.data.tables import load_tables
from npi_jax.report.format import short_number
from npi_jax.report.pages.terminal import print_report, results_table


def printed(run, width=100):
    console = Console(file=io.StringIO(), width=width)
    print_report(run, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_tables_fit_and_hold_every_number(run, width):
    text = printed(run, width)
    assert max(len(line) for line in text.splitlines()) <= width
    tables = load_tables(run)
    for variant in VARIANTS:
        rows = tables.final.filter(label=variant, kind="licensor", region="critical")
        shown = [part for line in text.splitlines() if line.strip().startswith(variant[:3]) for part in line.split()]
        for row in rows.to_dicts():
            assert f"{100 * row['accuracy']:.1f}" in shown
    text = " ".join(text.split())
    assert sentence_with(text, "Warning", "no_npi", "12 slots")
    assert "\x1b" not in text


def test_long_names_are_folded_and_numbers_are_not(tmp_path):
    names = ("full" + "_of_everything" * 4, "[bold]no[/bold]", "c", "d")
    text = printed(make_run(tmp_path, variants=names, seeds=5, steps=(0, 9**9), items=1))
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "[bold]no[/bold]" in text
    assert "…" not in text
    head = next(line for line in text.splitlines() if "ADV" in line)
    assert head.rstrip().endswith("SUP")
    # The name goes on below its first line, which has the numbers.
    place = text.splitlines().index(next(line for line in text.splitlines() if line.startswith("full_of_")))
    assert len(text.splitlines()[place].rstrip()) == len(head.rstrip())
    assert text.splitlines()[place + 1].startswith("everything_of_")


def test_other_tasks_are_told_by_the_lowest_and_the_highest(tmp_path):
    run = make_run(tmp_path, seeds=1, environments=(*ENVIRONMENTS[:2], "island_effects"), steps=(0, 1))
    table = results_table(load_tables(run), load_tables(run).cells()[0])
    assert list(table.heads) == ["variant", "mean [95%]", "lowest task", "highest task"]
    assert "island effects" in printed(run)


def test_a_variant_without_members_left_is_a_dash(tmp_path):
    run = make_run(tmp_path, variants=("a", "b"), seeds=1, environments=("only",), steps=(0, 1), diverged=(1,))
    text = printed(run)
    assert "–" in next(line for line in text.splitlines() if line.strip().startswith("b "))
    assert "diverged" in text


@pytest.mark.parametrize("width", [60, 200])
def test_other_widths_do_not_fail(run, width):
    assert "full" in printed(run, width)


def test_alignment_is_a_line_a_variant_and_transfer_follows(run, plain):
    text = " ".join(printed(run).split())
    row = (
        load_tables(run)
        .table("alignment_mean")
        .filter(statistic="environments", group="recurrent", label="full", step=2000)
    )
    value, low, high = (short_number(row[name][0]) for name in ("corrected", "low", "high"))
    assert sentence_with(
        text,
        "Alignment between environments",
        "step 2,000",
        "recurrent weights",
        f"full: {value} (95% interval {low} to {high})",
    )
    assert text.count("95% interval") >= len(VARIANTS)
    assert "Transfer: " in text
    assert "72 effects" in text
    assert sentence_with(text, "Result:", "[suggestive]", "recurrent weights")
    assert sentence_with(text, "[clear]", "helps")
    bare = printed(plain)
    assert "Alignment" not in bare
    assert "Transfer" not in bare
