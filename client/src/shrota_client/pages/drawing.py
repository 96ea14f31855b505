"""What the pictures share. They carry their own light ground, so that they are readable on a dark page too."""

from typing import TYPE_CHECKING, Any

from shrota_client.errors import MissingPackageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
GROUND = "#fbfbf8"
COLOURS = ("#1f5a99", "#d9822b", "#2f8f5b", "#a33b3b", "#7a5aa6", "#2aa0a8", "#8a8a8a", "#c9a227", "#c46fa0", "#4d4d4d")


def new_figure(width: float = 9.0, height: float = 4.2) -> "Figure":
    """An empty figure, in inches.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise MissingPackageError("pictures need matplotlib: pip install matplotlib") from error
    return Figure(figsize=(width, height), layout="constrained", facecolor=GROUND)


def style(axes: Any, *, title: str = "", grid: str = "y") -> None:
    """A quiet look: no frame on top and right, a faint grid."""
    axes.set_facecolor(GROUND)
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(axis=grid, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, fontsize=10, loc="left")
    axes.tick_params(labelsize=8)


def colour(index: int) -> str:
    """The same for the same index in every picture."""
    return COLOURS[index % len(COLOURS)]
