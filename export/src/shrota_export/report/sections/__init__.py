"""The sections of the report, in the order in which they are measured."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shrota_client.pages.blocks import Block
from shrota_export.report.material import Material
from shrota_export.report.sections import (
    architecture,
    backends,
    bounds,
    graph,
    profile,
    scaling,
    summary,
    tradeoff,
    weights,
)

Data = dict[str, Any]
Found = Mapping[str, Data]
"""What was measured, by section."""


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes:
        name: for ``--only``.
        title: its heading.
        measure: gives plain numbers, from the material and what the sections that it needs have found.
        show: turns what all sections found into blocks.
        figures: its main numbers with their units, to compare two reports.
        needs: sections that are measured before it.
    """

    name: str
    title: str
    measure: Callable[[Material, Found], Data]
    show: Callable[[Data, Found], Sequence[Block]]
    figures: Callable[[Data], list[tuple[str, float | None, str]]]
    needs: tuple[str, ...] = ()


def _section(module: Any, *needs: str) -> Section:
    name = module.__name__.rpartition(".")[2]
    name = {"bounds": "next"}.get(name, name)
    return Section(name, module.TITLE, module.measure, module.show, module.figures, needs)


SECTIONS = {
    section.name: section
    for section in (
        _section(architecture),
        _section(graph),
        _section(profile),
        _section(weights),
        _section(backends),
        _section(tradeoff, "backends"),
        _section(scaling),
        _section(bounds, "profile"),
        _section(summary, "backends", "scaling"),
    )
}
SHOWN_FIRST = ("summary",)


def with_needs(names: Iterable[str]) -> list[str]:
    """The sections and what they need, in the order of measuring."""
    wanted = set(names)
    for name in reversed(SECTIONS):  # a section stands behind what it needs
        if name in wanted:
            wanted.update(SECTIONS[name].needs)
    return [name for name in SECTIONS if name in wanted]


def in_order_shown(names: Iterable[str]) -> list[str]:
    """The summary first, then as measured."""
    given = list(names)
    return sorted(given, key=lambda name: (name not in SHOWN_FIRST, list(SECTIONS).index(name)))
