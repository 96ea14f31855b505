"""``shrota export lm``, and the language model that a checkpoint brings."""

import gzip
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import shrota_export.repository
from shrota_decoder.beam import BeamSearch
from shrota_decoder.language_model import find_language_model
from shrota_decoder.parameters import Parameters
from shrota_decoder.settings import read_settings
from shrota_decoder.vocabulary import Vocabulary
from shrota_export.cli import export
from shrota_export.errors import LanguageModelError, RepositoryError
from shrota_export.kenlm import PARAMETERS_OFFSET
from shrota_testing.checkpoints import describe
from shrota_testing.files import snapshot
from shrota_testing.language_models import BINARY_WORDS, arpa, write_arpa, write_binary
from shrota_testing.repository import make_repository

ExportTiny = Callable[..., None]
WORDS = {"काम": -1.0, "क\u093cलम": -2.0}


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A repository to which a checkpoint with IndicWav2Vec-Hindi's tokens has been exported."""
    return make_repository(tmp_path / "model_repository")


def install(file: Path, repository: Path, *options: str) -> None:
    """Runs ``shrota export lm`` in this process."""
    export.main(["lm", str(file), "--repository", str(repository), *options], standalone_mode=False)


def installed(repository: Path) -> dict[str, str]:
    """The decoder's files of a language model, binaries by their size."""
    files = sorted((repository / "ctc_decoder" / "1").glob("lm.*"))
    return {
        path.name: str(path.stat().st_size) if path.suffix == ".binary" else path.read_text(encoding="utf-8")
        for path in files
    }


def load(repository: Path) -> None:
    """Loads the language model as the decoder does."""
    folder = repository / "ctc_decoder" / "1"
    search = BeamSearch(Vocabulary.read(folder / "vocab.json"), find_language_model(folder), read_settings({}))
    assert search.can_load_language_model
    search.prepare(Parameters(beam_width=2, lm_weight=0.5))


@pytest.mark.parametrize("packed", [False, True])
def test_an_arpa_file_is_unpacked_and_its_words_are_listed(
    exported: Path, tmp_path: Path, packed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    text = arpa(WORDS)
    source = tmp_path / "any name"
    source.write_bytes(gzip.compress(text.encode("utf-8")) if packed else text.encode("utf-8"))
    install(source, exported)
    assert installed(exported) == {"lm.arpa": text, "lm.words": "काम\nक\u093cलम\n"}
    assert capsys.readouterr().err == f"installed {exported}/ctc_decoder/1/lm.arpa: 2 words\n"
    load(exported)


def test_a_binary_takes_the_place_of_an_arpa_file_and_the_other_way_round(exported: Path, tmp_path: Path) -> None:
    binary = write_binary(tmp_path / "5gram.bin")
    text = write_arpa(tmp_path / "lm.txt", WORDS)
    install(text, exported)
    install(binary, exported)
    assert installed(exported) == {"lm.binary": str(binary.stat().st_size), "lm.words": "नाम\nकाम\n"}
    load(exported)
    found = find_language_model(exported / "ctc_decoder" / "1")
    assert found is not None
    assert list(found.words) == BINARY_WORDS
    install(text, exported)
    assert set(installed(exported)) == {"lm.arpa", "lm.words"}


def test_words_that_cannot_be_heard_are_left_out_and_counted(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(write_arpa(tmp_path / "lm.arpa", {**WORDS, "\u0958लम": -1.0, "Delhi": -1.0}), exported)
    assert installed(exported)["lm.words"] == "काम\nक\u093cलम\n"
    assert "2 words; 2 others cannot be spelled with the tokens (\u0958लम, Delhi)" in capsys.readouterr().err


def test_words_of_an_arpa_file_are_written_in_the_form_of_unicode_that_the_tokens_have(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A letter with a nukta may be one character in a text, and is two tokens here; the n-grams follow."""
    text = arpa({"काम": -1.0, "ब\u095dती": -2.0}).replace("<s> </s>", "ब\u095dती काम")
    source = tmp_path / "lm.arpa"
    source.write_text(text, encoding="utf-8")
    install(source, exported)
    written = text.replace("\u095d", "ढ\u093c")
    assert installed(exported) == {"lm.arpa": written, "lm.words": "काम\nबढ\u093cती\n"}
    assert "2 words; 1 of them written in the tokens' form of Unicode" in capsys.readouterr().err
    load(exported)


def test_a_word_that_is_there_in_both_forms_stays_as_it_is(exported: Path, tmp_path: Path) -> None:
    text = arpa({"क\u093cलम": -1.0, "\u0958लम": -2.0})
    source = tmp_path / "lm.arpa"
    source.write_text(text, encoding="utf-8")
    install(source, exported)
    assert installed(exported) == {"lm.arpa": text, "lm.words": "क\u093cलम\n"}


def without_words(binary: Path) -> Path:
    """A binary as ``build_binary -v`` writes it: the words behind the n-grams are missing, and the head says so."""
    content = bytearray(binary.read_bytes())
    has_words = PARAMETERS_OFFSET + 12
    assert content[has_words] == 1
    content[has_words] = 0
    binary.write_bytes(content[: content.rindex(b"<unk>\0")])
    return binary


def test_a_binary_without_its_words_needs_a_list_of_them(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    binary = without_words(write_binary(tmp_path / "lm.binary"))
    with pytest.raises(LanguageModelError, match=r"does not hold its words: give a list of them.* with --words FILE"):
        install(binary, exported)
    assert installed(exported) == {}
    lexicon = tmp_path / "lexicon.lst"
    lines = ["नाम\tन ा म |", "काम\tक ा म |", "", "<unk>", "काम", "ब\u095dती\tब \u095d त ी |", ""]
    lexicon.write_text("\n".join(lines), encoding="utf-8")
    install(binary, exported, "--words", str(lexicon))
    assert installed(exported) == {"lm.binary": str(binary.stat().st_size), "lm.words": "नाम\nकाम\n"}
    assert capsys.readouterr().err.endswith(
        "2 words; 1 others cannot be spelled with the tokens (ब\u095dती); "
        "1 of these could in another form of Unicode: install the ARPA file instead\n"
    )
    load(exported)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "words': it cannot be read .No such file or directory.: check the path"),
        (b"\n \n", "words': it has no words: write one on each line"),
        (b"\xff\n", "words': its word .* is not UTF-8"),
    ],
)
def test_a_list_that_is_none(exported: Path, tmp_path: Path, content: bytes | None, message: str) -> None:
    binary, listed = without_words(write_binary(tmp_path / "lm.binary")), tmp_path / "words"
    if content is not None:
        listed.write_bytes(content)
    with pytest.raises(LanguageModelError, match=message):
        install(binary, exported, "--words", str(listed))


def test_a_list_for_a_model_that_holds_its_words_is_refused(exported: Path, tmp_path: Path) -> None:
    for model in (write_binary(tmp_path / "lm.binary"), write_arpa(tmp_path / "lm.arpa", WORDS)):
        with pytest.raises(LanguageModelError, match="it holds its own words: leave out --words"):
            install(model, exported, "--words", str(tmp_path / "words"))


def test_tokens_may_be_of_several_letters(exported: Path, tmp_path: Path) -> None:
    path = exported / "ctc_decoder" / "1" / "vocab.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["tokens"] = ["<pad>", "|", "का", "म", "क\u093c", "लम"]
    path.write_text(json.dumps({**content, "special_tokens": ["<pad>"]}), encoding="utf-8")
    install(write_arpa(tmp_path / "lm.arpa", {**WORDS, "कम": -1.0}), exported)
    assert installed(exported)["lm.words"] == "काम\nक\u093cलम\n"


ARPA = arpa(WORDS).encode("utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "it is no KenLM model"),
        (b"\x7fELF", "it is no KenLM model"),
        (b"\\data\\\nno counts", "it is no KenLM model"),
        (ARPA[:-10], r"it is cut short: there is no \\end\\ at its end"),
        (ARPA.replace("काम".encode(), b"\xff\xfe"), "is not UTF-8"),
        (ARPA.replace(b"ngram 1=5", b"ngram 1=6"), "it has 5 words, but says 6"),
        (ARPA.replace(b"ngram 2=1\n", b""), "it has single words only"),
        (gzip.compress(ARPA)[:-20], "it cannot be unpacked"),
        (arpa({"Delhi": -1, "Agra": -1, "काम": -1}).encode(), r"2 of its 3 words cannot be spelled .* \(Delhi, Agra\)"),
        (arpa({}).encode(), "0 of its 0 words"),
        (b"mmap lm http://kheafield.com/code format version 4\n\0" + bytes(99), "binary of another version"),
    ],
)
def test_what_is_no_language_model_for_the_tokens_changes_nothing(
    exported: Path, tmp_path: Path, content: bytes | None, message: str
) -> None:
    source = tmp_path / "lm"
    if content is not None:
        source.write_bytes(content)
    before = snapshot(exported)
    with pytest.raises(LanguageModelError, match=f"^cannot install the language model '.*lm': .*{message}") as caught:
        install(source, exported)
    assert "\n" not in str(caught.value)
    assert snapshot(exported) == before


@pytest.mark.parametrize("kept", [100, 120, -1, -30])
def test_a_binary_that_is_cut_short_is_refused(exported: Path, tmp_path: Path, kept: int) -> None:
    source = write_binary(tmp_path / "lm.binary")
    source.write_bytes(source.read_bytes()[:kept])
    with pytest.raises(LanguageModelError, match="build_binary"):
        install(source, exported)
    assert installed(exported) == {}


def test_without_an_export_the_tokens_are_unknown(exported: Path, tmp_path: Path) -> None:
    (exported / "ctc_decoder" / "1" / "vocab.json").unlink()
    with pytest.raises(RepositoryError, match="the tokens are unknown: first `shrota export onnx FOLDER`"):
        install(write_arpa(tmp_path / "lm.arpa", WORDS), exported)


def test_a_failure_to_install_keeps_the_one_that_is_there(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(write_arpa(tmp_path / "lm.arpa", WORDS), exported)
    before = snapshot(exported)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shrota_export.repository, "_move", interrupt)
    with pytest.raises((KeyboardInterrupt, click.Abort)):
        install(write_binary(tmp_path / "lm.binary"), exported)
    assert snapshot(exported) == before


def test_an_error_is_one_line_on_the_command_line(exported: Path, tmp_path: Path) -> None:
    program = "from shrota_client.cli import main; main()"
    command = [sys.executable, "-c", program, "export", "lm", str(tmp_path / "lm"), "--repository", str(exported)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(
        r"shrota: error: cannot install the language model '.*': there is no such file.*\n", done.stderr
    )


@pytest.fixture
def with_lm(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint with a language model."""
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "with lm"))
    (folder / "lm.arpa.gz").write_bytes(gzip.compress(arpa({"कख": -1.0}).encode("utf-8")))
    return folder


def test_a_checkpoint_brings_its_language_model_and_one_without_removes_it(
    export_tiny: ExportTiny, repository: Path, with_lm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_tiny(repository, checkpoint=with_lm)
    assert installed(repository) == {"lm.arpa": arpa({"कख": -1.0}), "lm.words": "कख\n"}
    assert "\nthe checkpoint's own language model is installed: 1 words\n" in capsys.readouterr().err
    load(repository)
    export_tiny(repository, checkpoint=with_lm)
    assert "already exported" in capsys.readouterr().err
    export_tiny(repository)
    assert installed(repository) == {}
    assert "language model that was there is removed: it was installed for another" in capsys.readouterr().err
    export_tiny(repository, "--force")
    assert "language model" not in capsys.readouterr().err


def test_a_language_model_that_is_gone_or_another_is_exported_again(
    export_tiny: ExportTiny, repository: Path, with_lm: Path
) -> None:
    export_tiny(repository, checkpoint=with_lm)
    (repository / "ctc_decoder" / "1" / "lm.arpa").unlink()
    export_tiny(repository, checkpoint=with_lm)
    assert set(installed(repository)) == {"lm.arpa", "lm.words"}
    (with_lm / "lm.arpa.gz").write_bytes(gzip.compress(arpa({"खक": -1.0}).encode("utf-8")))
    export_tiny(repository, checkpoint=with_lm)
    assert installed(repository)["lm.words"] == "खक\n"


def test_one_that_was_installed_by_itself_stays_with_its_checkpoint(
    export_tiny: ExportTiny, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_tiny(repository)
    install(write_arpa(tmp_path / "lm.arpa", {"कख": -1.0}), repository)
    export_tiny(repository)
    capsys.readouterr()
    export_tiny(repository, "--force")
    assert set(installed(repository)) == {"lm.arpa", "lm.words"}
    assert "\nthe language model that was installed for this checkpoint stays\n" in capsys.readouterr().err


def test_a_checkpoint_with_a_language_model_of_another_script_is_refused(
    export_tiny: ExportTiny, repository: Path, with_lm: Path
) -> None:
    describe(with_lm)
    (with_lm / "lm.arpa.gz").write_bytes(gzip.compress(arpa({"Delhi": -1.0}).encode("utf-8")))
    before = snapshot(repository)
    with pytest.raises(LanguageModelError, match="1 of its 1 words cannot be spelled"):
        export_tiny(repository, checkpoint=with_lm)
    assert snapshot(repository) == before
