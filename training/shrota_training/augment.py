"""What happens to speech between a mouth and a recogniser, on the device where the batch is: rooms, noise, telephones.

Every effect takes and returns audio [rows, samples] at 16 kHz, float32 around [-1, 1], and keeps its length; those that
differ by row take one number a row. `Augmenter` draws which rows get what.
"""

import math
import random
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

RATE = 16_000
TELEPHONE_RATE = 8_000
TELEPHONE_BAND_HZ = (300.0, 3_400.0)
EDGE_HZ = 60.0
MU = 255.0
PITCH_FRAME = 512
SILENCE = 1e-8
TAIL_S = 0.8


def level(audio: Tensor) -> Tensor:
    """Return the root mean square of each row [rows, 1], at least 1e-8."""
    return audio.square().mean(1, keepdim=True).sqrt().clamp(min=SILENCE)


def add_noise(audio: Tensor, noise: Tensor, ratio_db: Tensor) -> Tensor:
    """Add noise [rows, samples], scaled to a signal-to-noise ratio [rows, 1] in dB over the whole row."""
    return audio + noise * (level(audio) / level(noise)) * 10 ** (-ratio_db / 20)


def coloured_noise(like: Tensor, slope: Tensor) -> Tensor:
    """Return noise [rows, samples] whose power falls with frequency to the power of slope [rows, 1] (1: pink)."""
    spectrum = torch.fft.rfft(torch.randn_like(like))
    frequency = torch.arange(spectrum.shape[1], device=like.device).clamp(min=1)
    return torch.fft.irfft(spectrum * frequency ** (-slope / 2), n=like.shape[1])


def babble(audio: Tensor, voices: int, rng: random.Random) -> Tensor:
    """Return for each row the sum of some other rows, shifted in time: people who talk in the background."""
    total = torch.zeros_like(audio)
    for _ in range(voices):
        rows = rng.randrange(1, max(2, len(audio)))
        total = total + torch.roll(audio, (rows, rng.randrange(audio.shape[1])), (0, 1))
    return total


def reverberate(audio: Tensor, decay_s: Tensor, direct_db: Tensor) -> Tensor:
    """Put each row in a room: an impulse and exponentially decaying noise behind it.

    Args:
        audio: [rows, samples].
        decay_s: [rows, 1], seconds in which the tail falls by 60 dB (RT60); what is left after 0.8 s is cut off.
        direct_db: [rows, 1], energy of the direct sound over that of the tail, in dB.
    """
    length = int(TAIL_S * RATE)
    time = torch.arange(1, length + 1, device=audio.device) / RATE
    tail = torch.randn(len(audio), length, device=audio.device) * torch.exp(-math.log(1000) * time / decay_s)
    tail = tail / tail.square().sum(1, keepdim=True).sqrt().clamp(min=SILENCE) * 10 ** (-direct_db / 20)
    size = audio.shape[1] + length
    wet = torch.fft.irfft(torch.fft.rfft(audio, n=size) * torch.fft.rfft(tail, n=size), n=size)
    # the tail begins one sample behind the direct sound
    return audio + functional.pad(wet, (1, 0))[:, : audio.shape[1]]


def colour(audio: Tensor, strength: float) -> Tensor:
    """Give each row another frequency response, as microphones do: 33 random taps, as strong as is said, beside 1."""
    taps = 33
    window = torch.hann_window(taps, device=audio.device)
    kernel = torch.randn(len(audio), 1, taps, device=audio.device) * window * strength
    kernel[:, :, taps // 2] = 1.0
    return functional.conv1d(audio[None], kernel, padding=taps // 2, groups=len(audio))[0]


def stop_band(audio: Tensor, centre: Tensor, width: Tensor) -> Tensor:
    """Take one band of frequencies out of each row, as SpecAugment's frequency masks do (Park et al., 2019).

    Args:
        audio: [rows, samples].
        centre: [rows, 1], of the band, on the mel scale as a share of its range up to 8 kHz.
        width: [rows, 1], of the band, likewise.
    """
    spectrum = torch.fft.rfft(audio)
    frequency = torch.linspace(0, RATE / 2, spectrum.shape[1], device=audio.device)
    mel = torch.log1p(frequency / 700) / math.log1p(RATE / 2 / 700)
    return torch.fft.irfft(spectrum * ((mel - centre).abs() > width / 2), n=audio.shape[1])


def mu_law(audio: Tensor) -> Tensor:
    """Code to 8 bits with the mu-law of G.711 (as a formula, mu = 255) and decode again; clips at 1."""
    audio = audio.clamp(-1, 1)
    coded = audio.sign() * torch.log1p(MU * audio.abs()) / math.log1p(MU)
    rounded = ((coded + 1) / 2 * MU).round() / MU * 2 - 1
    return rounded.sign() * torch.expm1(rounded.abs() * math.log1p(MU)) / MU


def telephone(audio: Tensor, *, coded: bool = True) -> Tensor:
    """Leave the band of a telephone, 300 to 3,400 Hz at 8 kHz with 8 bits (mu-law), at 16 kHz again.

    The level is put to half of full scale before coding, as a line does, and back after it.
    """
    width = audio.shape[1] + audio.shape[1] % 2
    spectrum = torch.fft.rfft(audio, n=width)
    frequency = torch.arange(spectrum.shape[1], device=audio.device) * (RATE / width)
    low, high = TELEPHONE_BAND_HZ
    gate = ((frequency - low) / EDGE_HZ + 1).clamp(0, 1) * ((high - frequency) / EDGE_HZ + 1).clamp(0, 1)
    half = width // 2
    narrow = torch.fft.irfft((spectrum * gate)[:, : half // 2 + 1], n=half)
    if coded:
        peak = narrow.abs().amax(1, keepdim=True).clamp(min=SILENCE)
        narrow = mu_law(narrow / peak * 0.5) * peak * 2
    wide = functional.pad(torch.fft.rfft(narrow), (0, spectrum.shape[1] - (half // 2 + 1)))
    return torch.fft.irfft(wide, n=width)[:, : audio.shape[1]]


def clip(audio: Tensor, share: Tensor) -> Tensor:
    """Cut each row off at a share [rows, 1] of its largest sample."""
    limit = audio.abs().amax(1, keepdim=True) * share
    return torch.minimum(torch.maximum(audio, -limit), limit)


def resample(audio: Tensor, factor: float) -> Tensor:
    """Play faster by a factor, which raises the pitch as much: [rows, samples] -> [rows, int(samples / factor)]."""
    width = int(audio.shape[1] / factor)
    return functional.interpolate(audio[:, None], size=width, mode="linear")[:, 0]


def stretch(audio: Tensor, factor: float) -> Tensor:
    """Play faster by a factor at the same pitch, with a phase vocoder (Flanagan and Golden, 1966).

    [rows, samples] -> [rows, int(samples / factor)].
    """
    hop = PITCH_FRAME // 4
    window = torch.hann_window(PITCH_FRAME, device=audio.device)
    spectrum = torch.stft(audio, PITCH_FRAME, hop, window=window, pad_mode="constant", return_complex=True)
    steps = torch.arange(0, spectrum.shape[2] - 1, factor, device=audio.device)
    before = steps.long().clamp(max=spectrum.shape[2] - 2)  # rounded up, the last step would begin at the last frame
    share = (steps - before)[None, None]
    left, right = spectrum[:, :, before], spectrum[:, :, before + 1]
    advance = torch.linspace(0, math.pi * hop, spectrum.shape[1], device=audio.device)[None, :, None]
    turn = right.angle() - left.angle() - advance
    turn = turn - 2 * math.pi * torch.round(turn / (2 * math.pi)) + advance
    phase = torch.cumsum(functional.pad(turn[:, :, :-1], (1, 0)), 2)
    size = (1 - share) * left.abs() + share * right.abs()
    # the loudest frame keeps its phases: from there on and back, neighbouring bins of a tone stay in step
    anchor = size.square().sum(1).argmax(1)[:, None, None].expand(-1, size.shape[1], 1)
    phase = phase + left.angle().gather(2, anchor) - phase.gather(2, anchor)
    width = int(audio.shape[1] / factor)
    made = torch.istft(torch.polar(size, phase), PITCH_FRAME, hop, window=window)
    return functional.pad(made, (0, max(0, width - made.shape[1])))[:, :width]


@dataclass(frozen=True)
class Strength:
    """How often and how far speech is changed; shares are of rows, or of batches where a batch is changed as one."""

    speed: tuple[float, float] = (0.88, 1.14)
    """of batches: factors of tempo and pitch together"""
    speed_share: float = 0.6
    pitch: tuple[float, float] = (0.88, 1.12)
    """of batches: factors of the pitch alone"""
    pitch_share: float = 0.15
    colour_share: float = 0.5
    reverberation_share: float = 0.25
    decay_s: tuple[float, float] = (0.1, 0.7)
    direct_db: tuple[float, float] = (-2.0, 15.0)
    noise_share: float = 0.6
    noise_db: tuple[float, float] = (3.0, 40.0)
    telephone_share: float = 0.2
    clip_share: float = 0.05
    stop_share: float = 0.4
    """of rows that lose a band of frequencies"""
    stop_width: tuple[float, float] = (0.02, 0.2)


USUAL = Strength()
CLEAN = Strength(
    speed=(0.94, 1.07),
    pitch_share=0.0,
    reverberation_share=0.0,
    noise_share=0.3,
    noise_db=(15.0, 45.0),
    telephone_share=0.0,
    clip_share=0.0,
    stop_share=0.2,
)


class Tempo(NamedTuple):
    """Factors of the pitch alone, and of tempo and pitch together."""

    pitch: float = 1.0
    speed: float = 1.0


class Augmenter:
    """Draws what happens to the rows of a batch. Repeatable for a seed on one device, with torch's own generator.

    Batches are made in few widths, and keep them: a GPU's libraries plan anew for every shape that they have not seen.
    """

    def __init__(self, strength: Strength, seed: int) -> None:
        self.strength = strength
        self.rng = random.Random(seed)

    def tempo(self) -> Tempo:
        """Draw how the next batch is sped up; its rows must be as much longer before."""
        if self.rng.random() < self.strength.pitch_share:
            return Tempo(pitch=self.rng.uniform(*self.strength.pitch))
        if self.rng.random() < self.strength.speed_share:
            return Tempo(speed=self.rng.uniform(*self.strength.speed))
        return Tempo()

    def __call__(self, audio: Tensor, samples: Tensor, tempo: Tempo, width: int) -> tuple[Tensor, Tensor]:
        """Change audio [rows, samples] whose rows hold `samples` [rows]; return it `width` samples wide."""
        before = audio.shape[1]
        if tempo.pitch != 1:
            audio = resample(stretch(audio, 1 / tempo.pitch), tempo.pitch)  # longer first, then shorter and higher
        if tempo.speed != 1:
            audio = resample(audio, tempo.speed)
        samples = (samples * audio.shape[1] // before).clamp(max=width)
        audio = functional.pad(audio, (0, max(0, width - audio.shape[1])))[:, :width]
        strength = self.strength
        if strength.colour_share:
            audio = self._some(audio, colour(audio, self.rng.uniform(0.03, 0.2)), strength.colour_share)
        if self.rng.random() < min(1.0, 2 * strength.reverberation_share):
            wet = reverberate(audio, self._draw(audio, *strength.decay_s), self._draw(audio, *strength.direct_db))
            audio = self._some(audio, wet, 0.5)
        if strength.noise_share:
            audio = self._some(audio, self._noisy(audio), strength.noise_share)
        if self.rng.random() < min(1.0, 2 * strength.clip_share):
            audio = self._some(audio, clip(audio, self._draw(audio, 0.15, 0.8)), 0.5)
        if self.rng.random() < min(1.0, 2 * strength.stop_share):
            stopped = stop_band(audio, self._draw(audio, 0.0, 1.0), self._draw(audio, *strength.stop_width))
            audio = self._some(audio, stopped, 0.5)
        if self.rng.random() < min(1.0, 2 * strength.telephone_share):
            audio = self._some(audio, telephone(audio, coded=self.rng.random() < 0.8), 0.5)
        return audio, samples

    def _noisy(self, audio: Tensor) -> Tensor:
        ratio_db = self._draw(audio, *self.strength.noise_db)
        if self.rng.random() < 0.15 and len(audio) > 1:
            # talk that is as loud as the speaker could not be told from the speaker
            return add_noise(audio, babble(audio, self.rng.randint(2, 5), self.rng), ratio_db.clamp(min=8.0))
        return add_noise(audio, coloured_noise(audio, self._draw(audio, 0.0, 2.0)), ratio_db)

    def _draw(self, audio: Tensor, low: float, high: float) -> Tensor:
        return torch.empty(len(audio), 1, device=audio.device).uniform_(low, high)

    @staticmethod
    def _some(before: Tensor, after: Tensor, share: float) -> Tensor:
        chosen = torch.rand(len(before), 1, device=before.device) < share
        return torch.where(chosen, after, before)
