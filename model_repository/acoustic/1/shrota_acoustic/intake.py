"""From a request to a job: its checks and its deadline."""

import logging
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shrota_acoustic.errors import EngineError, RequestError
from shrota_acoustic.job import Job, Responder
from shrota_acoustic.recording import Recording
from shrota_acoustic.requests import read_parameters
from shrota_acoustic.scheduler import Scheduler
from shrota_acoustic.settings import Settings

logger = logging.getLogger(__name__)


class IncomingRequest(Responder, Protocol):
    """What a request brings, and the way back."""

    @property
    def audio(self) -> NDArray[np.float32]:
        """[rows, samples]; valid while this object is held."""

    @property
    def parameters(self) -> str:
        """A JSON object."""

    @property
    def timeout_s(self) -> float | None:
        """How long the caller waits, None if it does not say."""


class Intake:
    """Turns requests into jobs of the scheduler; a request that cannot be one gets its error here."""

    def __init__(self, settings: Settings, scheduler: Scheduler) -> None:
        self._settings = settings
        self._scheduler = scheduler

    def take(self, request: IncomingRequest, seen_at: float) -> None:
        """Takes one request, which the server handed over at ``seen_at`` on the scheduler's clock."""
        try:
            job = self._job(request, seen_at)
        except RequestError as error:
            request.fail(error)
        except Exception as error:
            # a defect of ours, or memory ran out: this request is told, the others go on
            logger.exception("a request could not be read")
            request.fail(EngineError(f"the acoustic model failed to read the request: {error!r}"))
        else:
            self._scheduler.submit(job)

    def _job(self, request: IncomingRequest, seen_at: float) -> Job:
        parameters = read_parameters(request.parameters, self._settings)
        model_rate = self._settings.frontend.sample_rate
        limit_s = self._settings.max_audio_seconds
        return Job(
            recording=Recording(request.audio, parameters.sample_rate, model_rate, limit_s),
            engine=parameters.engine,
            settings=self._settings,
            responder=request,
            deadline=None if request.timeout_s is None else seen_at + request.timeout_s,
            timeout_s=request.timeout_s,
        )
