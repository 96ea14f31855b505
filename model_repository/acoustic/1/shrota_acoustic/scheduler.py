"""Takes requests, forms engine batches from all that wait, and answers each request when its own windows are done."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from shrota_acoustic.batching import HORIZON, Batch, FairQueue, Limits, Row
from shrota_acoustic.engine import Engine, EngineOutput
from shrota_acoustic.errors import EngineError, RequestError, UnavailableError
from shrota_acoustic.job import Job
from shrota_acoustic.metrics import Metrics
from shrota_acoustic.pace import Pace
from shrota_acoustic.settings import Settings

LARGEST_SHARE = 16
"""One request fills no more than one part in so many of the pending budget, or one window where that is more."""
IN_TIME = 0.8
"""A request is taken if it would be answered within this share of its time-out; the rest is for a wrong estimate.

Batches hold windows of like length, so of what comes later as much may be run before it as is there now, up to the
horizon of :mod:`shrota_acoustic.batching` (measured: docs/loadtest; simulated: test_acoustic_overload.py).
A longer queue would not answer more requests, only each of them later.
"""
LEAST_BATCHES_AHEAD = 2
"""Nobody is refused while less waits than so many full batches."""
STOPPING = "the server is stopping: try again on another one"

logger = logging.getLogger(__name__)


class Scheduler:
    """Threads between the requests and the engine: as many as there may be engine calls at a time.

    Args:
        settings: Limits and budgets.
        engine: What runs the batches.
        metrics: Where to count.
        clock: Seconds, only ever rising.
    """

    def __init__(
        self, settings: Settings, engine: Engine, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._metrics = metrics
        self._clock = clock
        limits = Limits(
            budget=settings.batch_budget,
            max_rows=settings.max_batch_rows,
            max_padding=settings.max_padding,
            length_step=settings.length_step,
            patience=settings.patience_batches,
        )
        self._queue: FairQueue[Job] = FairQueue(limits)
        self._most_charged = max(settings.pending_budget // LARGEST_SHARE, settings.window)
        # samples of each request that are still to be run; their sum; and how much of the pending budget they fill
        self._open: dict[Job, int] = {}
        self._pending = 0
        self._charged = 0
        self._pace = Pace()
        self._reporting = threading.Lock()
        self._stopping = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"engine-call-{number}", daemon=True)
            for number in range(settings.engine_calls)
        ]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be run; the last answers may be on their way."""
        with self._changed:
            return not self._open

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Takes a request; its answer or its error is sent later. Blocks while the pending budget is full.

        A request fills as much of the budget as there is audio left to run of it, but no more than a sixteenth, or one
        window where that is more: a long file must not keep out short requests, which would be run before it. So the
        budget bounds the audio of short requests and the number of long ones: sixteen of them fill it, those apart that
        are nearly done. A request's whole audio stays in memory until its answer, so memory follows that number times
        the longest audio that is accepted, not the budget.

        Who could not be answered in time is refused at once: within its own time-out, or, before its first window is
        run, within ``max_wait_seconds``. Work for callers who have gone would be taken from those who wait.
        """
        with self._changed:
            while self._charged >= self._settings.pending_budget and not self._stopping:
                self._changed.wait()
            stopping = self._stopping
            refusal = None if stopping else self._refusal(job, self._clock())
            if not stopping and refusal is None:
                self._open[job] = 0
                self._count(job, job.samples)
                self._queue.add(job, job.engine, job.window_length, job.window_count)
                self._changed.notify_all()
        if stopping:
            job.fail(UnavailableError(STOPPING))
        elif refusal is not None:
            self._metrics.dropped(refusal.code)
            job.fail(refusal)

    def report_pending(self) -> None:
        """Tells the metrics how much is still to be run; whoever submits does so after the last of several requests."""
        # read and written in one, or an older value could be written last, and stay; not with the lock of the requests,
        # which must not wait for the server's metrics
        with self._reporting:
            with self._changed:
                pending = self._pending
            self._metrics.pending(pending / self._settings.frontend.sample_rate)

    def _refusal(self, job: Job, now: float) -> UnavailableError | None:
        """Why a request cannot be taken; None if it can. Call with the lock held."""
        rate = self._pace.rate
        if rate is None or self._pending < LEAST_BATCHES_AHEAD * self._settings.batch_budget:
            return None
        most_answer_s = math.inf if job.deadline is None else IN_TIME * (job.deadline - now)
        horizon = HORIZON * self._settings.batch_budget
        # all that there is, first: to ask every request costs more than anything else here, and mostly it is in time
        for find_ahead in (lambda _: self._pending, self._ahead):
            wait_s = find_ahead(job.window_length) / rate
            ahead = find_ahead(job.samples)
            answer_s = (ahead + min(ahead, horizon) + job.samples) / rate
            if answer_s <= most_answer_s and wait_s <= self._settings.max_wait_s:
                return None
        return UnavailableError(f"there is more work than can be done in time, {wait_s:.0f} s of it: try again later")

    def _ahead(self, samples: int) -> int:
        """Samples that will be run before the last of so many of a request that arrives now.

        Start-time fair queueing (see :mod:`shrota_acoustic.batching`) gives every request that is there as much, or
        what is left of it, and a window at least. Call with the lock held.
        """
        return sum(min(left, max(samples, job.window_length)) for job, left in self._open.items())

    def stop(self, timeout_s: float = 10) -> None:
        """Answers all that waits with an error and ends the threads; an engine call that runs is waited for."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._fail_all(UnavailableError(STOPPING))
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            jobs: list[Job] | None = None
            try:
                found = self._next_batch()
                if found is None:
                    return
                batch, others_wait = found
                jobs = batch.owners
                self._run_timed(batch, others_wait=others_wait)
            except Exception as error:
                # a defect of ours: the requests get an answer, and the thread lives on for the next ones
                logger.exception("a batch failed")
                self._fail_all(EngineError(f"the acoustic model failed: {error!r}"), jobs)

    def _fail_all(self, error: RequestError, jobs: Sequence[Job] | None = None) -> None:
        """Gives ``error`` to ``jobs``, or to all that there are."""
        if jobs is None:
            with self._changed:
                jobs = list(self._open)
        self._finish(jobs, error)

    def _next_batch(self) -> tuple[Batch[Job], bool] | None:
        """Waits for work; drops what nobody waits for any more. Whether other windows wait, too; None when stopping."""
        while True:
            with self._changed:
                while not len(self._queue) and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return None
                now = self._clock()
                ahead_s = self._pace.batch_s
                expired = [job for job in self._queue.owners() if job.expired(now, ahead_s)]
                batch = None if expired else self._queue.next_batch()
                others_wait = len(self._queue) > 0
            if batch is None:
                self._drop(expired, now, ahead_s)
                continue
            gone = self._drop(batch.owners, now, ahead_s)
            if gone:
                rows = [row for row in batch.rows if row.owner not in gone]
                batch = Batch(batch.engine, rows, batch.padded_length)
            if batch.rows:
                return batch, others_wait

    def _drop(self, jobs: Sequence[Job], now: float, ahead_s: float) -> set[Job]:
        """Finishes those of ``jobs`` that nobody waits for, and returns them."""
        gone = set()
        for job in jobs:
            reason = job.drop_reason(now, ahead_s)
            if reason is not None:
                self._metrics.dropped(reason.code)
                self._finish([job], reason)
                gone.add(job)
        return gone

    def _run_timed(self, batch: Batch[Job], *, others_wait: bool) -> None:
        """Runs a batch, and notes how long it took if it is one of many."""
        begin = self._clock()
        with self._changed:
            self._pace.begin(begin)
        done = False
        try:
            done = self._run(batch)
        finally:
            end = self._clock()
            with self._changed:
                samples = sum(row.length for row in batch.rows)
                self._pace.end(end, samples, end - begin, counts=done and others_wait)

    def _run(self, batch: Batch[Job]) -> bool:
        """Whether all of a batch was run."""
        try:
            self._run_rows(batch.engine, batch.rows, batch.padded_length)
        except UnavailableError as error:
            self._fail_all(error, batch.owners)
        except EngineError as error:
            jobs = batch.owners
            if len(jobs) == 1:
                self._finish(jobs, error)
                return False
            for job in jobs:
                # one bad request must not fail its neighbours
                self._run(Batch(batch.engine, [row for row in batch.rows if row.owner is job], batch.padded_length))
        else:
            return True
        return False

    def _run_rows(self, engine: str, rows: Sequence[Row[Job]], padded_length: int) -> None:
        audio = np.empty((len(rows), padded_length), np.float32)
        num_samples = np.empty((len(rows), 1), np.int32)
        for number, row in enumerate(rows):
            count = row.owner.read_window(row.index, audio[number])
            audio[number, count:] = 0
            num_samples[number] = count
        begin = self._clock()
        output = self._engine.run(engine, audio, num_samples)
        wall = self._clock() - begin
        rate = self._settings.frontend.sample_rate
        self._metrics.batch(
            engine, len(rows), audio.size / rate, (audio.size - int(num_samples.sum(dtype=np.int64))) / rate, wall
        )
        self._check(engine, rows, num_samples, output)
        written = zip(rows, output.log_probs, strict=True)
        self._finish([row.owner for row, log_probs in written if row.owner.write_window(row.index, log_probs)], None)
        self._release({row.owner for row in rows})

    def _check(
        self, engine: str, rows: Sequence[Row[Job]], num_samples: NDArray[np.int32], output: EngineOutput
    ) -> None:
        """Holds the engine to its contract, so that a foreign engine is found out rather than believed."""
        given = output.num_frames.reshape(-1).tolist()
        expected = [self._settings.frontend.frames(int(samples)) for samples in num_samples[:, 0]]
        shape = output.log_probs.shape
        if given != expected or shape[0] != len(rows) or shape[1] < max(expected):
            text = f"engine {engine} gave {given} frames in {list(shape)} where frontend.json says {expected}"
            raise EngineError(f"{text}: export the checkpoint again with `shrota export onnx`")

    def _finish(self, jobs: Sequence[Job], error: RequestError | None) -> None:
        """Answers requests, each once: whoever comes second does nothing.

        They are counted together, and before anybody has an answer: the server's metrics cost more than a lock.
        """
        with self._changed:
            jobs = [job for job in jobs if job in self._open]
            for job in jobs:
                self._count(job, 0)
                del self._open[job]
                self._queue.remove(job)
            self._changed.notify_all()
        if not jobs:
            return
        try:
            self.report_pending()
            if error is None:
                self._metrics.answered(sum(job.seconds for job in jobs))
        except Exception:  # a defect of ours: they are to have their answers all the same
            logger.exception("requests could not be counted")
        for job in jobs:
            try:
                if error is None:
                    job.answer()
                else:
                    job.fail(error)
            except Exception as fault:
                logger.exception("a request could not be answered")
                job.fail(EngineError(f"the acoustic model failed to answer: {fault!r}"))

    def _release(self, jobs: Iterable[Job]) -> None:
        """Counts those of ``jobs`` that are not done with what is left of them."""
        with self._changed:
            still_open = [job for job in jobs if job in self._open]
            for job in still_open:
                self._count(job, job.remaining_samples)
            self._changed.notify_all()
        if still_open:
            self.report_pending()

    def _count(self, job: Job, samples: int) -> None:
        """Notes that ``samples`` of an open job are still to be run. Call with the lock held."""
        before = self._open[job]
        self._open[job] = samples
        self._pending += samples - before
        self._charged += min(samples, self._most_charged) - min(before, self._most_charged)
