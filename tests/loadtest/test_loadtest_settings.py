"""Settings on their way from a command to Locust's command line and back, and lengths by name or numbers."""

import argparse
from typing import Any

import pytest

from shrota_client.errors import ParameterError
from shrota_loadtest.errors import LoadTestError, WorkloadError
from shrota_loadtest.lengths import LENGTHS, LogNormal, parse_lengths
from shrota_loadtest.settings import CLOSED, HELP, STREAMS, Settings


class Parser(argparse.ArgumentParser):
    """Takes what Locust's takes."""

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """Without what only Locust's knows."""
        options.pop("include_in_web_ui", None)
        return super().add_argument(*names, **options)


def test_arguments_make_the_same_settings_again() -> None:
    settings = Settings(grpc="127.0.0.1:1", lengths="3,0.5", clips=7, bound=0.25, kind=STREAMS, stages='[{"load": 1}]')
    parser = Parser()
    Settings.add_arguments(parser)
    assert Settings.of(vars(parser.parse_args(settings.arguments()))) == settings
    assert Settings().arguments() == []


def test_every_setting_has_its_help() -> None:
    assert set(HELP) == set(vars(Settings()))


def test_users_of_locust_make_the_load() -> None:
    open_loop = Settings(rate_per_user=0.25)
    assert [open_loop.users(load) for load in (0.0, 0.01, 0.25, 2.0)] == [0, 1, 1, 8]
    assert open_loop.load_of(8) == 2.0
    assert Settings(kind=CLOSED).users(8.0) == 8
    assert Settings(kind=STREAMS).quantum == 1.0


def test_addresses_are_for_their_scheme() -> None:
    settings = Settings(grpc="a:1", http="b:2")
    assert (settings.address("grpc"), settings.address("http")) == ("a:1", "http://b:2")
    with pytest.raises(LoadTestError, match="--grpc HOST:PORT"):
        Settings(http="b:2").address("grpc")


WRONG: list[dict[str, object]] = [
    {"bound": 0},
    {"bound": "soon"},
    {"clips": -1},
    {"kind": "ajar"},
    {"shape": "round"},
    {"seed": None, "precision": 0},
    {"seed": -1},
    {"minutes": float("inf")},
    {"start": float("nan")},
    {"request_timeout": float("inf")},
]


@pytest.mark.parametrize("values", WRONG)
def test_what_cannot_be_is_one_line(values: dict[str, object]) -> None:
    with pytest.raises(ParameterError) as caught:
        Settings.of(values)
    assert str(caught.value).startswith("--")
    assert "\n" not in str(caught.value)


def test_lengths_by_name_by_numbers_or_as_they_are() -> None:
    assert parse_lengths("audiobook") is LENGTHS["audiobook"]
    assert parse_lengths("3,0.4") == LogNormal(3.0, 0.4)
    assert parse_lengths("3,0.4,2,5") == LogNormal(3.0, 0.4, 2.0, 5.0)
    assert parse_lengths("whole") is None
    for wrong in ("novel", "3", "3,4,5", "3,0.4,4,5", ""):
        with pytest.raises(WorkloadError):
            parse_lengths(wrong)


def test_named_lengths_have_the_percentiles_of_their_sources() -> None:
    import numpy as np

    for name, least, most in (("news", 2.9, 12.6), ("audiobook", 2.3, 17.8)):
        drawn = LENGTHS[name].draw(20000, np.random.default_rng(0))
        assert np.percentile(drawn, 5) == pytest.approx(least, rel=0.15)
        assert np.percentile(drawn, 95) == pytest.approx(most, rel=0.15)
    meeting = LENGTHS["meeting"].draw(20000, np.random.default_rng(0))
    assert np.percentile(meeting, 99) == pytest.approx(12.3, rel=0.15)
