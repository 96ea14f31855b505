"""Settings of a sweep over configuration: what they change, and which are impossible."""

from pathlib import Path
from typing import Any

import pytest

from shrota_client.configuration import read_configuration
from shrota_loadtest.errors import SweepError
from shrota_loadtest.sweep.copies import copy_repository, room_beside
from shrota_loadtest.sweep.rounds import checked, copies_of
from shrota_loadtest.sweep.settings import AS_IT_IS, changed, configurations, parse_axis
from shrota_testing.repository import make_repository


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the tiny engine."""
    return make_repository(tmp_path_factory.mktemp("sweep") / "model_repository")


def wanted(*texts: str, grid: bool = False) -> list[Any]:
    return configurations([parse_axis(text) for text in texts], grid=grid)


def config_of(repository: Path, text: str) -> Any:
    """The one changed model of a setting with one value."""
    _, one = wanted(text)
    (config,) = changed(repository, one).values()
    return config


def test_an_axis_has_a_setting_for_each_value() -> None:
    assert [each.label for each in parse_axis("acoustic.batch_budget_seconds=20,40,20")] == [
        "acoustic.batch_budget_seconds=20",
        "acoustic.batch_budget_seconds=40",
    ]
    assert [each.value for each in parse_axis(" acoustic_onnx.threads = 1, 2 ")] == ["1", "2"]


@pytest.mark.parametrize("text", ["", "acoustic", "acoustic=1", "acoustic.=1", ".threads=1", "acoustic.x=", "a.x=1,,2"])
def test_what_is_no_axis_is_refused(text: str) -> None:
    with pytest.raises(SweepError, match=r"write MODEL\.NAME=VALUE,VALUE"):
        parse_axis(text)


def test_one_change_at_a_time_or_all_combinations() -> None:
    axes = ("a.x=1,2", "b.y=3,4")
    assert [each.name for each in wanted(*axes)] == [AS_IT_IS, "a.x=1", "a.x=2", "b.y=3", "b.y=4"]
    assert [each.name for each in wanted(*axes, grid=True)] == [
        AS_IT_IS,
        *("a.x=1 b.y=3", "a.x=1 b.y=4", "a.x=2 b.y=3", "a.x=2 b.y=4"),
    ]


def test_instances(repository: Path) -> None:
    assert [group.count for group in config_of(repository, "acoustic_onnx.instances=3").instance_group] == [3]


def test_queue_delay(repository: Path) -> None:
    config = config_of(repository, "acoustic_onnx.queue_delay_us=5000")
    assert config.dynamic_batching.max_queue_delay_microseconds == 5000
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 256


def test_threads(repository: Path) -> None:
    config = config_of(repository, "acoustic_onnx.threads=2")
    assert config.parameters["intra_op_thread_count"].string_value == "2"


def test_a_parameter(repository: Path) -> None:
    config = config_of(repository, "acoustic.batch_budget_seconds=80")
    assert config.parameters["batch_budget_seconds"].string_value == "80"
    original = read_configuration(repository / "acoustic" / "config.pbtxt")
    original.parameters["batch_budget_seconds"].string_value = "80"
    assert config == original


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("acoustic_vulkan.threads=1", r"no model 'acoustic_vulkan' in .*: it has acoustic, acoustic_onnx"),
        ("acoustic_onnx.instances=0", "instances is a whole number of at least 1"),
        ("acoustic_onnx.instances=1.5", "instances is a whole number of at least 1"),
        ("acoustic_onnx.instances=99999999999", "instances is a whole number of at least 1"),
        ("acoustic_onnx.threads=-1", "threads is a whole number of at least 0"),
        ("acoustic_onnx.queue_delay_us=soon", "queue_delay_us is a whole number of at least 0"),
        ("acoustic.threads=2", "acoustic has no such setting; it has instances, queue_delay_us, batch_budget_seconds"),
        ("acoustic.batch_budget=20", "acoustic has no such setting; it has instances"),
        ("acoustic.batch_budget_seconds=much", "batch_budget_seconds is a number"),
        ("asr.instances=2", "asr is an ensemble; set what its steps have"),
        # known to the model's own code alone
        ("acoustic.batch_budget_seconds=5", "parameter `batch_budget_seconds` must hold one window: at least 20"),
        ("acoustic.engine_calls=17", "parameter `engine_calls` must be a number from 1 to 16, not '17'"),
    ],
)
def test_an_impossible_setting_is_one_line(repository: Path, text: str, why: str) -> None:
    with pytest.raises(SweepError, match=why) as raised:
        checked(repository, wanted(text))
    assert "\n" not in str(raised.value)


def test_code_that_does_not_answer_is_one_line(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shrota_loadtest.sweep.copies.CHECK", "import time; time.sleep(600)")
    monkeypatch.setattr("shrota_loadtest.sweep.copies.CHECK_S", 0.3)
    with pytest.raises(SweepError, match=r"^--set acoustic\.engine_calls=2: .* did not say within 0\.3 s$"):
        checked(repository, wanted("acoustic.engine_calls=2"))


def test_what_the_repository_has_already_is_measured_once(repository: Path) -> None:
    found = checked(repository, wanted("acoustic.engine_calls=1,2", "acoustic_onnx.instances=1"))
    assert [each.name for each in found] == [AS_IT_IS, "acoustic.engine_calls=2"]


def test_a_copy_differs_in_the_configuration_alone(repository: Path) -> None:
    before = (repository / "acoustic" / "config.pbtxt").read_bytes()
    with room_beside(repository) as room:
        found = checked(repository, wanted("acoustic.engine_calls=2 "))
        own, other = copies_of(repository, found, room).values()
        assert (own / "acoustic" / "config.pbtxt").read_bytes() == before
        config = read_configuration(other / "acoustic" / "config.pbtxt")
        assert config.parameters["engine_calls"].string_value == "2"
        for file in (
            "acoustic_onnx/1/model.onnx",
            "acoustic_onnx/config.pbtxt",
            "acoustic/1/model.py",
            "asr/config.pbtxt",
        ):
            assert (other / file).samefile(repository / file)
        assert (other / "asr" / "1").is_dir()  # empty, and Triton wants it
    assert (repository / "acoustic" / "config.pbtxt").read_bytes() == before
    assert not room.exists()
    assert not list(repository.parent.glob(".shrota*"))


def test_a_copy_to_where_no_links_can_be_made(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    copy = copy_repository(repository, tmp_path / "copy", {})
    model = Path("acoustic_onnx/1/model.onnx")
    assert (copy / model).read_bytes() == (repository / model).read_bytes()
    assert not (copy / model).samefile(repository / model)
