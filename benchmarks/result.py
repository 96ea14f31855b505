"""What a benchmark gives: figures with bars, and their table."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: What was measured.
        value: The number.
        unit: Its unit; empty for a ratio.
        bar: The bound that the project sets itself, as text; empty where it sets none.
        met: Whether the bound is kept; None where there is none.
        note: How it came about: spread, counts.
    """

    name: str
    value: float
    unit: str = ""
    bar: str = ""
    met: bool | None = None
    note: str = ""

    def row(self) -> str:
        """A row of the Markdown table."""
        verdict = "" if self.met is None else ("yes" if self.met else "**no**")
        value = f"{self.value:,.3g}" if abs(self.value) < 1000 else f"{self.value:,.0f}"
        return f"| {self.name} | {value} {self.unit} | {self.bar} | {verdict} | {self.note} |"


@dataclass
class Result:
    """One benchmark: its title, how it was measured, its figures."""

    title: str
    method: str
    figures: list[Figure] = field(default_factory=list)

    def markdown(self) -> str:
        """A section with a table."""
        rows = [figure.row() for figure in self.figures]
        head = ["| figure | measured | bar | met | note |", "|---|---|---|---|---|"]
        return "\n".join([f"## {self.title}", "", self.method, "", *head, *rows, ""])


def at_most(name: str, value: float, bar: float, unit: str = "", note: str = "") -> Figure:
    """A figure that must not be above ``bar``."""
    return Figure(name, value, unit, f"at most {bar:g}", value <= bar, note)


def at_least(name: str, value: float, bar: float, unit: str = "", note: str = "") -> Figure:
    """A figure that must not be below ``bar``."""
    return Figure(name, value, unit, f"at least {bar:g}", value >= bar, note)
