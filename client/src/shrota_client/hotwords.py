"""Hotwords as people write them: ``WORD`` or ``WORD:BOOST``, on a command line or on the lines of a file."""

from pathlib import Path

from shrota_client.decoding import Decoding, Hotword
from shrota_client.errors import ParameterError


def parse_hotword(text: str) -> Hotword:
    """``WORD`` or ``WORD:BOOST``, where WORD may be a phrase.

    A colon is part of the word where no digit follows it: many write दु:ख so, for want of a visarga.

    Raises:
        ParameterError: there is no word, or nothing or no finite number after the colon.
    """
    word, colon, boost = text.rpartition(":")
    hotword: Hotword = text
    if colon:
        try:
            hotword = (word, float(boost))
        except ValueError:
            if not boost.strip() or any(character.isdigit() for character in boost):
                raise ParameterError(
                    f"the hotword {text!r} has no number after its colon: write WORD or WORD:BOOST, such as काशी:8"
                ) from None
    return _checked(hotword)


def read_hotwords(path: Path) -> list[Hotword]:
    """Hotwords from a file, one on each line as :func:`parse_hotword` takes it; empty lines are skipped.

    Raises:
        ParameterError: the file cannot be read, or a line is no hotword; the text says which and why.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ParameterError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ParameterError(f"{path} is not UTF-8 at byte {error.start}: convert it") from error
    hotwords = []
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            try:
                hotwords.append(parse_hotword(line.strip()))
            except ParameterError as error:
                raise ParameterError(f"{path}, line {number}: {error}") from error
    return hotwords


def _checked(hotword: Hotword) -> Hotword:
    """The hotword as the decoder's settings take it."""
    (checked,) = Decoding(hotwords=[hotword]).hotwords or ()
    return checked
