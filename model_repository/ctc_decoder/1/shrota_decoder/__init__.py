"""CTC decoding with word times and confidences; used by ``model.py`` beside it."""
