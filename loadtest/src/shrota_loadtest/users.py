"""Locust's users: open loop, closed loop and live speakers, over gRPC and over HTTP.

They send with our own client. What arrives is decided by them, what became of it is kept by the session.
"""

import gevent
from locust import User, task

from shrota_loadtest.arrivals import arrival_times
from shrota_loadtest.session import Session, now
from shrota_loadtest.settings import CLOSED, OPEN, STREAMS


class _Speaker(User):  # type: ignore[misc]
    """What all have in common: the session of their process, and their own random numbers."""

    abstract = True
    scheme = "grpc"
    kind = OPEN

    def on_start(self) -> None:
        """Begins."""
        self.session: Session = self.environment.shrota
        self.random = self.session.generator()

    def draw(self) -> int:
        """Number of the next utterance."""
        return int(self.random.integers(len(self.session.clips)))


class _Open(_Speaker):
    """Requests that arrive at random and wait for nobody: a slow server cannot slow them down."""

    abstract = True

    @task  # type: ignore[untyped-decorator]
    def arrive(self) -> None:
        """Sends at each arrival, as long as the user lives."""
        for planned in arrival_times(self.session.settings.rate_per_user, now(), self.random):
            gevent.sleep(max(0.0, planned - now()))
            if self.session.is_sending:
                self.session.start(self.scheme, self.draw(), planned)


class _Closed(_Speaker):
    """Sends the next request when the last one has been answered, after a time to think."""

    abstract = True
    kind = CLOSED

    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        """One request."""
        if self.session.is_sending:
            self.session.start(self.scheme, self.draw(), now()).join()
        gevent.sleep(self.session.settings.think_time or (0.0 if self.session.is_sending else 0.05))


class _Stream(_Speaker):
    """A live speaker: each utterance is sent when it has been said, so audio comes as fast as people speak."""

    abstract = True
    kind = STREAMS

    @task  # type: ignore[untyped-decorator]
    def speak(self) -> None:
        """Speaks without end; the first utterance has begun some time ago."""
        planned = None
        while True:
            clip = self.draw()
            seconds = self.session.clips[clip].seconds
            planned = now() + seconds * self.random.random() if planned is None else planned + seconds
            gevent.sleep(max(0.0, planned - now()))
            if self.session.is_sending:
                self.session.start(self.scheme, clip, planned)


class OpenGrpc(_Open):
    """Open loop over gRPC."""


class OpenHttp(_Open):
    """Open loop over HTTP."""

    scheme = "http"


class ClosedGrpc(_Closed):
    """Closed loop over gRPC."""


class ClosedHttp(_Closed):
    """Closed loop over HTTP."""

    scheme = "http"


class StreamGrpc(_Stream):
    """A live speaker over gRPC."""


class StreamHttp(_Stream):
    """A live speaker over HTTP."""

    scheme = "http"


USERS = {
    (each.kind, each.scheme): each for each in (OpenGrpc, OpenHttp, ClosedGrpc, ClosedHttp, StreamGrpc, StreamHttp)
}
"""User classes by kind and scheme."""
