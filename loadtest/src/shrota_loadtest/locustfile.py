"""What Locust loads: its users, the options, and what happens when a test starts and stops.

``locust -f loadtest/locustfile.py`` takes it from here; so does ``shrota loadtest``.
"""

import logging
import sys
from pathlib import Path
from typing import Any

import gevent
from locust import LoadTestShape, events
from locust.env import Environment

from shrota_client.errors import ShrotaError
from shrota_loadtest.session import Session, use_gevent
from shrota_loadtest.settings import NONE, Settings, known_schemes
from shrota_loadtest.users import USERS, ClosedGrpc, ClosedHttp, OpenGrpc, OpenHttp, StreamGrpc, StreamHttp

__all__ = ["ClosedGrpc", "ClosedHttp", "OpenGrpc", "OpenHttp", "StreamGrpc", "StreamHttp"]

SPAWN_RATE = 100.0
"""Users a second, at least."""

logger = logging.getLogger("shrota")


class _Led(LoadTestShape):  # type: ignore[misc]
    """The number of users that the leader wants; Locust asks once a second."""

    abstract = True  # or Locust would take it for the shape of every test

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._users, self._rate = 0, SPAWN_RATE

    def reset_time(self) -> None:
        """See :class:`locust.LoadTestShape`: a test begins."""
        super().reset_time()
        self._users, self._rate = 0, SPAWN_RATE

    def tick(self) -> tuple[int, float] | None:
        """See :class:`locust.LoadTestShape`."""
        try:
            if self._session.leader is None:
                self._session.begin()
            self._session.drop_missing()
            leader = self._session.leader
            users = None if leader is None else leader.tick()
        except ShrotaError as error:
            _fail(self._session.environment, error)
            return None
        if users is None:
            return None
        if users != self._users:  # another rate alone would be another order to Locust
            self._rate = max(SPAWN_RATE, float(abs(users - self._users)))  # within a second, up and down
            self._users = users
        return users, self._rate


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: Any) -> None:
    """Our options, for the command line and the web page."""
    Settings.add_arguments(parser)


@events.init.add_listener  # type: ignore[untyped-decorator]
def prepare(environment: Environment, **_: Any) -> None:
    """Before any test, in each process: after Locust has forked, and before there is a channel of gRPC."""
    use_gevent()
    _say_what_happens(environment)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # more connections than it keeps are no news
    # users of ours cost little until they send: as many a second as there are is no mistake
    logging.getLogger("locust.runners").addFilter(lambda record: "spawn rate is very high" not in record.getMessage())
    try:
        environment.shrota = Session(environment)
    except ShrotaError as error:
        _fail(environment, error)
        sys.exit(1)
    settings: Settings = environment.shrota.settings
    if not environment.shrota.leads:
        return  # a worker has all classes, and is told which it runs
    if not environment.parsed_options.user_classes and not environment.parsed_options.class_picker:
        scheme = next(iter(known_schemes(settings)), "grpc")
        environment.user_classes = [USERS[settings.kind, scheme]]
    if settings.shape != NONE:
        environment.shape_class = _Led(environment.shrota)
        environment.shape_class.runner = environment.runner


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Environment, **_: Any) -> None:
    """Before the first user of a test: in a process that leads, with the transcripts alone."""
    session: Session = environment.shrota
    if session.leads and session.settings.shape != NONE:
        return  # the shape has done it
    try:
        session.begin()
    except ShrotaError as error:
        _fail(environment, error)
        # not from here, where the runner waits for us
        gevent.spawn(environment.runner.quit if environment.parsed_options.headless else environment.runner.stop)


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def finish(environment: Environment, **_: Any) -> None:
    """After the last user of a test: writes what was measured."""
    session: Session = environment.shrota
    try:
        results = session.finish()
        if results is not None and session.settings.output:
            from shrota_loadtest.pages.report import write_report  # noqa: PLC0415 - matplotlib takes a second

            for path in write_report(results, Path(session.settings.output)):
                logger.info("wrote %s", path)
    except (ShrotaError, OSError) as error:
        _fail(environment, error)
    finally:
        session.leader = None  # or the next test would not begin


def _say_what_happens(environment: Environment) -> None:
    """Our progress, whatever Locust's own log shows; lines of our own where it shows nothing."""
    logger.setLevel(logging.INFO)
    if environment.parsed_options.skip_log_setup:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def _fail(environment: Environment, error: Exception) -> None:
    """One line, and an exit code that says so."""
    logger.error("%s", error)
    environment.process_exit_code = 1
