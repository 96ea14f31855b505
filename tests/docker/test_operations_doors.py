"""What only its operator may do with a server is closed to all others; the supervisor still gets in."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from shrota_server import AccessError, ServerError, TritonServer
from shrota_server.access import CLOSED, GRPC_PREFIX, KEY_NAME, check_key, new_key, read_key, restrictions
from shrota_server.cli import serve
from shrota_testing.nginx import TLS
from shrota_testing.repository import ROOT, make_repository, set_instances
from shrota_testing.triton import call_http, infer, stub_pids, tensor, wait_until
from shrota_testing.utterances import expected_text, noise

KEY = "0123456789abcdef"
IMAGE = ROOT / "docker" / "server" / "serve.py"
HTTP = [
    ("/v2/repository/index", {}),
    ("/v2/repository/models/ctc_decoder/load", {}),
    ("/v2/repository/models/ctc_decoder/unload", {}),
    ("/v2/systemsharedmemory/status", None),
    ("/v2/systemsharedmemory/region/r/register", {"key": "/shrota", "offset": 0, "byte_size": 8}),
    ("/v2/systemsharedmemory/unregister", {}),
    ("/v2/cudasharedmemory/status", None),
    ("/v2/logging", None),
    ("/v2/logging", {"log_file": "/tmp/elsewhere"}),  # noqa: S108 - it is refused
    ("/v2/trace/setting", None),
    ("/v2/models/asr/trace/setting", {"trace_level": ["TIMESTAMPS"]}),
]
GRPC: list[Callable[..., Any]] = [
    InferenceServerClient.get_model_repository_index,
    lambda client, **with_key: client.load_model("ctc_decoder", **with_key),
    lambda client, **with_key: client.unload_model("ctc_decoder", **with_key),
    InferenceServerClient.get_system_shared_memory_status,
    lambda client, **with_key: client.register_system_shared_memory("r", "/shrota", 8, **with_key),
    InferenceServerClient.get_cuda_shared_memory_status,
    InferenceServerClient.get_log_settings,
    lambda client, **with_key: client.update_log_settings({"log_verbose_level": 1}, **with_key),
    InferenceServerClient.get_trace_settings,
    lambda client, **with_key: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}, **with_key),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A supervised server whose key the test knows."""
    repository = make_repository(tmp_path_factory.mktemp("doors") / "model_repository")
    set_instances(repository / "ctc_decoder" / "config.pbtxt", 1)
    with TritonServer(repository, ["asr", "acoustic_onnx"], supervise=True, admin_key=KEY) as running:
        yield running


@pytest.mark.triton
@pytest.mark.parametrize(("path", "body"), HTTP)
def test_over_http_it_is_refused_without_the_key(server: TritonServer, path: str, body: dict[str, Any] | None) -> None:
    status, answer = call_http(server.http_url, path, body)
    assert status == 403
    assert answer == {"error": f"This API is restricted, expecting header '{KEY_NAME}'"}


@pytest.mark.triton
@pytest.mark.parametrize("ask", GRPC)
@pytest.mark.parametrize("headers", [{}, {GRPC_PREFIX + KEY_NAME: "0123456789abcdeF"}], ids=["no key", "wrong key"])
def test_over_grpc_it_is_refused_without_the_key(
    server: TritonServer, ask: Callable[..., Any], headers: dict[str, str]
) -> None:
    with InferenceServerClient(server.grpc_url) as client:
        with pytest.raises(InferenceServerException, match="This protocol is restricted, expecting header") as caught:
            ask(client, headers=headers)
        assert caught.value.status() == "StatusCode.UNAVAILABLE"


@pytest.mark.triton
def test_with_the_key_it_is_open(server: TritonServer) -> None:
    with InferenceServerClient(server.grpc_url) as client:
        index = client.get_model_repository_index(headers={GRPC_PREFIX + KEY_NAME: KEY})
    assert {"asr", "acoustic", "ctc_decoder", "acoustic_onnx"} <= {model.name for model in index.models}
    status, _ = server.control._call("POST", "/v2/repository/index")
    assert status == 200


@pytest.mark.triton
def test_what_applications_need_is_open_without(server: TritonServer) -> None:
    audio = noise(1.0)
    (transcript,) = infer(server.grpc_url, "asr", [tensor("AUDIO", audio[None])], ["TRANSCRIPT"])
    assert transcript[0, 0].decode() == expected_text(audio)
    for path in ("/v2", "/v2/models/asr", "/v2/models/asr/config", "/v2/models/asr/stats"):
        assert call_http(server.http_url, path)[0] == 200


@pytest.mark.triton
def test_the_supervisor_brings_a_killed_model_back_through_the_closed_door(server: TritonServer) -> None:
    (killed,) = stub_pids(server.pid, "ctc_decoder")
    os.kill(killed, signal.SIGKILL)
    assert wait_until(lambda: bool({*stub_pids(server.pid, "ctc_decoder")} - {killed}), 10)
    audio = noise(1.0)

    def transcribes() -> bool:
        try:
            (transcript,) = infer(server.grpc_url, "asr", [tensor("AUDIO", audio[None])], ["TRANSCRIPT"], timeout_s=2)
        except InferenceServerException:
            return False
        return bool(transcript[0, 0].decode() == expected_text(audio))

    assert wait_until(transcribes, 10)


def test_without_a_key_of_ones_own_nobody_else_knows_it(tmp_path: Path) -> None:
    one, other = (TritonServer(tmp_path, [])._options() for _ in range(2))
    assert one != other
    assert len(new_key()) >= 32
    assert new_key() not in repr(TritonServer(tmp_path, []).control)


def test_all_that_is_closed_is_closed_on_both_ways() -> None:
    http, grpc = restrictions(KEY)
    assert http == f"--http-restricted-api=model-repository,shared-memory,logging,trace:{KEY_NAME}={KEY}"
    assert grpc == http.replace("--http-restricted-api", "--grpc-restricted-protocol")
    assert len(CLOSED) == 4


def test_what_a_measurement_needs_can_be_opened(tmp_path: Path) -> None:
    http, _ = restrictions(KEY, ["shared-memory"])
    assert http == f"--http-restricted-api=model-repository,logging,trace:{KEY_NAME}={KEY}"
    assert restrictions(KEY, CLOSED) == []
    with pytest.raises(AccessError, match="inference cannot be opened: give one of model-repository, shared-memory"):
        TritonServer(tmp_path, [], open_to_all=["inference"])


@pytest.mark.parametrize("key", ["short", "with space in it 123", "comma,comma,comma,c", "equal=equal=equal=e", ""])
def test_a_key_that_triton_could_not_hold_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="16 to 256 letters"):
        check_key(key)
    file = tmp_path / "key"
    file.write_text(key + "\n", encoding="utf-8")
    with pytest.raises(AccessError, match=re.escape(f"the key of {file} that opens")):
        read_key(file)


def test_a_key_is_read_from_its_file_without_the_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n", encoding="utf-8")
    assert read_key(tmp_path / "key") == KEY
    with pytest.raises(AccessError, match=r"cannot read .*none: No such file"):
        read_key(tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--grpc-cert", str(TLS / "server.pem")], "give both"),
        (["--grpc-client-ca", str(TLS / "authority.pem")], "give both"),
        (["--grpc-cert", str(TLS / "server.pem"), "--grpc-key", str(TLS / "client.key")], "key values mismatch"),
        (["--admin-key-file", "none"], "cannot read none: No such file or directory"),
        (["--open", "everything"], "everything cannot be opened: give one of"),
        (["--trace-url", "collector:4318"], "is no address of a collector: give http://HOST:4318/v1/traces"),
    ],
)
def test_options_that_do_not_fit_are_one_line(options: list[str], text: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(serve, ["--repository", str(tmp_path), *options])
    assert isinstance(result.exception, ServerError)
    assert text in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.skipif(not IMAGE.is_file(), reason="docker/server/serve.py, which starts the image, is not here")
def test_the_image_closes_the_same_doors(tmp_path: Path) -> None:
    specification = spec_from_file_location("serve", IMAGE)
    assert specification is not None
    assert specification.loader is not None
    image = module_from_spec(specification)
    specification.loader.exec_module(image)
    (tmp_path / "key").write_text(KEY, encoding="utf-8")
    command = image.command({"SHROTA_ADMIN_KEY_FILE": str(tmp_path / "key")})
    assert set(restrictions(KEY)) <= set(command)
    assert "--metrics-config=summary_latencies=true" in command
