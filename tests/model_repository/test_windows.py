"""Windows over long audio: every frame of the whole comes from exactly one window."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrota_acoustic.settings import Frontend
from shrota_acoustic.windows import Window, plan_windows

WAV2VEC2 = Frontend(sample_rate=16000, stride=320, receptive_field=400)
SECOND = 16000


@st.composite
def plans(draw: st.DrawFn) -> tuple[int, Frontend, int, int]:
    """Samples, frontend, window and overlap of any legal proportion."""
    stride = draw(st.integers(1, 400))
    frontend = Frontend(16000, stride, draw(st.integers(1, 3 * stride)))
    window = draw(st.integers(frontend.samples(2), frontend.samples(300)))
    longest_overlap = (frontend.frames(window) - 1) * stride
    overlap = draw(st.integers(0, longest_overlap))
    hop = max(1, frontend.frames(window) - math.ceil(overlap / stride)) * stride
    samples = draw(st.integers(1, window) | st.integers(window, window + 40 * hop))
    return samples, frontend, window, overlap


def make(plan: tuple[int, Frontend, int, int]) -> list[Window]:
    samples, frontend, window, overlap = plan
    return plan_windows(samples, frontend, window, overlap)


@given(plans())
def test_kept_frames_are_those_of_the_whole_each_once_and_in_order(plan: tuple[int, Frontend, int, int]) -> None:
    kept = [frame for window in make(plan) for frame in range(window.first_frame, window.end_frame)]
    assert kept == list(range(plan[1].frames(plan[0])))


@given(plans())
def test_each_sample_that_the_whole_uses_is_covered_once_by_the_kept_strides(
    plan: tuple[int, Frontend, int, int],
) -> None:
    samples, frontend, _, _ = plan
    covered = [0] * (frontend.frames(samples) * frontend.stride)
    for window in make(plan):
        for sample in range(window.first_frame * frontend.stride, window.end_frame * frontend.stride):
            covered[sample] += 1
    assert set(covered) <= {1}


@given(plans())
def test_a_window_starts_on_the_stride_and_its_frames_are_frames_of_the_whole(
    plan: tuple[int, Frontend, int, int],
) -> None:
    frontend = plan[1]
    for window in make(plan):
        assert window.start == (window.first_frame - window.skip) * frontend.stride
        assert window.skip >= 0
        assert window.skip + window.kept_frames <= frontend.frames(window.length)


@given(plans())
def test_no_window_reaches_beyond_the_audio_or_is_longer_than_asked(plan: tuple[int, Frontend, int, int]) -> None:
    samples, _, longest, _ = plan
    for window in make(plan):
        assert window.start >= 0
        assert window.start + window.length <= samples
        assert window.length <= longest


@given(plans())
def test_windows_have_one_length_and_overlap_enough(plan: tuple[int, Frontend, int, int]) -> None:
    _, frontend, _, overlap = plan
    windows = make(plan)
    assert len({window.length for window in windows}) == 1
    for earlier, later in itertools.pairwise(windows):
        assert earlier.start < later.start
        shared = (earlier.start - later.start) // frontend.stride + frontend.frames(earlier.length)
        assert shared >= math.ceil(overlap / frontend.stride)


@given(plans())
def test_every_kept_frame_has_half_the_overlap_as_context_except_at_the_ends(
    plan: tuple[int, Frontend, int, int],
) -> None:
    _, frontend, _, overlap = plan
    half = math.ceil(overlap / frontend.stride) // 2
    windows = make(plan)
    for window in windows[1:]:
        assert window.skip >= half
        assert window.kept_frames > 0
    for window in windows[:-1]:
        assert frontend.frames(window.length) - window.skip - window.kept_frames >= half


@given(plans())
def test_no_more_windows_than_needed(plan: tuple[int, Frontend, int, int]) -> None:
    samples, frontend, longest, overlap = plan
    hop = frontend.frames(longest) - math.ceil(overlap / frontend.stride)
    beyond = max(0, frontend.frames(samples) - frontend.frames(longest))
    assert len(make(plan)) == 1 + math.ceil(beyond / hop)


@pytest.mark.parametrize("seconds", [0.025, 1, 10, 19.99, 20])
def test_audio_of_one_window_is_run_whole(seconds: float) -> None:
    samples = round(seconds * SECOND)
    frames = (samples - 400) // 320 + 1
    assert plan_windows(samples, WAV2VEC2, 20 * SECOND, 2 * SECOND) == [Window(0, samples, 0, frames, 0)]


@pytest.mark.parametrize("samples", [1, 399])
def test_audio_shorter_than_the_receptive_field_has_no_frame(samples: int) -> None:
    assert plan_windows(samples, WAV2VEC2, 20 * SECOND, 2 * SECOND) == [Window(0, samples, 0, 0, 0)]


def test_a_little_more_than_one_window_makes_two_full_ones() -> None:
    first, second = plan_windows(20 * SECOND + 320, WAV2VEC2, 20 * SECOND, 2 * SECOND)
    assert first.length == second.length == WAV2VEC2.samples(999)
    assert second.start == 320
    assert first.end_frame == second.first_frame == 500


def test_half_an_hour_at_the_defaults() -> None:
    windows = plan_windows(1800 * SECOND, WAV2VEC2, 20 * SECOND, 2 * SECOND)
    assert len(windows) == 100
    assert windows[-1].end_frame == 89_999
