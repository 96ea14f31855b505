"""One request on its way: its audio, its windows, and the log-probabilities that have come back."""

from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shrota_acoustic.errors import CancelledError, RequestError, UnavailableError
from shrota_acoustic.recording import Recording
from shrota_acoustic.settings import Settings
from shrota_acoustic.windows import plan_windows

AHEAD_SHARE = 0.2
"""Of a request's time-out: so much earlier it may be dropped, see :meth:`Job.expired`."""


class Responder(Protocol):
    """The way back to the caller. Used once."""

    def answer(self, log_probs: NDArray[np.float32], durations: NDArray[np.float32]) -> None:
        """Sends log-probabilities [rows, frames, vocabulary] and seconds [rows, 1]."""

    def fail(self, error: RequestError) -> None:
        """Sends an error instead."""

    def is_cancelled(self) -> bool:
        """Whether the caller has gone."""


class Job:
    """One request of one or more utterances of equal length.

    Args:
        recording: The audio. It is read, window by window, until the answer is sent.
        engine: Name of the engine.
        settings: Window, overlap, frontend.
        responder: The way back; it also keeps alive the memory that ``recording`` looks into.
        deadline: When the caller stops waiting, on the clock that :meth:`expired` is asked with; None for never.
        timeout_s: How long the caller waits in all.
    """

    def __init__(
        self,
        *,
        recording: Recording,
        engine: str,
        settings: Settings,
        responder: Responder,
        deadline: float | None = None,
        timeout_s: float | None = None,
    ) -> None:
        rows, samples = recording.rows, recording.samples
        self.engine = engine
        self.row_seconds = recording.seconds
        self.seconds = rows * recording.seconds
        self.samples = rows * samples
        self.deadline = deadline
        self._most_ahead_s = 0.0 if timeout_s is None else AHEAD_SHARE * timeout_s
        self._recording: Recording | None = recording
        self._responder: Responder | None = responder
        self._windows = plan_windows(samples, settings.frontend, settings.window, settings.overlap)
        self._shape = (rows, settings.frontend.frames(samples))
        self._log_probs: NDArray[np.float32] | None = None
        self._lock = Lock()
        self._missing = rows * len(self._windows)
        # an engine cannot take less than one frame's samples: shorter audio is padded, and none of its frames kept
        self.window_length = max(self._windows[0].length, settings.frontend.receptive_field)
        self.window_count = self._missing

    @property
    def remaining_samples(self) -> int:
        """The part of ``samples`` whose windows have not come back yet."""
        with self._lock:
            return self.samples * self._missing // self.window_count

    def expired(self, now: float, ahead_s: float = 0.0) -> bool:
        """Whether the caller will not wait any longer, or not as long as a batch takes, which is ``ahead_s``.

        Of that at most a fifth of the time-out is believed: a batch may be much larger than this request.
        """
        return self.deadline is not None and now + min(ahead_s, self._most_ahead_s) >= self.deadline

    def drop_reason(self, now: float, ahead_s: float = 0.0) -> RequestError | None:
        """Why this request need not be run, if there is a reason, see :meth:`expired`. Asks Triton: not for free."""
        if self.expired(now, ahead_s):
            return UnavailableError("the request's time-out passed before the engine had run it: try again later")
        responder = self._responder
        if responder is not None and responder.is_cancelled():
            return CancelledError("the request was cancelled")
        return None

    def read_window(self, index: int, into: NDArray[np.float32]) -> int:
        """Copies window ``index`` to the start of ``into`` [samples]; returns how many samples it has."""
        # both, because another thread may fail this job meanwhile, and the recording looks into the responder's memory
        keep_alive, recording = self._responder, self._recording
        if keep_alive is None or recording is None:
            return 0
        row, position = divmod(index, len(self._windows))
        window = self._windows[position]
        recording.read(row, window.start, into[: window.length])
        return window.length

    def write_window(self, index: int, log_probs: NDArray[np.float32]) -> bool:
        """Keeps the frames of window ``index`` out of the engine's ``log_probs`` [frames, vocabulary].

        The only window of a request is not copied: ``log_probs`` must stay as it is until :meth:`answer`.

        Returns:
            Whether this was the last window that was missing.
        """
        row, position = divmod(index, len(self._windows))
        window = self._windows[position]
        kept = log_probs[window.skip :][: window.kept_frames]
        with self._lock:
            if self._log_probs is None:
                alone = self.window_count == 1
                self._log_probs = kept[None] if alone else np.empty((*self._shape, log_probs.shape[1]), np.float32)
            whole = self._log_probs
        if self.window_count > 1:
            whole[row, window.first_frame : window.end_frame] = kept
        with self._lock:
            self._missing -= 1
            return self._missing == 0

    def answer(self) -> None:
        """Sends the log-probabilities and lets go of everything. Call once, after the last window."""
        responder, log_probs = self._responder, self._log_probs
        durations = np.full((self._shape[0], 1), self.row_seconds, np.float32)
        self._responder = self._recording = self._log_probs = None
        if responder is not None and log_probs is not None:
            responder.answer(log_probs, durations)

    def fail(self, error: RequestError) -> None:
        """Sends an error and lets go of everything. Call once, instead of :meth:`answer`."""
        responder = self._responder
        self._responder = self._recording = self._log_probs = None
        if responder is not None:
            responder.fail(error)
