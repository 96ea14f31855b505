"""Triton's health and model control over HTTP."""

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

from shrota_server.access import KEY_NAME
from shrota_server.diagnosis import without_kind
from shrota_server.errors import ServerError


@dataclass(frozen=True)
class Control:
    """One server's control interface. Every call opens its own connection, so that any thread may use it.

    Attributes:
        host: address of the server.
        port: that of HTTP.
        timeout_s: seconds for one answer, unless a call says otherwise.
        admin_key: opens administration; None where that is open to all.
    """

    host: str
    port: int
    timeout_s: float = 5
    admin_key: str | None = field(default=None, repr=False)

    def is_ready(self, models: list[str]) -> bool:
        """Whether the server and all ``models`` say that they are ready; False also if there is no answer.

        A Python model says so too when its process has died.
        """
        paths = ["/v2/health/ready", *(f"/v2/models/{quote(model)}/ready" for model in models)]
        try:
            return all(self._call("GET", path)[0] == HTTPStatus.OK for path in paths)
        except (OSError, HTTPException):
            return False

    def reload(self, model: str, timeout_s: float) -> None:
        """Loads a model anew although nothing of it has changed on disk.

        Triton does nothing if configuration and files are as they were. So it gets its own configuration back with
        another value of a setting that does nothing here (from how many buffers on a GPU would gather them itself).
        A parameter would not do: models may refuse parameters that they do not know. What depends on the model (an
        ensemble) is loaded anew by Triton; all others go on.

        Raises:
            ServerError: Triton refused, or did not answer.
        """
        path = f"/v2/models/{quote(model)}/config"
        try:
            status, answer = self._call("GET", path)
            if status != HTTPStatus.OK:
                raise ServerError(f"Triton does not tell the configuration of model {model}: {_error_text(answer)}")
            config = json.loads(answer)
            optimization = config.setdefault("optimization", {})
            optimization["gather_kernel_buffer_threshold"] = (
                int(optimization.get("gather_kernel_buffer_threshold", 0)) + 1
            )
            body = json.dumps({"parameters": {"config": json.dumps(config)}})
            status, answer = self._call("POST", f"/v2/repository/models/{quote(model)}/load", body, timeout_s)
        except (OSError, HTTPException, ValueError) as error:
            raise ServerError(f"Triton does not answer: {error}") from error
        if status != HTTPStatus.OK:
            raise ServerError(_error_text(answer))

    def unload(self, model: str) -> None:
        """Has Triton refuse new requests to a model, while those that are under way go on; returns at once.

        Models that only come with it (the steps of an ensemble) stay as long as it needs them.

        Raises:
            ServerError: Triton refused, or did not answer.
        """
        try:
            status, answer = self._call("POST", f"/v2/repository/models/{quote(model)}/unload", "{}")
        except (OSError, HTTPException) as error:
            raise ServerError(f"Triton does not answer: {error}") from error
        if status != HTTPStatus.OK:
            raise ServerError(_error_text(answer))

    def is_unloading(self, model: str) -> bool | None:
        """Whether a model that is unloaded has requests under way; None if there is no answer."""
        try:
            status, answer = self._call("POST", "/v2/repository/index", "{}")
            found = json.loads(answer) if status == HTTPStatus.OK else None
        except (OSError, HTTPException, ValueError):
            return None
        if found is None:
            return None
        return {"name": model, "state": "UNLOADING"} in [
            {key: each.get(key) for key in ("name", "state")} for each in found
        ]

    def _call(
        self, method: str, path: str, body: str | None = None, timeout_s: float | None = None
    ) -> tuple[int, bytes]:
        connection = HTTPConnection(self.host, self.port, timeout=timeout_s or self.timeout_s)
        try:
            headers = {} if self.admin_key is None else {KEY_NAME: self.admin_key}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def _error_text(answer: bytes) -> str:
    try:
        parsed: Any = json.loads(answer)
        text = str(parsed["error"])
    except (ValueError, KeyError, TypeError):
        text = answer.decode("utf-8", errors="replace")
    text = text.rpartition("UNAVAILABLE state: ")[
        2
    ]  # "load failed for model M: version 1 is at UNAVAILABLE state: ..."
    return " ".join(without_kind(text.split("\n\nAt:")[0]).split())
