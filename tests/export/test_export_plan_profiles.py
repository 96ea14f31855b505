"""Profiles: every batch that the batcher makes fits into one, and none is much larger than the budget."""

from itertools import pairwise
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig

from shrota_acoustic.batching import FairQueue, Limits
from shrota_export.errors import RepositoryError
from shrota_export.frontend import Frontend
from shrota_export.tensorrt.profiles import GROWTH, Batcher, Profile, make_profiles, read_batcher
from shrota_testing.repository import set_parameter

FRONTEND = Frontend(16000, 320, 400, normalize=True)
batchers = st.builds(
    lambda longest, share, rows: Batcher(int(longest * share), longest, 400, rows, 16000),
    st.integers(800, 480_000),
    st.floats(1, 40),
    st.integers(1, 256),
)


def holds(profile: Profile, rows: int, samples: int) -> bool:
    within_rows = profile.least[0] <= rows <= profile.largest[0]
    return within_rows and profile.least[1] <= samples <= profile.largest[1]


@given(batchers, st.data())
def test_every_batch_within_the_budget_fits_into_a_profile(batcher: Batcher, data: st.DataObject) -> None:
    samples = data.draw(st.integers(batcher.shortest, batcher.longest))
    rows = data.draw(st.integers(1, batcher.rows(samples)))
    assert any(holds(profile, rows, samples) for profile in make_profiles(batcher))


@given(batchers)
def test_no_profile_is_larger_than_twice_the_budget(batcher: Batcher) -> None:
    for profile in make_profiles(batcher):
        assert profile.largest[0] * profile.largest[1] <= GROWTH * batcher.budget
        assert profile.usual[0] * profile.usual[1] <= batcher.budget
        assert all(
            low <= usual <= high for low, usual, high in zip(profile.least, profile.usual, profile.largest, strict=True)
        )


@given(batchers)
def test_lengths_are_covered_once(batcher: Batcher) -> None:
    profiles = make_profiles(batcher)
    assert profiles[0].least[1] == batcher.shortest
    assert profiles[-1].largest[1] == batcher.longest
    for shorter, longer in pairwise(profiles):
        assert longer.least[1] == shorter.largest[1] + 1


@given(st.lists(st.integers(400, 320_000), min_size=1, max_size=80))
def test_the_batcher_itself_makes_no_other_shapes(lengths: list[int]) -> None:
    profiles = make_profiles(Batcher(640_000, 320_000, 400, 64, 16000))
    queue: FairQueue[int] = FairQueue(Limits(640_000, 64, 0.1))
    for owner, length in enumerate(lengths):
        queue.add(owner, "acoustic_trt", length, 1)
    while len(queue):
        batch = queue.next_batch()
        assert any(holds(profile, len(batch.rows), batch.padded_length) for profile in profiles)


def test_the_profiles_of_the_settings_as_they_stand(repository: Path) -> None:
    profiles = make_profiles(read_batcher(repository, FRONTEND))
    assert [profile.largest for profile in profiles] == [
        (64, 13617),
        (46, 27826),
        (22, 58181),
        (10, 128000),
        (4, 320000),
    ]
    assert profiles[-1] == Profile((1, 128001), (2, 320000), (4, 320000))
    config = text_format.Parse((repository / "acoustic_trt" / "config.pbtxt").read_text("utf-8"), ModelConfig())
    assert list(config.instance_group[0].profile) == [str(index) for index in range(len(profiles))]


def test_lengths_are_padded_to_the_step(repository: Path) -> None:
    set_parameter(repository / "acoustic" / "config.pbtxt", "length_step_seconds", "3")
    assert read_batcher(repository, FRONTEND).longest == 21 * 16000


def test_a_setting_that_is_no_number_is_named(repository: Path) -> None:
    set_parameter(repository / "acoustic" / "config.pbtxt", "window_seconds", "twenty")
    with pytest.raises(RepositoryError, match=r"acoustic/config\.pbtxt: the parameter window_seconds is no number"):
        read_batcher(repository, FRONTEND)
