"""A running Triton server as a context manager."""

import os
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from shrota_server import ports as port_choice
from shrota_server.access import GrpcTls, check_key, new_key, restrictions
from shrota_server.command import triton_command
from shrota_server.control import Control
from shrota_server.diagnosis import PORT_IN_USE, find_cause
from shrota_server.errors import RepositoryError, ServerError, StartError, StoppedError
from shrota_server.installation import find_installation
from shrota_server.instance import Instance, sweep
from shrota_server.log import open_log
from shrota_server.ports import Hosts, Ports
from shrota_server.process import Process
from shrota_server.supervisor import Supervisor
from shrota_server.tracing import Tracing

POLL_S = 0.05
PORT_ATTEMPTS = 3
NO_LOG = Path(os.devnull)
# what the engines' backends serve, and the command that makes it
ENGINE_FILES = (
    ("onnxruntime", ".onnx", "shrota export onnx CHECKPOINT"),
    ("tensorrt", ".plan", "shrota export tensorrt"),
    ("openvino", ".xml", "shrota export openvino CHECKPOINT"),
)
# read by the model `acoustic`
ENGINE_VARIABLE = "SHROTA_ENGINE"


class TritonServer:
    """Starts a Triton server on entry, waits until its models are ready, ends it on exit.

    ::

        with TritonServer(Path("model_repository"), models=["asr", "acoustic_onnx"]) as server:
            print(server.grpc_url)

    Args:
        repository: the model repository; it may be read-only.
        models: what to load; models that an ensemble names come with it, models called from Python do not.
        http_port: port of HTTP, 0 for any free one; likewise ``grpc_port`` and ``metrics_port``.
        grpc_port: see ``http_port``.
        metrics_port: see ``http_port``.
        host: address to listen on.
        http_host: address that HTTP listens on, if another; it has no encryption of its own.
        metrics_host: address that the metrics listen on, if another than ``host``.
        ready_timeout_s: seconds that loading may take.
        log_path: where Triton's log goes; None for a file in the server's private folder, removed with it.
        show_level: also shows the log from this level up ("error", "warning", "info", "debug") on standard error.
        supervise: brings back Python models whose process dies (see :mod:`shrota_server.supervisor`).
        default_engine: runs requests that name no engine; None for the one in the configuration of ``acoustic``.
        grpc_tls: encrypts gRPC; None for plain text.
        admin_key: opens to whoever sends it what is closed to all others, see :data:`shrota_server.access.CLOSED`;
            None for a new one, which only this object knows.
        open_to_all: what of that is open without the key; perf_analyzer sends none for its shared memory.
        tracing: sends traces of requests to a collector.

    Raises:
        ServerError: on entry, if the server cannot start; the text is one line that says why.
    """

    def __init__(
        self,
        repository: Path,
        models: Sequence[str],
        *,
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
        host: str = "127.0.0.1",
        ready_timeout_s: float = 300,
        log_path: Path | None = None,
        show_level: str | None = None,
        supervise: bool = False,
        default_engine: str | None = None,
        http_host: str | None = None,
        metrics_host: str | None = None,
        grpc_tls: GrpcTls | None = None,
        admin_key: str | None = None,
        open_to_all: Collection[str] = (),
        tracing: Tracing | None = None,
    ) -> None:
        self.repository = Path(repository)
        self.models = list(models)
        self.hosts = Hosts(
            host if http_host is None else http_host, host, host if metrics_host is None else metrics_host
        )
        self.ports = Ports(http_port, grpc_port, metrics_port)
        self.log_path = log_path if log_path is not None else Path()
        self._wanted_log_path = log_path
        self._wanted_ports = self.ports
        self._ready_timeout_s = ready_timeout_s
        self._show_level = show_level
        self._supervise = supervise
        self._default_engine = default_engine
        self._grpc_tls = grpc_tls
        self._admin_key = new_key() if admin_key is None else check_key(admin_key)
        self._restrictions = restrictions(self._admin_key, open_to_all)
        self._tracing = tracing
        self._process: Process | None = None
        self._supervisor: Supervisor | None = None
        self._failed_restart: ServerError | None = None
        self._stopping = threading.Event()
        self._changing = threading.RLock()

    @property
    def http_url(self) -> str:
        """Address of HTTP, without a scheme."""
        return f"{_reachable(self.hosts.http)}:{self.ports.http}"

    @property
    def grpc_url(self) -> str:
        """Address of gRPC, without a scheme."""
        return f"{_reachable(self.hosts.grpc)}:{self.ports.grpc}"

    @property
    def metrics_url(self) -> str:
        """Address of the metrics, without a scheme; the path is ``/metrics``."""
        return f"{_reachable(self.hosts.metrics)}:{self.ports.metrics}"

    @property
    def process(self) -> Process:
        """The running tritonserver.

        Raises:
            ServerError: it was not started.
        """
        if self._process is None:
            raise ServerError("the server is not running: use it in a `with` statement")
        return self._process

    @property
    def pid(self) -> int:
        """Process id of tritonserver."""
        return self.process.pid

    @property
    def control(self) -> Control:
        """Triton's health and model control."""
        return Control(_reachable(self.hosts.http).strip("[]"), self.ports.http, admin_key=self._admin_key)

    def is_running(self) -> bool:
        """Whether tritonserver runs."""
        with self._changing:
            return self._process is not None and self._process.is_running()

    def has_crashed(self) -> bool:
        """Whether tritonserver has ended by a fault of its own, and nobody has told it to."""
        with self._changing:
            process = self._process
        return process is not None and not self._stopping.is_set() and process.has_crashed()

    def describe_exit(self) -> str:
        """How the tritonserver that has ended did so, and what its log says of it."""
        process = self.process
        process.wait()
        return f"{process.describe_exit()}; its last words: {find_cause(process.log.lines)}"

    def is_ready(self) -> bool:
        """Whether the server and every model answer that they are ready."""
        return self.control.is_ready(self.models)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until tritonserver ends; False if the time is over before.

        Raises:
            StoppedError: it ended by itself, or could not be started again.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._is_bringing_back() or self.is_running():
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(4 * POLL_S)
        if not self._stopping.is_set():
            if self._failed_restart is not None:
                raise StoppedError(f"the server could not be started again: {self._failed_restart}")
            process = self.process
            process.wait()
            raise StoppedError(f"tritonserver ended by itself ({process.describe_exit()}): {self._log_hint()}")
        return True

    def _is_bringing_back(self) -> bool:
        """Whether the supervisor may start a server again that has ended; then it has not ended for good."""
        supervisor = self._supervisor
        return supervisor is not None and supervisor.is_bringing_back and not self._stopping.is_set()

    def __enter__(self) -> Self:
        """Starts the server; returns when all models are ready."""
        check_repository(self.repository, self.models)
        sweep()
        self._stopping.clear()
        self._failed_restart = None
        for attempt in range(PORT_ATTEMPTS):
            self.ports = port_choice.choose(self._wanted_ports, self.hosts)
            try:
                self._start()
            except StartError as error:
                # somebody took a port that we chose between our look and Triton's bind
                if PORT_IN_USE not in str(error) or attempt == PORT_ATTEMPTS - 1:
                    raise
            else:
                break
        if self._supervise:
            self._supervisor = Supervisor(self, self._ready_timeout_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the server and removes what it left."""
        self.stop()

    def drain(self, model: str, timeout_s: float) -> bool:
        """Has the requests to a model finish before the server is stopped, and refuses new ones.

        A Triton that is told to end refuses the next step of requests to an ensemble that are under way. One that is
        told to unload the ensemble refuses new requests to it, and finishes those. Meanwhile it is not ready.

        Args:
            model: an ensemble that is loaded.
            timeout_s: the longest that it may take.

        Returns:
            Whether all have finished; False too if the server does not answer, or is being stopped.
        """
        deadline = time.monotonic() + timeout_s
        self._stop_supervisor()  # a server that crashes now has lost those requests: another one would not finish them
        try:
            self.control.unload(model)
        except ServerError:
            return False
        # no answer is no news: the threads that would give it may be busy with what is to be finished
        while self.control.is_unloading(model) is not False:
            if time.monotonic() > deadline or self._stopping.is_set() or not self.is_running():
                return False
            time.sleep(POLL_S)
        return not self._stopping.is_set()

    def stop(self) -> None:
        """Ends the server within 10 s; nothing of it stays. Does nothing if it does not run."""
        self._stopping.set()  # a restart that is under way gives up
        self._stop_supervisor()
        with self._changing:
            process = self._process
        if process is not None:
            process.stop()
            self._process = None  # not before: a second signal has to find what to kill

    def _stop_supervisor(self) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.stop()

    def kill(self) -> None:
        """Ends the server at once, without waiting for requests in flight; ``stop`` still has to follow."""
        self._stopping.set()
        process = self._process
        if process is not None:
            process.kill()

    def restart(self) -> None:
        """Ends tritonserver at once and starts it again on the same ports; requests in flight lose their connection.

        Raises:
            ServerError: it did not start again, or it is being stopped.
        """
        with self._changing:
            if self._stopping.is_set() or self._process is None:
                raise ServerError("the server is being stopped")
            self._process.kill()
            self._process.stop()
            try:
                self._start()
            except ServerError as error:
                self._failed_restart = error
                raise
            self._failed_restart = None

    def _start(self) -> None:
        instance = Instance.create()
        try:
            installation = find_installation(instance.folder)
            self.log_path = self._wanted_log_path or instance.folder / "triton.log"
            command = triton_command(
                installation,
                instance,
                repository=self.repository,
                models=self.models,
                hosts=self.hosts,
                ports=self.ports,
                options=self._options(),
            )
            log_file = open_log(self.log_path)
        except BaseException:
            instance.remove()
            raise
        environment = dict(installation.environment)
        if self._default_engine is not None:
            environment[ENGINE_VARIABLE] = self._default_engine
        self._process = Process(command, environment, instance, log_file, self._show_level)
        try:
            self._wait_ready(self._process)
        except BaseException:
            self._process.stop()
            raise

    def _options(self) -> list[str]:
        options = list(self._restrictions)
        if self._grpc_tls is not None:
            options += self._grpc_tls.options()
        if self._tracing is not None:
            options += self._tracing.options()
        if self._show_level == "debug":
            options += ["--log-verbose", "1"]
        return options

    def _wait_ready(self, process: Process) -> None:
        deadline = time.monotonic() + self._ready_timeout_s
        while not self.is_ready():
            if self._stopping.is_set():
                raise StartError("the server is being stopped")
            if not process.is_running():
                raise StartError(_cause(process))
            if time.monotonic() > deadline:
                raise StartError(f"the server was not ready within {self._ready_timeout_s:g} s: {self._log_hint()}")
            time.sleep(POLL_S)
        if not process.is_running():  # somebody else answered on our port
            raise StartError(_cause(process))
        process.log.show()

    def _log_hint(self) -> str:
        if self._wanted_log_path is not None and self._wanted_log_path != NO_LOG:
            return f"see {self._wanted_log_path}"
        return "see its log (`--log-file FILE`)"


def _reachable(host: str) -> str:
    """Where a server that listens on ``host`` can be called, as part of an address."""
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - the comparison binds nothing
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _cause(process: Process) -> str:
    process.wait()
    cause, how = find_cause(process.log.lines), process.describe_exit()
    if how.startswith("signal"):  # Triton does so when a warm-up request gets an error
        return f"tritonserver crashed ({how}) while it loaded the models; its last words: {cause}"
    return cause


def check_repository(repository: Path, models: Sequence[str]) -> None:
    """Looks at what can be seen before Triton is started.

    Raises:
        RepositoryError: the folder, or one of the models in it, is missing.
    """
    if not repository.is_dir():
        raise RepositoryError(f"no model repository at {repository}: give its folder with --repository")
    for model in models:
        config = repository / model / "config.pbtxt"
        if not config.is_file():
            known = sorted(path.parent.name for path in repository.glob("*/config.pbtxt"))
            raise RepositoryError(
                f"no model {model!r} in {repository}: it has {', '.join(known) or 'none (is it a model repository?)'}"
            )
        text = config.read_text(encoding="utf-8", errors="replace")
        for backend, suffix, command in ENGINE_FILES:
            if f'backend: "{backend}"' in text and not any(config.parent.glob(f"*/*{suffix}")):
                raise RepositoryError(
                    f"no engine at {config.parent / '1' / f'model{suffix}'}: run `{command} --repository {repository}`"
                )
