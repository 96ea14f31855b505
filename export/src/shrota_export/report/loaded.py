"""A checkpoint in PyTorch."""

from typing import Any, NamedTuple

from shrota_export.checkpoint import Checkpoint
from shrota_export.graph.engine import AcousticEngine
from shrota_export.loading import load_feature_extractor, load_model


class Loaded(NamedTuple):
    """What is kept of a loaded checkpoint.

    Attributes:
        engine: in evaluation mode.
        sizes: numbers in each parameter of the checkpoint, by its name.
        config: the checkpoint's, with transformers' defaults filled in.
    """

    engine: AcousticEngine
    sizes: dict[str, int]
    config: dict[str, Any]


def load_engine(checkpoint: Checkpoint) -> Loaded:
    """Loads a checkpoint."""
    model = load_model(checkpoint)
    extractor = load_feature_extractor(checkpoint)
    sizes = {name: int(weight.numel()) for name, weight in model.named_parameters()}
    config = model.config.to_dict()
    engine = AcousticEngine(model, normalize=bool(extractor.do_normalize)).eval()
    return Loaded(engine, sizes, config)
