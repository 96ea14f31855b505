"""Windows, batches and scheduling of the acoustic model; used by ``model.py`` beside it."""
