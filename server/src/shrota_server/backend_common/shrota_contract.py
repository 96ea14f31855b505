"""What ``config.pbtxt`` declares of an engine's tensors, and in what a model file is not that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class EngineFileError(Exception):
    """The model file cannot be served; the text is one line that names the file and the remedy."""


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as ``config.pbtxt`` declares it; ``dims`` are without the batch dimension, -1 for any size."""

    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Contract:
    """The tensors of a model by name; every one has a batch dimension in front where ``max_batch_size`` is not 0."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    max_batch_size: int


def read_contract(config: Mapping[str, Any]) -> Contract:
    """What a model's configuration, as Triton's JSON, declares."""
    inputs, outputs = _tensors(config.get("input", [])), _tensors(config.get("output", []))
    return Contract(inputs, outputs, int(config.get("max_batch_size", 0)))


def find_misfits(
    contract: Contract, inputs: Sequence[Any], outputs: Sequence[Any], types: Mapping[str, str]
) -> list[str]:
    """In what a file's inputs and outputs (with ``name``, ``type``, ``shape``) are not what is declared.

    Args:
        contract: what is declared.
        inputs: those of the file; a size in a shape that is no number is open.
        outputs: those of the file.
        types: Triton's data types -> the file's.
    """
    misfits = []
    for kind, declared, nodes in (("input", contract.inputs, inputs), ("output", contract.outputs, outputs)):
        found = {node.name: node for node in nodes}
        for name, spec in declared.items():
            if name not in found:
                misfits.append(f"it has no {kind} {name}, but {', '.join(sorted(found)) or 'none'}")
            elif problem := _misfit(spec, found[name], types, batched=contract.max_batch_size > 0):
                misfits.append(f"{kind} {name} {problem}")
        if kind == "input":
            misfits += [f"it needs an input {name} that is not declared" for name in sorted(found.keys() - declared)]
    return misfits


def _misfit(spec: TensorSpec, node: Any, types: Mapping[str, str], *, batched: bool) -> str | None:
    expected = types.get(spec.data_type, spec.data_type)
    if node.type != expected:
        return f"is {node.type}, not {expected}"
    wanted = [-1, *spec.dims] if batched else list(spec.dims)
    found = [size if isinstance(size, int) else -1 for size in node.shape]
    if len(found) == len(wanted) and all(f in {-1, w} for f, w in zip(found, wanted, strict=True)):
        return None
    return f"has shape {_shape(found)}, not {_shape(wanted)}"


def _shape(sizes: Sequence[int]) -> str:
    return "[" + ", ".join("any" if size < 0 else str(size) for size in sizes) + "]"


def _tensors(entries: list[Mapping[str, Any]]) -> dict[str, TensorSpec]:
    return {
        entry["name"]: TensorSpec(str(entry["data_type"]), tuple(int(size) for size in entry["dims"]))
        for entry in entries
    }
