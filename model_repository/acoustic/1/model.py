"""The acoustic model: audio of any length, in any mix, to log-probabilities. See ``model_repository/README.md``."""

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).resolve().parent))

from shrota_acoustic.engine import TritonEngine
from shrota_acoustic.errors import AcousticError
from shrota_acoustic.intake import Intake
from shrota_acoustic.memory import Trimmer, keep_buffers
from shrota_acoustic.metrics import triton_metrics
from shrota_acoustic.scheduler import Scheduler
from shrota_acoustic.settings import load_settings
from shrota_acoustic.triton import TritonLogHandler, TritonResponder


class TritonPythonModel:
    """What Triton calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the settings and starts the scheduler."""
        logging.basicConfig(handlers=[TritonLogHandler(pb_utils)], level=logging.INFO, format="%(name)s: %(message)s")
        version_folder = Path(args["model_repository"]) / args["model_version"]
        try:
            engine = os.environ.get("SHROTA_ENGINE")  # `shrota serve --engine` sets it
            settings = load_settings(args["model_config"], version_folder / "frontend.json", engine)
        except AcousticError as error:
            raise pb_utils.TritonModelException(str(error)) from None
        self._scheduler = Scheduler(
            settings, TritonEngine(pb_utils), triton_metrics(pb_utils, args["model_name"], settings.engines)
        )
        self._intake = Intake(settings, self._scheduler)
        self._trimmer = Trimmer(lambda: self._scheduler.is_idle)
        keep_buffers()
        self._scheduler.start()
        self._trimmer.start()

    def execute(self, requests: list[Any]) -> list[None]:
        """Hands the requests to the scheduler, which answers them; blocks while too much waits."""
        seen_at = time.monotonic()
        responders = [TritonResponder(pb_utils, request) for request in requests]
        for responder in responders:
            self._intake.take(responder, seen_at)
        self._scheduler.report_pending()  # once: it is a round trip to the server
        return [None] * len(requests)

    def finalize(self) -> None:
        """Answers what still waits and ends the threads."""
        self._trimmer.stop()
        self._scheduler.stop()
