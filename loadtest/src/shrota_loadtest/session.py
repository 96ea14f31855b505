"""One process of a load test under Locust: it sends, or leads, or both.

The one that leads (Locust's master, or the only process) takes the transcripts alone, announces the phases, gathers the
reports and writes the results. The ones that send (workers, or the only process) hold the clients. Both parts talk in
Locust's own messages, which reach the same process too, so that there is one way for all.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import grpc.experimental.gevent as grpc_gevent  # type: ignore[import-untyped]
import numpy as np
from gevent.lock import BoundedSemaphore
from gevent.pool import Group
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from shrota_client import Client
from shrota_client.errors import ShrotaError
from shrota_client.settings import Retry, Timeouts
from shrota_loadtest.leader import Leader
from shrota_loadtest.recorder import Recorder
from shrota_loadtest.settings import NONE, Settings
from shrota_loadtest.stages import DRAIN, IDLE
from shrota_loadtest.summary import bucket_of
from shrota_loadtest.workload import Clip, make_clips

PHASE, REPORT = "shrota_phase", "shrota_report"
REPORT_S = 0.5
"""Seconds between two reports."""
MOST_FLYING = 2000
"""Requests of one process that are on their way at once. Over gRPC each waits in a thread of gevent's pool;
more of them wait before they are sent, and the load generator is late by that."""
SPARE_THREADS = 16
"""For names that are looked up."""


class Session:
    """What the users and the shape of one process share."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._clients: dict[str, Client] = {}
        self._requests = Group()
        self._free = BoundedSemaphore(MOST_FLYING)
        self._spawned = 0
        self.settings = Settings.of(vars(environment.parsed_options))
        self.clips: list[Clip] = []
        self.recorder = Recorder(self.settings.bound)
        self._test = ""
        self.leads = not isinstance(environment.runner, WorkerRunner)
        self.sends = not isinstance(environment.runner, MasterRunner)
        self.leader: Leader | None = None
        if self.leads:
            environment.runner.register_message(REPORT, self._take_report)
        if self.sends:
            environment.runner.register_message(PHASE, self._take_phase)
            gevent.spawn(self._report_for_ever)

    def begin(self) -> None:
        """Reads the workload, and where it leads, takes the transcripts alone; called when Locust starts a test.

        Raises:
            ShrotaError: there is no speech, or no server.
        """
        self.settings = self._read_settings()
        self.clips = make_clips(
            Path(self.settings.speech), self.settings.lengths, self.settings.clips, self.settings.seed
        )
        if not self.leads:
            return
        leader = Leader(self.settings, self.clips, self._announce)
        leader.take_alone(self._alone)
        self.leader = leader  # not before: the shape begins with it
        if self.settings.shape == NONE:
            leader.begin_open_end()

    def drop_missing(self) -> None:
        """Waits no longer for workers that Locust misses, or that have left."""
        runner = self.environment.runner
        if self.leader is not None and isinstance(runner, MasterRunner):
            alive = [name for name, worker in runner.clients.items() if worker.state != STATE_MISSING]
            self.leader.collector.keep_only(alive)

    def finish(self) -> dict[str, Any] | None:
        """Waits for what is on its way; the results, where it leads."""
        if self.leader is None:
            return None
        results = self.leader.finish(self.environment.runner.target_user_count, gevent.sleep)
        if results is not None and self.settings.results:
            Path(self.settings.results).write_text(json.dumps(results, ensure_ascii=False), encoding="utf-8")
        return results

    @property
    def is_sending(self) -> bool:
        """Whether arrivals count, or are let through at all: between stages they are not."""
        return self.recorder.phase not in {DRAIN, IDLE}

    def generator(self) -> np.random.Generator:
        """Random numbers for one more user: others in each process, step and user, the same in each run."""
        self._spawned += 1
        worker = max(0, getattr(self.environment.runner, "worker_index", 0))
        return np.random.default_rng([self.settings.seed, worker, self.recorder.step, self._spawned])

    def start(self, scheme: str, clip: int, planned: float) -> gevent.Greenlet:
        """Sends an utterance in a greenlet of its own, which outlives the user: every request gets its answer."""
        return self._requests.spawn(self._request, scheme, clip, planned)

    def client(self, scheme: str) -> Client:
        """The client of this process for a scheme; made when it is first needed, in the process that uses it."""
        if scheme not in self._clients:
            self._clients[scheme] = Client(
                self.settings.address(scheme),
                parameters={"engine": self.settings.engine} if self.settings.engine else None,
                timeouts=Timeouts(request_s=self.settings.request_timeout),
                retry=Retry(attempts=1),
            )
        return self._clients[scheme]

    def _read_settings(self) -> Settings:
        """The options as they are now; the kind is that of the user classes that were picked, if they have one."""
        settings = Settings.of(vars(self.environment.parsed_options))
        kinds = {each.kind for each in self.environment.user_classes}
        return replace(settings, kind=kinds.pop()) if self.leads and len(kinds) == 1 else settings

    def _request(self, scheme: str, number: int, planned: float) -> None:
        clip, text, error = self.clips[number], None, None
        recorder = self.recorder  # the next test has another
        ticket = recorder.begin(number, planned)
        try:
            with self._free:
                ticket.sent = now()
                text = self.client(scheme).transcribe(clip.samples).text
        except ShrotaError as problem:
            error = problem
        latency_s = recorder.end(ticket, text, error)
        self.environment.events.request.fire(
            request_type=scheme,
            name=bucket_of(clip.seconds),
            response_time=1000 * latency_s,
            response_length=len((text or "").encode()),
            exception=error,
            context={},
        )

    def _alone(self, clip: Clip) -> str:
        scheme = "grpc" if self.settings.grpc else "http"
        return self.client(scheme).transcribe(clip.samples).text

    def _announce(self, step: int, phase: str) -> None:
        test = "" if self.leader is None else self.leader.name
        message = {"test": test, "step": step, "phase": phase, "bound": self.settings.bound}
        self.environment.runner.send_message(PHASE, message)

    def _take_phase(self, msg: Any, **_: Any) -> None:
        if msg.data["test"] != self._test:
            self._test = msg.data["test"]
            self.recorder = Recorder(msg.data["bound"])  # of the one that leads: our own option may be another
        self.recorder.enter(msg.data["step"], msg.data["phase"])
        self._report()

    def _report(self) -> None:
        self.environment.runner.send_message(REPORT, {"test": self._test, **self.recorder.report()})

    def _report_for_ever(self) -> None:
        while True:
            gevent.sleep(REPORT_S)
            if self._test:
                self._report()

    def _take_report(self, msg: Any, **_: Any) -> None:
        if self.leader is not None and msg.data["test"] == self.leader.name:
            self.leader.collector.add(msg.node_id, msg.data)


def use_gevent() -> None:
    """Before there is a channel of gRPC: gevent's other greenlets run while it waits.

    gRPC waits for each call in a thread of gevent's pool. With more calls than threads, the answer of one is only
    noticed when an older one has its own; gevent has 10 threads unless it is told otherwise.
    """
    grpc_gevent.init_gevent()
    gevent.get_hub().threadpool.maxsize = MOST_FLYING + SPARE_THREADS


def now() -> float:
    """The clock of arrivals, which is the recorder's."""
    return time.monotonic()
