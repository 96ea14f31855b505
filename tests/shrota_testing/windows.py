"""The gate's longest window and full batch, small enough for tests."""

import pytest


def shorten_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 2 s, batches of 4 s and 8 rows, for one test."""
    from shrota_export.gate import cases

    monkeypatch.setattr(cases, "WINDOW_SECONDS", 2)
    monkeypatch.setattr(cases, "BATCH_SECONDS", 4)
    monkeypatch.setattr(cases, "BATCH_ROWS", 8)
