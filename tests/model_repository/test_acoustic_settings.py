"""Settings of the acoustic model: config.pbtxt and frontend.json, wrong values named in one line."""

import json
import re
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from shrota_acoustic.errors import InvalidRequestError, SettingsError
from shrota_acoustic.requests import NAMES, OF_DECODER, RequestParameters, read_parameters
from shrota_acoustic.settings import DEFAULTS, Frontend, load_settings, read_frontend, read_settings
from shrota_testing.repository import ROOT

FRONTEND = Frontend(sample_rate=16000, stride=320, receptive_field=400)
GOOD = {"sample_rate": 16000, "stride": 320, "receptive_field": 400, "normalize": True}


def test_the_repositorys_configuration_states_every_default() -> None:
    text = (ROOT / "model_repository" / "acoustic" / "config.pbtxt").read_text(encoding="utf-8")
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert {name: value.string_value for name, value in config.parameters.items()} == DEFAULTS


def test_seconds_become_samples(tmp_path: Path) -> None:
    path = tmp_path / "frontend.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    settings = load_settings(json.dumps({"parameters": {"window_seconds": {"string_value": "12.5"}}}), path)
    assert settings.window == 200_000
    assert settings.overlap == 32_000
    assert settings.frontend == FRONTEND


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("window_seconds", "twenty", "must be a number of at least"),
        ("window_seconds", "0.02", "must be a number of at least"),
        ("window_seconds", "inf", "must be a number"),
        ("window_seconds", "nan", "must be a number"),
        ("window_seconds", "50", "`batch_budget_seconds` must hold one window: at least 50"),
        ("overlap_seconds", "-1", "must be a number of at least 0"),
        ("overlap_seconds", "20", "must be shorter than `window_seconds`"),
        ("length_step_seconds", "50", "`batch_budget_seconds` must hold one window: at least 50"),
        ("max_padding", "1.5", "must be a number from 0 to 1"),
        ("max_batch_rows", "0", "must be a number from 1 to"),
        ("max_batch_rows", "1.5", "must be a whole number"),
        ("engine_calls", "17", "must be a number from 1 to 16"),
        ("engine", "acoustic_foo", "which parameter `engines` does not list"),
        ("windowseconds", "20", "unknown parameter `windowseconds`"),
    ],
)
def test_a_wrong_parameter_is_named_in_one_line(name: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)) as caught:
        read_settings({name: value}, FRONTEND)
    assert "\n" not in str(caught.value)


def test_the_python_backends_own_parameters_are_let_through() -> None:
    read_settings({"EXECUTION_ENV_PATH": "somewhere", "FORCE_CPU_ONLY_INPUT_TENSORS": "no"}, FRONTEND)


def test_a_missing_frontend_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="shrota export onnx"):
        read_frontend(tmp_path / "frontend.json")


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", json.dumps({**GOOD, "stride": 0}), json.dumps({**GOOD, "stride": "320"})]
)
def test_a_broken_frontend_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "frontend.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match=re.escape("frontend.json")):
        read_frontend(path)


def test_frames_and_samples_are_inverse() -> None:
    assert [FRONTEND.frames(samples) for samples in (0, 399, 400, 719, 720, 16000)] == [0, 0, 1, 1, 2, 49]
    assert [FRONTEND.frames(FRONTEND.samples(frames)) for frames in range(5)] == list(range(5))


SETTINGS = read_settings({}, FRONTEND)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", RequestParameters("acoustic_onnx", 16000)),
        ("{}", RequestParameters("acoustic_onnx", 16000)),
        ('{"engine": "acoustic_trt"}', RequestParameters("acoustic_trt", 16000)),
        ('{"sample_rate": 8000, "beam_width": 100}', RequestParameters("acoustic_onnx", 8000)),
        ('{"sample_rate": "44100"}', RequestParameters("acoustic_onnx", 44100)),
        ('{"sample_rate": 48000.0}', RequestParameters("acoustic_onnx", 48000)),
    ],
)
def test_request_parameters(text: str, expected: RequestParameters) -> None:
    assert read_parameters(text, SETTINGS) == expected


def test_audio_has_16_khz_unless_the_request_says_otherwise_whatever_the_checkpoint_has() -> None:
    settings = read_settings({}, Frontend(sample_rate=8000, stride=160, receptive_field=200))
    assert read_parameters("", settings).sample_rate == 16000


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "1",
        "999",
        '"999"',
        "-16000",
        '"fast"',
        '""',
        "768001",
        "true",
        "16000.5",
        "null",
        '"\u0967"',
        "1e400",
        "NaN",
        '"1e3"',
    ],
)
def test_a_sample_rate_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequestError, match="`sample_rate` must be a whole number of Hz from 1000 to 768000"):
        read_parameters(f'{{"sample_rate": {value}}}', SETTINGS)


@pytest.mark.parametrize("name", ["samplerate", "Engine", "", "x" * 1000, "a\nb"])
def test_an_unknown_name_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^unknown request parameter '.*must be one of engine, ") as caught:
        read_parameters(json.dumps({"engine": "acoustic_onnx", name: 8000}), SETTINGS)
    assert str(caught.value).endswith(f"one of {', '.join((*NAMES, *OF_DECODER))}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_names_that_the_configuration_lets_through() -> None:
    assert read_parameters('{"id": "a"}', SETTINGS) == read_parameters("", SETTINGS)  # of Triton's generate endpoint
    forwarded = read_settings({"other_parameters": "id, x-*"}, FRONTEND)
    assert read_parameters('{"id": "a", "X-Request-Id": "b"}', forwarded) == read_parameters("", forwarded)
    with pytest.raises(InvalidRequestError, match="unknown request parameter 'y-request-id'"):
        read_parameters('{"y-request-id": "b"}', forwarded)


@pytest.mark.parametrize("value", ['"acoustic"', '""', "3", "true", "null"])
def test_an_engine_that_is_none_is_refused_and_those_that_are_listed(value: str) -> None:
    with pytest.raises(InvalidRequestError, match="must be one of acoustic_onnx, acoustic_trt"):
        read_parameters(f'{{"engine": {value}}}', SETTINGS)
