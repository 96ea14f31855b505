"""Let the held-out voices speak the held-out phrases: the test set of `evaluate`.

Or, with a plan, let the Hindi voices of training speak its development phrases, at any speed: what may be looked at
while a training is decided on.
"""

import argparse
import json
from pathlib import Path

import soundfile
from tqdm import tqdm

from shrota_training.command import at_least, require, run
from shrota_training.kokoro import HINDI_VOICES, SPEECH_RATE, Kokoro, PhonemeTable, load_voice, phonemes, to_speech_rate
from shrota_training.rows import read_rows
from shrota_training.split import Split
from shrota_training.torch_onnx import TorchKokoro


def development_phrases(plan: Path) -> list[str]:
    """Return the phrases of a plan that are for development, each once, in order."""
    rows = read_rows(plan / "plan.jsonl.gz", "text", "development")
    return list(dict.fromkeys(row["text"] for row in rows if row["development"]))


def main() -> None:
    """Write WAV files and a manifest with one line a file: audio, text, voice, duration_s."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--voices", type=Path, required=True, help="folder of Kokoro's *.bin voices")
    parser.add_argument("--model", type=Path, required=True, help="Kokoro's ONNX file")
    parser.add_argument("--phonemes", type=Path, required=True, help="Kokoro's vocab.json")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--phrases", type=int, help="only so many phrases, from the end of the list")
    parser.add_argument("--plan", type=Path, help="folder of plan.jsonl.gz: its development phrases, training voices")
    parser.add_argument(
        "--speed", type=at_least(0.1), default=1.0, help="how much faster than the voices speak by themselves"
    )
    parser.add_argument("--torch", action="store_true", help="speak with PyTorch, as for training")
    arguments = parser.parse_args()
    require(arguments.model, arguments.phonemes)
    split = Split.load()
    kokoro = TorchKokoro(arguments.model) if arguments.torch else Kokoro(arguments.model)
    table = PhonemeTable(arguments.phonemes)
    phrases, voices = list(split.phrases), list(split.voices)
    if arguments.plan:
        phrases, voices = development_phrases(arguments.plan), split.training_voices(list(HINDI_VOICES))
    phrases = phrases[-(arguments.phrases or 0) :]
    spoken = [table.tokens(ipa + ".") for ipa in phonemes(phrases)]
    arguments.output.mkdir(parents=True, exist_ok=True)
    with (arguments.output / "manifest.jsonl").open("w", encoding="utf-8") as manifest:
        for voice in voices:
            styles = load_voice(arguments.voices, voice)
            for number, (phrase, tokens) in enumerate(zip(tqdm(phrases, voice), spoken, strict=True)):
                speech = to_speech_rate(kokoro.speak(tokens, styles[len(tokens)], arguments.speed))
                name = f"{voice}-{number:03}.wav"
                soundfile.write(arguments.output / name, speech, SPEECH_RATE, subtype="PCM_16")
                row = {"audio": name, "text": phrase, "voice": voice, "duration_s": len(speech) / SPEECH_RATE}
                manifest.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    run("make_test_set", main)
