"""A language model that lacks some of its words."""

from pathlib import Path

from benchmarks.arpa import decoder_without, without

ARPA = r"""\data\
ngram 1=6
ngram 2=4
ngram 3=2

\1-grams:
-1.0	<unk>	0
0	<s>	-0.3
-1.0	</s>	0
-1.5	काम	-0.3
-2.0	कामना	-0.2
-2.5	नाम	-0.4

\2-grams:
-0.5	<s> काम	-0.1
-0.6	<s> कामना	-0.1
-0.7	कामना नाम	-0.1
-0.8	नाम </s>	0

\3-grams:
-0.2	<s> काम </s>
-0.3	<s> कामना नाम

\end\
"""


def test_no_ngram_of_the_word_is_left_and_all_others_are() -> None:
    left = without(ARPA, ["काम"]).split("\n")
    gone = ["-1.5\tकाम\t-0.3", "-0.5\t<s> काम\t-0.1", "-0.2\t<s> काम </s>"]
    kept = [line for line in ARPA.split("\n") if "\t" in line and line not in gone]
    assert [line for line in left if "\t" in line] == kept
    assert left[:4] == ["\\data\\", "ngram 1=5", "ngram 2=3", "ngram 3=1"]


def test_without_no_word_it_is_the_same_model() -> None:
    assert without(ARPA, []) == ARPA


def test_the_folder_has_the_smaller_model_its_words_and_the_vocabulary(tmp_path: Path) -> None:
    whole, target = tmp_path / "whole", tmp_path / "target"
    whole.mkdir()
    target.mkdir()
    (whole / "lm.arpa").write_text(ARPA, encoding="utf-8")
    (whole / "lm.words").write_text("काम\nकामना\nनाम\n", encoding="utf-8")
    (whole / "vocab.json").write_text("{}", encoding="utf-8")
    assert decoder_without(whole, ["कामना"], target) == target
    assert (target / "lm.words").read_text(encoding="utf-8").split() == ["काम", "नाम"]
    assert (target / "lm.arpa").read_text(encoding="utf-8") == without(ARPA, ["कामना"])
    assert (target / "vocab.json").read_text(encoding="utf-8") == "{}"
