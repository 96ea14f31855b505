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


def kind_of(name: str) -> str:
    """The kind of layer that a parameter of the engine belongs to."""
    for part, kind in (
        ("feature_extractor", "feature extractor"),
        ("position_embedding", "position embedding"),
        ("attention", "attention"),
        ("feed_forward", "feed-forward"),
        ("head", "head"),
    ):
        if part in name:
            return kind
    return "feature projection" if "feature_projection" in name else "other"
