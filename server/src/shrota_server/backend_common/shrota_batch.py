"""Joins the requests of a batch into as few runs as their shapes allow, and splits the outputs again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
# Feeds and the names of the outputs that are wanted -> the outputs
Run = Callable[[Arrays, Sequence[str]], Mapping[str, NDArray[Any]]]


@dataclass(frozen=True, eq=False)
class Item:
    """One request: its inputs, each [rows, ...], and the outputs it wants."""

    inputs: Arrays
    wanted: Sequence[str]

    @property
    def shape_class(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Requests of one class can be joined."""
        return tuple(sorted((name, array.shape[1:]) for name, array in self.inputs.items()))

    @property
    def rows(self) -> int:
        """Rows of the request; all its inputs have as many."""
        return len(next(iter(self.inputs.values())))


def run_items(items: Sequence[Item], run: Run) -> list[Arrays | Exception]:
    """Runs all items, those of equal shapes together; gives each its own outputs, or its own error.

    If a joint run fails, its items are run one by one, so that a bad one fails alone.
    """
    classes: dict[object, list[int]] = {}
    for index, item in enumerate(items):
        classes.setdefault(item.shape_class, []).append(index)
    results: dict[int, Arrays | Exception] = {}
    for indices in classes.values():
        results.update(zip(indices, _run_joined([items[index] for index in indices], run), strict=True))
    return [results[index] for index in range(len(items))]


def _run_joined(items: Sequence[Item], run: Run) -> list[Arrays | Exception]:
    try:
        outputs = run(_join(items), _union(item.wanted for item in items))
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no other base class
        if len(items) == 1:
            return [error]
        return [result for item in items for result in _run_joined([item], run)]
    results: list[Arrays | Exception] = []
    start = 0
    for item in items:
        stop = start + item.rows
        results.append({name: outputs[name][start:stop] for name in item.wanted})
        start = stop
    return results


def _join(items: Sequence[Item]) -> Arrays:
    if len(items) == 1:  # nothing to copy
        return items[0].inputs
    return {name: np.concatenate([item.inputs[name] for item in items]) for name in items[0].inputs}


def _union(names: Iterable[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for several in names for name in several))
