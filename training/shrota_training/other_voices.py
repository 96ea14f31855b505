"""Speak lines with voices that are not Kokoro's: festival's hi_nsk, cut from a person's recordings, and espeak-ng.

Both are Debian packages (`festvox-hi-nsk` with `festival`, `espeak-ng`). Each utterance gets a pitch and a tempo of its
own. Texts come from a whole plan in another order than Kokoro's. Writes what `synthesize` writes: `speech-NAME.raw` and
its index `.jsonl`.
"""

import argparse
import contextlib
import json
import random
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from shrota_training.command import run
from shrota_training.rows import read_rows
from shrota_training.silence import trimmed

RATE = 16_000
LONGEST_S = 20.0
AT_ONCE = 20
ESPEAK_VARIANTS = ("", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+m8")
Speech = NDArray[np.int16]


def festival_script(lines: Sequence[tuple[str, Path]], rng: random.Random) -> str:
    """Return Scheme that speaks each line into its file, deeper or higher, slower or faster than the voice is.

    The voice leaves intonation to whatever voice was loaded before it, which Debian does not install: it is set here.
    """
    steps = ["(set! int_simple_params '((f0_mean 110) (f0_std 14)))", "(voice_hindi_NSK_diphone)"]
    steps.append("(Parameter.set 'Int_Method 'Simple)")
    for text, path in lines:
        steps += [
            f"(set! int_simple_params '((f0_mean {rng.uniform(85, 190):.0f}) (f0_std {rng.uniform(8, 28):.0f})))",
            f"(Parameter.set 'Duration_Stretch {rng.uniform(0.6, 1.2):.2f})",
            f'(utt.save.wave (utt.synth (Utterance Text "{text}")) "{path}")',
        ]
    return "\n".join(steps) + "\n"


def espeak_command(text: str, path: Path, rng: random.Random) -> list[str]:
    """Return the command that speaks a line into a file with one of the Hindi variants, at some pitch and tempo."""
    voice = "hi" + rng.choice(ESPEAK_VARIANTS)
    pitch, words_per_minute = rng.randint(20, 80), rng.randint(140, 300)
    return ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(words_per_minute), "-w", str(path), text]


def read(path: Path) -> Speech | None:
    """Return a file's speech at 16 kHz, at 0.7 of full scale, without the silence at its ends.

    None if the voice said nothing or too much.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    audio, rate = soundfile.read(path, dtype="float32")
    audio = soxr.resample(audio, rate, RATE) if rate != RATE else audio
    peak = float(np.abs(audio).max(initial=0.0))
    if not RATE * 0.3 < audio.size <= RATE * LONGEST_S or peak < 1e-3:
        return None
    return trimmed((audio * (0.7 / peak) * 32767).round().astype(np.int16))


def speak_with_festival(texts: Sequence[str], seed: int) -> list[Speech | None]:
    """Speak some lines with hi_nsk, in one process."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.wav" for number in range(len(texts))]
        script = Path(folder) / "speak.scm"
        script.write_text(festival_script(list(zip(texts, paths, strict=True)), random.Random(seed)), encoding="utf-8")
        # an utterance that it cannot speak ends the process; what came before is good
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(["festival", "--batch", str(script)], check=False, capture_output=True)
        return [read(path) for path in paths]


def speak_with_espeak(texts: Sequence[str], seed: int) -> list[Speech | None]:
    """Speak some lines with espeak-ng."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "line.wav"
        speech = []
        for text in texts:
            path.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                subprocess.run(espeak_command(text, path, rng), check=False, capture_output=True)
            speech.append(read(path))
        return speech


PACKAGES = {"hi_nsk": "festival and festvox-hi-nsk", "espeak": "espeak-ng"}
SPEAKERS = {"hi_nsk": speak_with_festival, "espeak": speak_with_espeak}


def speak(voice: str, texts: Sequence[str], hours: float, seed: int, workers: int) -> Iterator[tuple[str, Speech]]:
    """Yield lines and their speech until there are as many hours of it, or no more lines."""
    missing = hours * 3600 * RATE
    starts = range(0, len(texts), AT_ONCE)
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(starts), 4 * workers):
            parts = [texts[start : start + AT_ONCE] for start in starts[first : first + 4 * workers]]
            made = pool.map(SPEAKERS[voice], parts, range(seed + first, seed + first + len(parts)))
            for part, spoken in zip(parts, made, strict=True):
                for text, speech in zip(part, spoken, strict=True):
                    if speech is not None and missing > 0:
                        missing -= speech.size
                        yield text, speech
            if missing <= 0:
                return


def texts_of(plan: Path) -> list[str]:
    """Return the lines of a plan that are for training, each once."""
    rows = read_rows(plan / "plan.jsonl.gz", "text", "development")
    kept = {row["text"] for row in rows if row["development"]}
    return [text for text in dict.fromkeys(row["text"] for row in rows) if text not in kept]


def write(lines: Iterator[tuple[str, Speech]], voice: str, output: Path) -> float:
    """Write speech and its index; return hours."""
    output.mkdir(parents=True, exist_ok=True)
    samples = 0
    raw, index = output / f"speech-{voice}.raw", output / f"speech-{voice}.jsonl"
    with raw.open("wb") as audio, index.open("w", encoding="utf-8") as rows:
        for text, speech in lines:
            audio.write(speech.tobytes())
            row = {"text": text, "samples": speech.size, "development": False, "voice": voice}
            rows.write(json.dumps(row, ensure_ascii=False) + "\n")
            samples += speech.size
    return samples / RATE / 3600


def main() -> None:
    """Speak as many hours as are asked for with each voice."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="folder that plan wrote")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--festival-hours", type=float, default=4.0)
    parser.add_argument("--espeak-hours", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    texts = sorted(texts_of(arguments.plan))
    hours = {"hi_nsk": arguments.festival_hours, "espeak": arguments.espeak_hours}
    for number, (voice, wanted) in enumerate(hours.items()):
        random.Random(number).shuffle(texts)
        made = write(speak(voice, texts, wanted, 1000 * number, arguments.workers), voice, arguments.output)
        if wanted > 0 and not made:
            raise SystemExit(f"{voice} said nothing: install {PACKAGES[voice]}")
        print(f"{voice}: {made:.2f} h", flush=True)


if __name__ == "__main__":
    run("other_voices", main)
