"""Terminal tables of each variant's changes of the corpus, and of the items that it keeps."""

from collections.abc import Sequence

from rich.console import Console

from npi_jax.preparation.prepare import Prepared
from npi_jax.report.format import SHORT
from npi_jax.results.table_files import read_declared
from npi_jax.results.tables_preparation import Examples
from npi_jax.terminal.tables import TextTable

_ALWAYS = ("removed", "unmatched")
_UNMATCHED = (
    "unmatched: changes that could not be made exactly (no donor of that length, no counterpart of as many tokens, no "
    "slot of that length); see docs/concepts/variants.md"
)


def print_variants(prepared: Prepared, console: Console) -> None:
    """Print the changes of each variant, and the items that it keeps."""
    _print_changes(prepared, console)
    _print_kept(prepared, console)


def _print_changes(prepared: Prepared, console: Console) -> None:
    variants = prepared.variants
    names = ("sentences", "tokens", "removed", "edited", "injected", "unmatched")
    # Kinds of changes that no variant makes have no column.
    shown = [name for name in names if name in _ALWAYS or any(getattr(variant, name) for variant in variants)]
    changes = [[getattr(variant, name) for name in shown] for variant in variants]
    console.print(_counts("what each variant changes", shown, _names(prepared), changes))
    console.print(_UNMATCHED, highlight=False)
    for variant in variants:
        if variant.unreplaced:
            words = ", ".join(f"{word} {count:,}" for word, count in list(variant.unreplaced.items())[:8])
            line = f"{variant.intervention}: removed, since the table has no replacement for them: {words}"
            console.print(line, highlight=False, markup=False)
        if variant.intervention.steps and not (variant.removed or variant.edited or variant.injected):
            console.print(f"{variant.intervention}: changes nothing", style="bold", highlight=False, markup=False)


def _print_kept(prepared: Prepared, console: Console) -> None:
    variants, phenomenon = prepared.variants, prepared.corpus.phenomenon
    short = {**SHORT, "ambiguous": "ambig.", "unlicensed": "none"}
    labels = [label.replace("_", " ") for label in phenomenon.labels]
    heads = [short.get(label, name) for label, name in zip(phenomenon.labels, labels, strict=True)]
    kept = [variant.items.tolist() for variant in variants]
    console.print(_counts(f"{phenomenon.item}s left, by what licenses them", heads, _names(prepared), kept))
    legend = "; ".join(f"{head}: {name}" for head, name in zip(heads, labels, strict=True) if head.lower() != name)
    if legend:
        console.print(legend, highlight=False, markup=False)
    if any(variant.contexts.sum() for variant in variants):
        n_environments = len(phenomenon.environments)
        contexts = [variant.contexts[:n_environments].tolist() for variant in variants]
        title = f"licensors left without {phenomenon.item} in their scope"
        console.print(_counts(title, heads[:n_environments], _names(prepared), contexts))


def print_examples(prepared: Prepared, console: Console, *, each: int = 2) -> None:
    """Print up to `each` examples of each action of each variant: the sentence before and after the change."""
    examples = read_declared(prepared.folder / Examples.FILE, Examples)
    table = TextTable("some of what was changed", ["variant", "", "before", "after"], words=range(4))
    for _, rows in examples.group_by("variant", "action", maintain_order=True):
        for row in rows.head(each).iter_rows(named=True):
            table.add_row(row["variant"], row["action"], row["before"], row["after"])
    if len(examples):
        console.print(table)


def _names(prepared: Prepared) -> list[str]:
    return [str(variant.intervention) for variant in prepared.variants]


def _counts(title: str, heads: Sequence[str], names: Sequence[str], rows: Sequence[Sequence[int]]) -> TextTable:
    table = TextTable(title, ["variant", *heads])
    for name, row in zip(names, rows, strict=True):
        table.add_row(name, *(f"{count:,}" for count in row))
    return table
