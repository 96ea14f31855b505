"""What a PromQL query reads, and what a metrics page has; as much of both as dashboards and rules use."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# by (...) and the like name labels, not metrics
_LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_RANGE = re.compile(r"\[[^\]]*\]")
# possessive, so that sum( does not leave su
_SELECTOR = re.compile(r"(?<![\w.$:])([a-zA-Z_:][\w:]*+)\s*+(\{[^}]*\})?+(?!\s*\()")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
_KEYWORDS = frozenset({"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"})
_SERIES = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")


@dataclass(frozen=True)
class Series:
    """One line of a metrics page."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Selector:
    """One metric that a query reads, and what its labels must be: label, operator, value."""

    name: str
    matchers: tuple[tuple[str, str, str], ...] = field(default=())

    def takes(self, series: Series, but: frozenset[str] = frozenset()) -> bool:
        """Whether the query reads the series; labels ``but`` are not looked at."""
        if series.name != self.name:
            return False
        matchers = [matcher for matcher in self.matchers if matcher[0] not in but]
        return all(_holds(series.labels.get(label, ""), how, value) for label, how, value in matchers)


def _holds(found: str, how: str, value: str) -> bool:
    same = re.fullmatch(value, found) is not None if "~" in how else found == value
    return same != how.startswith("!")


def selectors(query: str) -> list[Selector]:
    """What a query reads."""
    text = _RANGE.sub(" ", _LABELS.sub(" ", query))
    return [
        Selector(match[1], tuple(_MATCHER.findall(match[2] or "")))
        for match in _SELECTOR.finditer(text)
        if match[1].lower() not in _KEYWORDS
    ]


def parse(page: str) -> Iterator[Series]:
    """The series of a metrics page (text format of Prometheus)."""
    for line in page.splitlines():
        if line and not line.startswith("#"):
            match = _SERIES.fullmatch(line)
            assert match is not None, line
            labels = dict(re.findall(r'(\w+)="([^"]*)"', match["labels"] or ""))
            yield Series(match["name"], labels, float(match["value"]))
