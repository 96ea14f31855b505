"""What the decoder raises on purpose; each is one line that says what to do."""


class RequestRefusedError(ValueError):
    """What the caller sent cannot be decoded."""


class RequestCancelledError(Exception):
    """Nobody waits for the answer any more."""


class SettingsError(ValueError):
    """``config.pbtxt``, or a file beside ``model.py``, is not what the decoder can work with."""
