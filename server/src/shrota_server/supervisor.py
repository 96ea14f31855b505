"""Brings back what has died: Python models, which Triton goes on calling ready, and a tritonserver that crashed."""

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
# from a connection that tritonserver drops because it crashed until its guardian has cleaned up
END_S = 1.0
# A process that dies while it sends an answer leaves tritonserver 2.51 waiting in memory that they share, and when the
# model has been loaded again and the old one goes, tritonserver aborts (seen under load, rarely). For so long
# after a reload, also one that failed, its end is taken for that, however long it takes to die (a core dump).
SETTLE_S = 5.0
# These answer through response senders, long after `execute` has returned. Triton forgets such requests when the
# process dies: neither a reload nor an unload answers them, and their callers would wait until their own time-out,
# `acoustic` for its engine for ever. Only the end of the connection tells them, so for these models the whole server is
# started again.
ANSWERS_LATER = frozenset({"acoustic", "acoustic_torch"})
# tritonserver 2.51 crashes when very many callers give up their gRPC requests at once
# (https://github.com/triton-inference-server/server/issues/7368; seen under load). One that ended by a fault of its own
# is started again; one that was told to end, or killed, is not.
TRITONSERVER = "tritonserver"
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

    def has_crashed(self) -> bool:
        """Whether tritonserver has ended by a fault of its own."""

    def describe_exit(self) -> str:
        """How it has ended."""

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
        self._is_at_it = False
        self._is_over = False
        self._settled_at = 0.0
        self._watch = StubWatch(server.pid)
        self._watch.find_dead()  # know the stubs while they live
        self._thread = threading.Thread(target=self._run, name="triton-supervisor", daemon=True)
        self._thread.start()

    @property
    def is_bringing_back(self) -> bool:
        """Whether it brings something back, or will: a server that crashed, or ended just after a model was loaded."""
        return self._is_at_it or self._is_settling or (not self._is_over and self._server.has_crashed())

    @property
    def _is_settling(self) -> bool:
        """Whether an end that is seen now may have come within ``SETTLE_S`` after a reload; it is seen by looking."""
        return time.monotonic() < self._settled_at + LOOK_S

    def stop(self) -> None:
        """Ends the thread; a reload that is under way ends with the server."""
        self._stopping.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=1)

    def _run(self) -> None:
        try:
            self._look()
        finally:
            self._is_over = True

    def _look(self) -> None:
        while not self._stopping.wait(CONFIRM_S if self._watch.is_in_doubt else LOOK_S):
            if not self._server.is_running() and not self._has_started_again():
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
            self._is_at_it = True
            try:
                self._bring_back(model)
            except ServerError as error:
                if self._stopping.is_set():
                    return
                logger.error("model %s could not be brought back: %s", model, error)  # noqa: TRY400 - one line
                if not self._server.is_running():
                    return  # there is nothing to load it into; unless it is started again TritonServer.wait says why
                self._due[model] = time.monotonic() + max(1.0, self._backoff.delay_s(model))
            else:
                self._due.pop(model, None)
                logger.warning("model %s serves again, after %.1f s", model, time.monotonic() - now)
            finally:
                self._is_at_it = False

    def _bring_back(self, model: str) -> None:
        if model in ANSWERS_LATER:
            self._restart()
            return
        self._settled_at = 0.0
        try:
            self._server.control.reload(model, self._reload_timeout_s)
        except ServerError:
            if not self._has_ended():
                self._settled_at = time.monotonic() + SETTLE_S
                raise
            logger.warning("tritonserver has ended while model %s was loaded again: starting it anew", model)
            self._restart()
        else:
            self._settled_at = time.monotonic() + SETTLE_S

    def _has_ended(self) -> bool:
        """Whether tritonserver ends within ``END_S``."""
        deadline = time.monotonic() + END_S
        while self._server.is_running():
            if time.monotonic() > deadline or self._stopping.wait(CONFIRM_S):
                return False
        return not self._stopping.is_set()

    def _has_started_again(self) -> bool:
        """Starts a tritonserver again that crashed, or ended right after a model was loaded again; whether it has."""
        settling = self._is_settling
        if self._stopping.is_set() or not (settling or self._server.has_crashed()):
            return False
        self._is_at_it = True
        try:
            if settling:
                logger.warning("tritonserver has ended after a model was loaded again: starting it anew")
            elif not self._waited_after_crash():
                return False
            self._restart()
        except ServerError as error:
            if not self._stopping.is_set():
                logger.error("tritonserver could not be started again: %s", error)  # noqa: TRY400 - one line
            return False
        finally:
            self._is_at_it = False
        return True

    def _waited_after_crash(self) -> bool:
        """Says so, and waits the longer the more often it happens; False if the server is being stopped meanwhile."""
        delay_s = self._backoff.delay_s(TRITONSERVER)
        if delay_s == 0:
            logger.warning("tritonserver has crashed (%s): starting it again", self._server.describe_exit())
        else:
            logger.error(
                "tritonserver keeps crashing (%s), %d times within %.0f s: starting it again in %.0f s",
                self._server.describe_exit(), self._backoff.count(TRITONSERVER), CRASH_WINDOW_S, delay_s,
            )  # fmt: skip
        return not self._stopping.wait(delay_s)

    def _restart(self) -> None:
        try:
            self._server.restart()
        finally:
            self._settled_at = 0.0  # not before: whoever waits for the end of the server would take it for ended
        self._watch = StubWatch(self._server.pid)
        self._watch.find_dead()
        self._due.clear()
