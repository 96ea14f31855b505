"""Clips of a manifest, and pieces of them whose lengths follow a distribution."""

import math
from pathlib import Path

import numpy as np
import pytest

from scripts.repository import ROOT
from shrota_loadtest.errors import WorkloadError
from shrota_loadtest.lengths import LENGTHS, LogNormal
from shrota_loadtest.workload import Clip, cut_clips, read_clips

RAMP = Clip("ramp.wav", np.arange(40000, dtype=np.float32) / 40000, "text")


def test_a_manifest_gives_its_utterances_with_their_texts() -> None:
    clips = read_clips(ROOT / "samples" / "manifest.jsonl")
    assert [clip.name for clip in clips][-1] == "passage.wav"
    assert all(clip.text for clip in clips)
    assert sum(clip.seconds for clip in clips) == pytest.approx(142.1, abs=0.1)


def test_drawn_lengths_follow_the_distribution_within_its_bounds() -> None:
    drawn = LogNormal(6.0, 0.5, 2.0, 20.0).draw(4000, np.random.default_rng(0))
    assert drawn.min() >= 2.0
    assert drawn.max() <= 20.0
    assert np.median(drawn) == pytest.approx(6.0, rel=0.05)
    assert np.log(drawn).std() == pytest.approx(0.46, abs=0.03)  # 0.5, with both ends cut off


def test_bounds_between_which_nothing_falls_still_give_lengths() -> None:
    drawn = LogNormal(6.0, 4.0, 5.999, 6.001).draw(5, np.random.default_rng(0))
    assert ((drawn >= 5.999) & (drawn <= 6.001)).all()


@pytest.mark.parametrize(
    "numbers", [(6, -1, 1, 20), (0.5, 0.5, 1, 20), (30, 0.5, 1, 20), (6, math.nan, 1, 20), (6, 0.5, 0, 20)]
)
def test_what_is_no_distribution_is_refused(numbers: tuple[float, float, float, float]) -> None:
    with pytest.raises(WorkloadError):
        LogNormal(*numbers)


def test_pieces_are_the_same_for_the_same_seed_and_go_round_at_the_end() -> None:
    lengths = LogNormal(2.0, 0.3, 1.0, 20.0)
    first, again, other = (cut_clips([RAMP], lengths, 20, seed) for seed in (1, 1, 2))
    assert [clip.name for clip in first] == [clip.name for clip in again]
    assert [clip.name for clip in first] != [clip.name for clip in other]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.samples, two.samples)
    assert all(clip.text is None for clip in first)
    steps = np.concatenate([np.diff(clip.samples) for clip in first])
    assert set(np.round(steps * 40000).astype(int)) == {1, -39999}


def test_long_sources_are_cut_more_often() -> None:
    long = Clip("long.wav", np.zeros(320000, np.float32), None)
    short = Clip("short.wav", np.zeros(32000, np.float32), None)
    names = [clip.name.split()[0] for clip in cut_clips([short, long], LENGTHS["news"], 400)]
    assert names.count("long.wav") / 400 == pytest.approx(10 / 11, abs=0.05)


def test_nothing_to_cut_is_one_line(tmp_path: Path) -> None:
    for speech in ([], [Clip("empty.wav", np.zeros(0, np.float32), None)]):
        with pytest.raises(WorkloadError, match="needs speech"):
            cut_clips(speech, LENGTHS["news"], 4)
