"""Colors and strokes of all figures, suitable for color-blind readers and for print."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import matplotlib as mpl

from npi_jax.report.data.selection import reduced
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.format import pretty
from npi_jax.results.tables_training import Members

INK: Final = "#1f2328"
MUTED: Final = "#6e7781"
GRID: Final = "#d8dee4"
FAINT: Final = "#a8b1bb"
# Okabe and Ito (2008), without yellow (invisible on white) and black (used for the baseline).
PALETTE: Final = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# The same hues, lighter, for lines on a dark page.
DARK_PALETTE: Final = ("#ff8a3d", "#4aa8e8", "#2cc99b", "#e39cc4", "#f0b33c", "#8ccbf2")

Dash = Literal["solid"] | tuple[int, tuple[float, ...]]
DASHES: Final[tuple[Dash, ...]] = ("solid", (0, (5.0, 1.6)), (0, (4.0, 1.3, 1.0, 1.3)))
CONTROL_DASH: Final[Dash] = (0, (1.2, 1.2))
MANY: Final = 8


@dataclass(frozen=True)
class Stroke:
    """Style of a line, and its name in the legend."""

    color: str
    legend: str
    dash: Dash = "solid"
    width: float = 1.6
    band: bool = True


@contextmanager
def drawing(salt: str, *, size: float = 8.5) -> Iterator[None]:
    """Activate Matplotlib settings for one figure, while it is drawn and while it is saved.

    Text is taken literally (no mathematics in names) and saved as outlines, so that a figure looks the same
    on every machine. ``salt``, the figure's name, makes the ids in the SVG reproducible.
    """
    settings: Any = {
        "svg.hashsalt": salt,
        "svg.fonttype": "path",
        "text.parse_math": False,
        "axes.unicode_minus": False,
        "font.family": "DejaVu Sans",
        "font.size": size,
        "axes.titlesize": size,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": size,
        "xtick.labelsize": size - 0.8,
        "ytick.labelsize": size - 0.8,
        "legend.fontsize": size,
        "legend.frameon": False,
        "axes.edgecolor": MUTED,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "text.color": INK,
        "axes.titlecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "lines.solid_capstyle": "round",
        "figure.facecolor": "white",
        "axes.facecolor": "none",
        "savefig.facecolor": "white",
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        # Characters missing from the font are drawn as boxes; the user cannot act on the warning.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font", category=UserWarning)
        yield


def strokes(tables: ReportTables, task: str | None = None) -> dict[str, Stroke]:
    """Return the stroke of every label; with more than eight labels, colors show roles of variants for the task."""
    if len(tables.labels) > MANY:
        return _by_role(tables, task)
    return _by_label(tables.labels, tables)


def _by_label(labels: Sequence[str], tables: ReportTables) -> dict[str, Stroke]:
    found: dict[str, Stroke] = {}
    own = [label for label in labels if label not in tables.controls]
    for place, label in enumerate(own):
        color = INK if place == 0 else PALETTE[(place - 1) % len(PALETTE)]
        found[label] = Stroke(color, label, DASHES[place % len(DASHES)])
    for label, target in tables.controls.items():
        color = found[target].color if target in found else MUTED
        found[label] = Stroke(color, label, CONTROL_DASH)
    return {label: found[label] for label in labels}


def _by_role(tables: ReportTables, task: str | None) -> dict[str, Stroke]:
    """Return black for the baseline, colors for interventions on the task's NPIs, and gray for other variants."""
    lost_by = reduced(tables.corpus)
    environments = {name for names in lost_by.values() for name in names}
    roles: dict[str, Stroke] = {}
    variants = dict(tables.members.select("label", Members.variant).iter_rows())
    for label in tables.labels:
        lost = lost_by.get(variants[label], set())
        most = len(lost) > len(environments) / 2
        if label == tables.labels[0]:
            roles[label] = Stroke(INK, label, width=2.0)
        elif task in lost and not most:
            roles[label] = Stroke(PALETTE[0], "its NPIs removed")
        elif task in lost:
            roles[label] = Stroke(PALETTE[1], "removed with most others", DASHES[1])
        elif most and task in environments:
            roles[label] = Stroke(PALETTE[2], "kept, most others removed", DASHES[2])
        else:
            roles[label] = Stroke(FAINT, "all other variants", width=0.8, band=False)
    for label, target in tables.controls.items():
        if roles[target].legend == "its NPIs removed":
            roles[label] = Stroke(PALETTE[0], "control of that removal", CONTROL_DASH, band=False)
    return roles


def legend_name(name: str) -> str:
    """Shorten a label to fit the width of a phone."""
    return cut(name, 44)


def panel_name(name: str) -> str:
    """Format a task's name for a panel or row: replace underscores by spaces, and shorten it to fit a panel."""
    return cut(pretty(name), 26)


def cut(name: str, most: int) -> str:
    """Shorten a name to ``most`` characters in its middle, because long names often differ at the end."""
    end = most // 3
    return name if len(name) <= most else f"{name[: most - 1 - end]}…{name[len(name) - end :]}"
