"""What is done to speech before a checkpoint learns from it: each effect does what its numbers say."""

import random

import pytest
import torch
from torch import Tensor

from shrota_training import augment
from shrota_training.augment import CLEAN, RATE, USUAL, Augmenter, Strength

EVERYTHING = Strength(
    speed_share=1.0, pitch_share=0.5, colour_share=1.0, reverberation_share=1.0, noise_share=1.0, telephone_share=1.0,
    clip_share=1.0, stop_share=0.5,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def tones(*frequencies_hz: float, seconds: float = 1.0) -> Tensor:
    """A row for each frequency: a sine of amplitude 0.5."""
    time = torch.arange(int(seconds * RATE)) / RATE
    return torch.stack([0.5 * torch.sin(2 * torch.pi * frequency * time) for frequency in frequencies_hz])


def gain_db(before: Tensor, after: Tensor) -> list[float]:
    """What became of each row's level, without the edges."""
    middle = slice(RATE // 10, -RATE // 10)
    gains = 20 * torch.log10(augment.level(after[:, middle]) / augment.level(before[:, middle]))
    return [float(gain) for gain in gains]


def main_frequency(row: Tensor) -> float:
    """The frequency with the most power, Hz."""
    return float(torch.fft.rfft(row).abs().argmax()) * RATE / len(row)


def test_noise_has_the_ratio_that_was_asked_for() -> None:
    audio = tones(200, 1000, 3000)
    ratios = torch.tensor([[0.0], [10.0], [40.0]])
    noise = augment.add_noise(audio, torch.randn_like(audio) * 7, ratios) - audio
    measured = 20 * torch.log10(augment.level(audio) / augment.level(noise))
    assert measured[:, 0].tolist() == pytest.approx([0, 10, 40], abs=1e-3)


def test_a_stop_band_takes_out_its_frequencies_and_no_others() -> None:
    audio = tones(400, 1000, 2000, 4000, 7000)
    centre, width = torch.full((5, 1), 0.536), torch.full((5, 1), 0.1)  # on the mel scale around 2,000 Hz
    gains = gain_db(audio, augment.stop_band(audio, centre, width))
    assert gains[2] < -40
    assert [gains[row] for row in (0, 1, 3, 4)] == pytest.approx([0, 0, 0, 0], abs=1e-3)
    assert augment.stop_band(audio[:, :-1], centre, width).shape == (5, RATE - 1)


def test_the_power_of_coloured_noise_falls_as_its_slope_says() -> None:
    spectrum = torch.fft.rfft(augment.coloured_noise(torch.zeros(3, 16 * RATE), torch.tensor([[0.0], [1.0], [2.0]])))
    power = spectrum.abs().square()
    octave = power.shape[1] // 64
    falls = 10 * torch.log10(power[:, octave : 2 * octave].mean(1) / power[:, 16 * octave : 32 * octave].mean(1))
    assert falls.tolist() == pytest.approx([0, 12, 24], abs=0.5)


def test_background_talk_is_other_rows_and_never_the_row_itself() -> None:
    audio = torch.eye(4).repeat_interleave(RATE // 4, 1)
    talk = augment.babble(audio, 1, random.Random(3))  # noqa: S311 - no secret
    for row in range(4):
        others = [other for other in range(4) if other != row]
        assert any(torch.equal(talk[row].sort().values, audio[other].sort().values) for other in others)


def test_a_rooms_tail_has_its_length_and_energy() -> None:
    click = torch.zeros(2, RATE)
    click[:, 100] = 1.0
    wet = augment.reverberate(click, torch.tensor([[0.2], [0.5]]), torch.tensor([[0.0], [10.0]]))
    assert wet[:, :100].abs().max() < 1e-5  # nothing is heard before it is said
    torch.testing.assert_close(wet[:, 100], torch.ones(2), atol=1e-4, rtol=0)
    energy = wet[:, 101:].square().sum(1)
    assert (10 * torch.log10(energy)).tolist() == pytest.approx([0, -10], abs=0.3)
    early, late = wet[:, 101:901].square().sum(1), wet[:, 901:1701].square().sum(1)
    falls = 10 * torch.log10(early / late)  # 60 dB in 0.2 and in 0.5 s are 15 and 6 dB in 50 ms
    assert falls.tolist() == pytest.approx([15, 6], abs=1.0)


@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize("samples", [RATE, RATE + 1, RATE + 2, RATE + 3])
def test_a_telephone_leaves_its_band(samples: int, coded: bool) -> None:
    audio = torch.nn.functional.pad(tones(100, 500, 1000, 3000, 3800, 6000), (0, 3))[:, :samples]
    after = augment.telephone(audio, coded=coded)
    assert after.shape == audio.shape
    low, *kept, high, higher = gain_db(audio, after)
    assert kept == pytest.approx([0, 0, 0], abs=0.2)
    assert max(low, high, higher) < -30


def test_mu_law_is_eight_bits_and_finer_where_it_is_quiet() -> None:
    levels = augment.mu_law(torch.linspace(-1, 1, 100_001))
    assert len(levels.unique()) == 256
    for size, error in ((1.0, 0.03), (0.1, 0.003), (0.01, 0.0005)):
        audio = torch.linspace(-size, size, 1001)
        assert (augment.mu_law(audio) - audio).abs().max() < error


def test_clipping_cuts_at_a_share_of_the_peak() -> None:
    after = augment.clip(tones(100, 100), torch.tensor([[0.2], [1.0]]))
    assert after.abs().amax(1).tolist() == pytest.approx([0.1, 0.5], rel=1e-3)


@pytest.mark.parametrize("factor", [0.88, 1.0, 1.13])
def test_speed_moves_length_and_pitch_together(factor: float) -> None:
    after = augment.resample(tones(400), factor)
    assert after.shape[1] == int(RATE / factor)
    assert main_frequency(after[0]) == pytest.approx(400 * factor, abs=2)


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.2])
def test_stretching_moves_the_length_and_not_the_pitch(factor: float) -> None:
    audio = tones(400, 1500)
    after = augment.stretch(audio, factor)
    assert after.shape[1] == int(RATE / factor)
    assert [main_frequency(row) for row in after] == pytest.approx([400, 1500], abs=3)
    assert gain_db(audio, after) == pytest.approx([0, 0], abs=1.5)


def test_stretching_by_a_factor_that_rounds_up_to_the_last_frame_stays_within_it() -> None:
    frames = 10 * RATE // (augment.PITCH_FRAME // 4)
    factors = [frames / steps * (1 - 1e-9) for steps in range(1_000, 1_400)]
    rounded_up = [factor for factor in factors if int(torch.arange(0, frames, factor)[-1]) == frames]
    assert rounded_up
    audio = torch.zeros(1, 10 * RATE)
    for factor in rounded_up[:3]:
        assert augment.stretch(audio, factor).shape == (1, int(10 * RATE / factor))


@pytest.mark.parametrize("strength", [USUAL, CLEAN, EVERYTHING], ids=["usual", "clean", "everything"])
def test_a_batch_stays_whole_and_gets_the_width_that_is_asked_for(strength: Strength) -> None:
    audio = torch.randn(6, 2 * RATE) * 0.1
    samples = torch.tensor([32_000, 31_999, 16_000, 8_000, 400, 1])
    for seed in range(12):
        augmenter = Augmenter(strength, seed)
        tempo = augmenter.tempo()
        after, lengths = augmenter(audio, samples, tempo, 30_000)
        assert after.shape == (6, 30_000)
        assert torch.isfinite(after).all()
        expected = (samples / tempo.speed).clamp(max=30_000)
        torch.testing.assert_close(lengths.float(), expected, atol=3, rtol=1e-3)


def test_speech_that_is_sped_up_ends_where_it_says() -> None:
    quiet = Strength(speed=(1.25, 1.25), speed_share=1.0, pitch_share=0.0, colour_share=0.0, reverberation_share=0.0,
                     noise_share=0.0, telephone_share=0.0, clip_share=0.0, stop_share=0.0)  # fmt: skip
    augmenter = Augmenter(quiet, 0)
    audio = torch.nn.functional.pad(tones(300), (0, RATE))
    after, lengths = augmenter(audio, torch.tensor([RATE]), augmenter.tempo(), 24_000)
    assert lengths.tolist() == [12_800]
    assert after[0, 12_000:12_790].abs().max() > 0.4
    assert not after[0, 12_802:].any()
    assert after.shape == (1, 24_000)


def test_pitch_and_speed_are_drawn_from_their_ranges() -> None:
    augmenter = Augmenter(Strength(pitch_share=0.5, speed_share=1.0), 3)
    tempos = [augmenter.tempo() for _ in range(400)]
    assert all((tempo.pitch == 1) != (tempo.speed == 1) for tempo in tempos)
    assert sum(tempo.pitch != 1 for tempo in tempos) == pytest.approx(200, abs=40)
    assert all(0.88 <= tempo.pitch <= 1.12 and 0.88 <= tempo.speed <= 1.14 for tempo in tempos)


def test_silence_stays_finite() -> None:
    augmenter = Augmenter(EVERYTHING, 0)
    after, _ = augmenter(torch.zeros(2, RATE), torch.tensor([RATE, RATE]), augmenter.tempo(), RATE)
    assert torch.isfinite(after).all()


def test_a_seed_gives_the_same_again() -> None:
    results = []
    for _ in range(2):
        torch.manual_seed(1)
        augmenter = Augmenter(EVERYTHING, 5)
        results.append(augmenter(tones(300, 700), torch.tensor([RATE, RATE]), augmenter.tempo(), RATE)[0])
    assert torch.equal(*results)
