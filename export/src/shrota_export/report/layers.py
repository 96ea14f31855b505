"""The layers of an engine, by name, in their order."""

ORDER = (
    "normalizer",
    "feature_extractor",
    "feature_projection",
    "position_embedding",
    "layers",
    "layer_norm",
    "head",
    "graph",
)


def place(layer: str) -> tuple[int, int]:
    """Where a layer (``layers.3``, ``head``) stands; unknown ones come last."""
    name, _, index = layer.partition(".")
    return ORDER.index(name) if name in ORDER else len(ORDER), int(index) if index.isdigit() else 0
