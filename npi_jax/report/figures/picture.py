"""Figures with their data and files, and functions that several figures use."""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Shaped
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator

from npi_jax.files.csv_cells import write_csv
from npi_jax.files.writing import atomic_path
from npi_jax.report.data.bands import FEW_SEEDS
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.figures.style import FAINT, PALETTE, Stroke, drawing, legend_name, strokes
from npi_jax.report.format import short_number

Section = Literal["learning", "alignment", "transfer", "data", "diagnostics"]
WIDE: Final = 8.2
NARROW: Final = 4.0
# Figures of this width are readable on a phone and on half a wide page.
COMPACT: Final = 4.8
_DPI: Final = 160
# Half the time of the default level, 6, for files a tenth larger.
_COMPRESSION: Final = 3
MOST_SEEDS: Final = 0.5
"""Values from a smaller share of the seeds are drawn pale."""
PALE: Final = 0.3
_PLAIN: Final = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
# Five names, a digest and a suffix must fit into the 255 bytes of a file name.
_LONGEST: Final = 32

DIVERGING: Final = ((0.0, "#8a3c00"), (0.2, PALETTE[0]), (0.5, "#ffffff"), (0.8, PALETTE[1]), (1.0, "#00466e"))
"""Dark vermillion over white to dark blue, shared with the interactive heat map."""
HEAT: Final = LinearSegmentedColormap.from_list("chance", DIVERGING)
BAND_NOTE: Final = (
    "Lines: median over seeds. Bands: 95% interval of that median, or lowest and highest seed where there are "
    f"{FEW_SEEDS} or fewer, which are too few for an interval."
)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure for wide pages, with a separate version for phones if needed.

    Attributes:
        name: stem of its files; `narrow` is saved as ``NAME_narrow.svg``.
        title, caption: for the reader.
        alt: text that describes the picture to readers who do not see it.
        wide, narrow: the figures.
        data: what is drawn, as a flat table; saved as ``NAME.csv``.
        section: section of the report that contains it.
    """

    name: str
    title: str
    caption: str
    alt: str
    wide: Figure
    data: pl.DataFrame
    section: Section = "learning"
    narrow: Figure | None = None

    def figures(self) -> list[tuple[str, Figure]]:
        """Return file stem and figure of each version."""
        both = [(self.name, self.wide)]
        return both if self.narrow is None else [*both, (f"{self.name}_narrow", self.narrow)]

    @property
    def compact(self) -> bool:
        """True if the same drawing is used on phones and on half of a wide page."""
        return self.narrow is None and float(self.wide.get_figwidth()) <= COMPACT


def save_figures(found: Sequence[Picture], folder: Path) -> list[Path]:
    """Write every picture as SVG and PNG, and its data as CSV; the same tables give the same bytes.

    Versions for phones are saved only as SVG, because only the page uses them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for picture in found:
        for stem, figure in picture.figures():
            written.append(folder / f"{stem}.svg")
            _write_svg(figure, stem, written[-1])
        written.append(folder / f"{picture.name}.png")
        _write_png(picture.wide, picture.name, written[-1])
        written.append(folder / f"{picture.name}.csv")
        write_csv(written[-1], picture.data)
    return written


# `Figure.savefig` would draw every figure twice to compute its layout, which `settle` has computed.
def _write_svg(figure: Figure, salt: str, path: Path) -> None:
    with drawing(salt), atomic_path(path) as half:
        FigureCanvasSVG(figure).print_svg(half, metadata={"Date": None})


def _write_png(figure: Figure, salt: str, path: Path) -> None:
    figure.set_dpi(_DPI)
    with drawing(salt), atomic_path(path) as half:
        FigureCanvasAgg(figure).print_png(
            half, metadata={"Software": None}, pil_kwargs={"compress_level": _COMPRESSION}
        )


def file_name(*parts: str) -> str:
    """Make a file stem from arbitrary names; different names get different stems, even if case is ignored.

    Short names of lowercase letters, digits and single underscores are kept. Other names are simplified, and the stem
    then ends with a digest of all names.
    """
    stem = "_".join(re.sub(r"[^A-Za-z0-9]+", "-", part)[:_LONGEST].strip("-") or "x" for part in parts)
    if all(_PLAIN.fullmatch(part) and len(part) <= _LONGEST for part in parts):
        return stem
    everything = "\0".join(parts).encode("utf-8", "surrogatepass")
    return f"{stem}_{hashlib.sha256(everything).hexdigest()[:12]}"


def lines(axis: Axes, table: pl.DataFrame, tables: ReportTables, task: str | None) -> dict[str, Stroke]:
    """Draw one line for each label, the baseline last; returns strokes by their names in the legend."""
    drawn: dict[str, Stroke] = {}
    for label, stroke in strokes(tables, task).items():
        line = table.filter(pl.col("label") == label)
        if not len(line):
            continue
        top = 3.0 if label == tables.labels[0] else 1.5 if stroke.color == FAINT else 2.0
        axis.plot(line["step"], line["typical"], color=stroke.color, ls=stroke.dash, lw=stroke.width, zorder=top)
        if stroke.band and line["n_seeds"].max() != 1:
            axis.fill_between(line["step"], line["low"], line["high"], color=stroke.color, alpha=0.16, linewidth=0)
        drawn.setdefault(stroke.legend, stroke)
    return drawn


def step_axis(axis: Axes, last: int) -> None:
    """Make a logarithmic axis of steps that includes step 0."""
    axis.set_xscale("symlog", linthresh=1, linscale=0.4)
    exponents = range(max(1, math.ceil(math.log10(max(last, 1) + 1))))
    axis.set_xticks([0, *(10**n for n in exponents)])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}"))
    axis.set_xlim(0, max(last, 1) * 1.1)


def legend(figure: Figure, drawn: dict[str, Stroke], width: float) -> None:
    """Add a legend above the panels."""
    handles = [
        Line2D([], [], color=stroke.color, linestyle=stroke.dash, linewidth=stroke.width + 0.4)
        for stroke in drawn.values()
    ]
    names = [legend_name(name) for name in drawn]
    longest = max((len(name) for name in names), default=1)
    fit = max(1, int(width * 12 / (longest + 7)))
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=min(fit, len(names)),
        handlelength=2.6,
        columnspacing=1.4,
    )


def settle(figure: Figure) -> None:
    """Compute the layout once, so that every format and repeated saving give the same figure."""
    engine = figure.get_layout_engine()
    if engine is None:
        raise ValueError("the figure has no layout engine, or is settled already")
    for axes in figure.axes:
        for side in (axes.xaxis, axes.yaxis):
            if not side.get_label_text():
                # Otherwise all tick labels are measured again and again, to place a label that is empty.
                side.set_label_coords(0.5, 0.5)
    engine.execute(figure)
    figure.set_layout_engine("none")


@contextmanager
def filling(axes: Shaped[np.ndarray, " panels"]) -> Iterator[None]:
    """Compute the limits of panels once, after they are filled, and not after each line."""
    for axis in axes:
        axis.set_autoscale_on(False)
    yield
    for axis in axes:
        axis.autoscale(enable=True)


def panel_title(axis: Axes, text: str) -> None:
    """Put a title above a panel without tick labels there; without ``y``, all labels are measured to place it."""
    axis.set_title(text, y=1.0)


def ink_on(value: float) -> str:
    """Choose black or white for contrast with the heat map's color (relative luminance, WCAG 2)."""
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in HEAT(value)[:3])
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "#ffffff"


def heat_axis(axis: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Put names on the left and on top, and white lines between the cells."""
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xticks(range(len(columns)), columns, rotation=35, ha="left", rotation_mode="anchor")
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="#fefefe", linewidth=1.5)
    axis.tick_params(which="minor", length=0)


def heat_cells(
    axis: Axes,
    values: Float[np.ndarray, "rows columns"],
    *,
    limit: float,
    marked: Bool[np.ndarray, "rows columns"] | None = None,
    seeds: Float[np.ndarray, "rows columns"] | None = None,
    size: float = 7.0,
    digits: int = 2,
) -> None:
    """Color cells from ``-limit`` (vermillion) over 0 (white) to ``limit`` (blue), with numbers in them.

    NaN is hatched. ``marked`` cells are bold and have a star. Values beyond the limit have the
    limit's color. ``seeds`` is the share of seeds behind a value: cells from fewer than all seeds have a border, cells
    from fewer than half are pale.
    """
    shade = HEAT.with_extremes(bad="none")
    share = np.ones(values.shape) if seeds is None else seeds
    # Mix with white instead of using transparency, so that `ink_on` gets the displayed color.
    pale = np.where(share < MOST_SEEDS, PALE, 1.0)
    axis.imshow(values * pale, cmap=shade, vmin=-limit, vmax=limit, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        if math.isnan(value):
            axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc="none", ec=FAINT, hatch="////", lw=0))
            continue
        if share[y, x] < 1:
            axis.add_patch(Rectangle((x - 0.43, y - 0.43), 0.86, 0.86, fc="none", ec=FAINT, lw=1.1))
        star = marked is not None and bool(marked[y, x])
        color = ink_on((value * pale[y, x] / limit + 1) / 2)
        text = short_number(value, digits) + ("*" if star else "")
        weight = "bold" if star else "normal"
        drawn = axis.text(x, y, text, ha="center", va="center", color=color, fontsize=size, weight=weight)
        # Numbers do not affect the layout, and measuring hundreds of them would be slow.
        drawn.set_in_layout(False)
