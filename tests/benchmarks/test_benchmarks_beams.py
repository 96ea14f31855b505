"""How the figures of beam searches are computed from what was measured, and what they are measured on."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.beams import WIDTHS, costs_beside, gains_of
from benchmarks.blanks import left_out, savings, share_left_out
from benchmarks.log_probs import Spoken, cut, read_decoder
from benchmarks.result import Figure
from benchmarks.speech import in_noise
from shrota_decoder import beam
from shrota_testing.log_probs import log_probs_of
from shrota_testing.repository import make_repository


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def test_the_noise_is_the_same_every_time_and_as_loud_as_the_audio() -> None:
    audio = np.sin(np.arange(16000, dtype=np.float32)) / 4
    noise = in_noise(audio) - audio
    assert in_noise(audio).dtype == np.float32
    np.testing.assert_array_equal(in_noise(audio), in_noise(audio))
    assert noise.std() == pytest.approx(audio.std(), rel=0.02)
    assert abs(np.corrcoef(noise, audio)[0, 1]) < 0.05
    np.testing.assert_allclose(in_noise(audio / 8) - audio / 8, noise / 8, atol=1e-6)
    assert not np.array_equal(in_noise(audio, seed=4), in_noise(audio))


def test_costs_are_medians_and_shares_are_those_of_the_same_round() -> None:
    # the machine is half as fast in the last round: that changes no share
    costs = {1: [1.0, 1.0, 2.0], 32: [10.0, 30.0, 40.0], 500: [100.0, 90.0, 180.0]}
    figures = by_name(costs_beside([100.0, 100.0, 200.0], costs))
    assert figures["the large engine"].value == 100
    assert [figures[name].value for name in ("greedy", "beam of 32", "beam of 500")] == [1, 30, 100]
    assert figures["beam of 500"].note == "90 to 180"
    greedy, wide = figures["greedy over the large engine"], figures["beam of 32 over the large engine"]
    assert (greedy.value, greedy.met) == (1, True)
    assert (wide.value, wide.met, wide.note) == (20, False, "10 to 30")


def test_the_widest_beam_that_a_request_may_have_is_among_the_widths() -> None:
    decoder_limit = 500  # max_beam_width of ctc_decoder/config.pbtxt
    assert max(WIDTHS) == decoder_limit


def test_gains_are_compared_with_the_control_of_their_round() -> None:
    figures = by_name(gains_of("load", [(10.0, 5.0, 2.0), (12.0, 8.0, 2.0), (30.0, 10.0, 3.0)], audio_s=120.0))
    assert figures["load, one at a time"].value == 10
    assert figures["load, 16 at a time"].value == 15
    assert figures["load, 16 at a time over one"].value == 2
    assert figures["load, the control"].value == 2
    assert (figures["load, over the control"].value, figures["load, over the control"].met) == (1, True)
    (missed,) = (each for each in gains_of("load", [(3.0, 2.0, 2.0)], 1.0) if each.met is not None)
    assert (missed.value, missed.met) == (0.75, False)


def test_savings_are_the_median_of_the_rounds() -> None:
    whole, thinned, saved = savings("load", [(10.0, 9.0), (20.0, 10.0), (10.0, 12.0)])
    assert (whole.value, thinned.value) == (10, 10)
    assert saved.value == pytest.approx(10)
    assert saved.note == "-20 to 50"


def test_frames_left_out_are_counted_and_the_search_is_as_it_was(tmp_path: Path) -> None:
    original = beam.thin
    decoder = read_decoder(make_repository(tmp_path / "model_repository"))
    pieces = [log_probs_of("_क___ा_म____"), log_probs_of("________")]
    # of each run of blanks, the second frame and all behind it
    assert share_left_out(decoder, pieces) == pytest.approx(100 * (2 + 3 + 7) / 20)
    figures = by_name(left_out(decoder, pieces, 1))
    assert figures["frames left out of the search"].value == pytest.approx(60)
    assert figures["beam of 32: search of all frames"].value > 0
    assert beam.thin is original


def test_pieces_are_of_equal_length_and_repeat_what_was_said() -> None:
    rows = np.arange(14, dtype=np.float32).reshape(7, 2)
    pieces = cut([Spoken("", rows[:3], 0.06), Spoken("", rows[3:], 0.08)], frames=5, count=3)
    np.testing.assert_array_equal(np.concatenate(pieces), np.tile(rows, (3, 1))[:15])
    assert [len(piece) for piece in pieces] == [5, 5, 5]
