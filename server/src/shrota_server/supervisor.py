"""Brings back Python models whose process has died; Triton does not, and goes on saying that they are ready."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from shrota_server.control import Control
from shrota_server.errors import ServerError
from shrota_server.stubs import StubWatch

logger = logging.getLogger("shrota_server")

LOOK_S = 0.5
# the second look at a process that seems dead
CONFIRM_S = 0.1
# `acoustic` answers through response senders, long after `execute` has returned. Triton forgets such requests when
# the process dies: neither a reload nor an unload answers them, and their callers would wait until their own time-out.
# Only the end of the connection tells them, so for these models the whole server is started again.
ANSWERS_LATER = frozenset({"acoustic"})
# deaths of one model within this time make it wait before the next attempt: 0, 1, 2, 4, ... seconds
CRASH_WINDOW_S = 120.0
LONGEST_DELAY_S = 30.0


class Supervised(Protocol):
    """What the supervisor needs of a server."""

    @property
    def pid(self) -> int:
        """Process id of tritonserver."""

    @property
    def control(self) -> Control:
        """Its control interface."""

    def is_running(self) -> bool:
        """Whether tritonserver runs."""

    def restart(self) -> None:
        """Ends tritonserver at once and starts it again on the same ports; raises a ServerError if that fails."""


class Backoff:
    """How long to wait before a model that died is brought back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._deaths: dict[str, deque[float]] = {}

    def delay_s(self, model: str) -> float:
        """Notes one more death of the model; seconds to wait, 0 for the first."""
        now = self._now()
        deaths = self._deaths.setdefault(model, deque())
        deaths.append(now)
        while now - deaths[0] > CRASH_WINDOW_S:
            deaths.popleft()
        return 0.0 if len(deaths) == 1 else float(min(2 ** (len(deaths) - 2), LONGEST_DELAY_S))

    def count(self, model: str) -> int:
        """Deaths of the model within the window."""
        return len(self._deaths.get(model, ()))


class Supervisor:
    """A thread that looks at the stubs twice a second, and at one that seems dead again at once."""

    def __init__(self, server: Supervised, reload_timeout_s: float) -> None:
        self._server = server
        self._reload_timeout_s = reload_timeout_s
        self._backoff = Backoff()
        self._due: dict[str, float] = {}
        self._stopping = threading.Event()
        self._watch = StubWatch(server.pid)
        self._watch.find_dead()  # know the stubs while they live
        self._thread = threading.Thread(target=self._run, name="triton-supervisor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; a reload that is under way ends with the server."""
        self._stopping.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=1)

    def _run(self) -> None:
        while not self._stopping.wait(CONFIRM_S if self._watch.is_in_doubt else LOOK_S):
            if not self._server.is_running():
                return
            for model in self._watch.find_dead():
                self._schedule(model)
            self._bring_back_due()

    def _schedule(self, model: str) -> None:
        delay_s = self._backoff.delay_s(model)
        self._due[model] = time.monotonic() + delay_s
        how = "starting the server again" if model in ANSWERS_LATER else "loading it again"
        if delay_s == 0:
            logger.warning("the process of model %s has died: %s", model, how)
        else:
            logger.error(
                "the process of model %s keeps dying, %d times within %.0f s: %s in %.0f s; Triton's log says why",
                model, self._backoff.count(model), CRASH_WINDOW_S, how, delay_s,
            )  # fmt: skip

    def _bring_back_due(self) -> None:
        now = time.monotonic()
        for model in [model for model, due in self._due.items() if due <= now]:
            if self._stopping.is_set():
                return
            try:
                self._bring_back(model)
            except ServerError as error:
                if self._stopping.is_set():
                    return
                logger.error("model %s could not be brought back: %s", model, error)  # noqa: TRY400 - one line
                if not self._server.is_running():
                    return  # there is nothing to load it into; TritonServer.wait says why
                self._due[model] = time.monotonic() + max(1.0, self._backoff.delay_s(model))
            else:
                self._due.pop(model, None)
                logger.warning("model %s serves again, after %.1f s", model, time.monotonic() - now)

    def _bring_back(self, model: str) -> None:
        if model in ANSWERS_LATER:
            self._server.restart()
            self._watch = StubWatch(self._server.pid)
            self._watch.find_dead()
            self._due.clear()
        else:
            self._server.control.reload(model, self._reload_timeout_s)
