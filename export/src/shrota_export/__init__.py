"""Checkpoint to model repository: export, verification, manifest."""
