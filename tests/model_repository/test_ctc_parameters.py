"""The decoder's request parameters and settings: defaults, limits, and the one line that a wrong one gets."""

import json
import os
from dataclasses import fields, replace
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from shrota_acoustic import requests
from shrota_client import Decoding
from shrota_decoder.errors import RequestRefusedError, SettingsError
from shrota_decoder.hotwords import Hotword, weigh
from shrota_decoder.parameters import NAMES, OF_ACOUSTIC, Limits, Parameters, check_names, read_parameters
from shrota_decoder.settings import DEFAULTS, REQUEST_DEFAULTS, load_settings, read_settings
from shrota_testing.repository import ROOT
from shrota_testing.utterances import VOCABULARY

SETTINGS = read_settings({})


def read(**values: Any) -> Parameters:
    """The parameters of a request to the decoder as it is configured."""
    return read_parameters(values, SETTINGS.defaults, SETTINGS.limits)


def test_the_configuration_says_what_the_code_does_without_it() -> None:
    text = (ROOT / "model_repository" / "ctc_decoder" / "config.pbtxt").read_text(encoding="utf-8")
    parameters = text_format.Parse(text, ModelConfig()).parameters
    assert {name: value.string_value for name, value in parameters.items()} == DEFAULTS


def test_a_request_without_parameters_is_decoded_greedily() -> None:
    assert read() == read(engine="acoustic_onnx", sample_rate=8000) == SETTINGS.defaults
    assert (read().beam_width, read().n_best, read().words, read().hotwords) == (1, 1, True, ())


def test_numbers_may_be_text() -> None:
    values: dict[str, Any] = {"beam_width": 100, "lm_weight": 0.25, "word_score": -1, "n_best": 3, "words": False}
    values |= {"hotwords": "राम", "hotword_weight": 5}
    assert read(**values) == read(**{name: str(value) for name, value in values.items()})
    hotwords = (Hotword("राम"),)
    assert read(**values) == Parameters(100, 0.25, -1.0, 5.0, 3, words=False, hotwords=hotwords, asks_for_lm=True)


def test_the_weights_of_the_language_model_are_hundredths() -> None:
    assert read(beam_width=2, lm_weight=0.123456, word_score=1.009).lm_weight == 0.12
    assert read(beam_width=2, lm_weight=0.123456, word_score=1.009).word_score == 1.01


@pytest.mark.parametrize("value", [0, 501, 1.5, -1, "x", "", True, None, "nan", [2], "1e400", "1_0"])
def test_beam_width_is_a_whole_number_within_its_limit(value: object) -> None:
    with pytest.raises(
        RequestRefusedError, match=r"^parameter `beam_width` must be a whole number from 1 to 500, not "
    ):
        read(beam_width=value)


@pytest.mark.parametrize(
    ("name", "value", "limits"),
    [
        ("lm_weight", -0.1, "from 0 to 10"),
        ("lm_weight", "inf", "from 0 to 10"),
        ("word_score", 20.5, "from -20 to 20"),
        ("word_score", "-21", "from -20 to 20"),
        ("hotword_weight", 101, "from 0 to 100"),
        ("hotword_weight", "viel", "from 0 to 100"),
    ],
)
def test_weights_have_limits(name: str, value: object, limits: str) -> None:
    with pytest.raises(RequestRefusedError, match=f"^parameter `{name}` must be a number {limits}, not "):
        read(beam_width=2, **{name: value})


def test_n_best_has_limits_of_its_own_and_by_the_beam() -> None:
    assert read(beam_width=50, n_best=50).n_best == 50
    with pytest.raises(RequestRefusedError, match=r"^parameter `n_best` must be a whole number from 1 to 50, not 51$"):
        read(beam_width=100, n_best=51)
    with pytest.raises(RequestRefusedError, match=r"^parameter `n_best` is 3, .* send `beam_width` of at least 3$"):
        read(n_best=3)


@pytest.mark.parametrize(("value", "words"), [(True, True), (False, False), ("False", False), ("1", True), (0, False)])
def test_words_are_on_or_off(value: object, words: bool) -> None:
    assert read(words=value).words is words


def test_words_are_nothing_else() -> None:
    with pytest.raises(RequestRefusedError, match=r"^parameter `words` must be true or false, not 'maybe'$"):
        read(words="maybe")


@pytest.mark.parametrize(("name", "value"), [("lm_weight", 0.5), ("word_score", 1), ("hotwords", "राम")])
def test_what_greedy_decoding_cannot_do_is_not_left_undone_silently(name: str, value: object) -> None:
    with pytest.raises(RequestRefusedError, match=f"^parameter `{name}` has no effect on greedy.* `beam_width` of 2"):
        read(**{name: value})
    read(**{name: 0 if name != "hotwords" else "[]"})
    read(beam_width=2, **{name: value})


@pytest.mark.parametrize("value", [0.0049, "1e-9"])
def test_a_weight_that_would_be_rounded_to_nothing_is_refused(value: float | str) -> None:
    with pytest.raises(RequestRefusedError, match=r"^parameter `lm_weight` is rounded .* 0 then: send 0\.01 or more"):
        read(beam_width=2, lm_weight=value)
    with pytest.raises(SettingsError, match=r"^config\.pbtxt: parameter `lm_weight` is rounded to hundredths"):
        read_settings({"lm_weight": str(value)})
    assert read(beam_width=2, lm_weight=0.01).lm_weight == 0.01
    assert read(beam_width=2, lm_weight=0).lm_weight == 0


def test_a_score_of_words_needs_the_language_models_weight() -> None:
    without = replace(SETTINGS.defaults, beam_width=8, lm_weight=0.0)
    for values, defaults in (({"lm_weight": 0, "word_score": 2}, SETTINGS.defaults), ({"word_score": 2}, without)):
        with pytest.raises(
            RequestRefusedError, match=r"^parameter `word_score` has no effect without a language model"
        ):
            read_parameters({"beam_width": 8, **values}, defaults, Limits())
    assert read(beam_width=8, lm_weight=0).word_score == 1.5  # a default is no wish
    assert read(beam_width=8, lm_weight=0, word_score=0).word_score == 0


@pytest.mark.parametrize("beam_width", [1, 8])
def test_a_weight_of_hotwords_needs_hotwords(beam_width: int) -> None:
    with pytest.raises(RequestRefusedError, match=r"^parameter `hotword_weight` has no effect without `hotwords`: "):
        read(beam_width=beam_width, hotword_weight=5)
    read(beam_width=beam_width, hotword_weight=0)
    read(beam_width=beam_width, hotword_weight=5, hotwords="[]")


@pytest.mark.parametrize("name", ["beamwidth", "Beam_Width", "beam-width", "", "sample rate", "id_", "x" * 999, "a\nb"])
def test_an_unknown_name_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(RequestRefusedError, match=r"^unknown request parameter '.*must be one of engine, ") as caught:
        check_names(["beam_width", name], SETTINGS.other_parameters)
    assert str(caught.value).endswith(f"one of {', '.join((*OF_ACOUSTIC, *NAMES))}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_every_parameter_of_the_ensemble_is_known_by_every_step() -> None:
    assert (NAMES, OF_ACOUSTIC) == (requests.OF_DECODER, requests.NAMES)
    assert {field.name for field in fields(Decoding)} == {*NAMES} == {*REQUEST_DEFAULTS, "hotwords"}
    check_names((*NAMES, *OF_ACOUSTIC), ())


def test_names_that_the_configuration_lets_through() -> None:
    check_names(["id"], SETTINGS.other_parameters)  # of Triton's generate endpoint
    forwarded = read_settings({"other_parameters": "id, x-*,traceparent"}).other_parameters
    check_names(["x-request-id", "X-Request-Id", "traceparent", "id"], forwarded)  # over HTTP as the caller writes them
    with pytest.raises(RequestRefusedError, match="unknown request parameter 'y-request-id'"):
        check_names(["y-request-id"], forwarded)
    with pytest.raises(RequestRefusedError, match="unknown request parameter 'id'"):
        check_names(["id"], read_settings({"other_parameters": ""}).other_parameters)


@pytest.mark.parametrize(
    "value",
    [
        "राम, सीता : 12,,",
        "राम,सीता:१२",
        '["राम", "सीता:12"]',
        '[{"word": "राम"}, {"word": " सीता ", "boost": 12}, ""]',
        '[{"word": "राम", "boost": null}, {"word": "सीता", "boost": "12"}]',
        '["राम", ["सीता", 12.0]]',
    ],
)
def test_hotwords_are_a_list_or_words_with_commas(value: str) -> None:
    assert read(beam_width=2, hotwords=value).hotwords == (Hotword("राम"), Hotword("सीता", 12.0))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "must be text"),
        ("[", "is no JSON list"),
        ("[" * 100_000, "is no JSON list"),
        ('{"राम": 5}', "is JSON, but no list"),
        ("[5]", "has an item 5"),
        ('[["राम", 5, 6]]', "has an item"),
        ('[["राम", "viel"]]', "has the boost 'viel'"),
        ('[[["राम"], 5]]', "has an item"),
        ('[{"text": "राम"}]', "has an item"),
        ("राम:5x", "has the boost '5x'"),
        ("राम:-1", "a number from 0 to 100"),
        ('[{"word": "राम", "boost": 101}]', "has the boost 101"),
        ("क" * 101, "has one of 101 characters: send words of 100 at most"),
        ("क," * 1001, "has 1001 words: send 1000 at most"),
        ("a:1,b:2,c:3,d:4,e:5", "more than 4 different boosts"),
    ],
)
def test_malformed_hotwords_get_one_short_line(value: object, message: str) -> None:
    with pytest.raises(RequestRefusedError, match=f"^parameter `hotwords` .*{message}") as caught:
        read(beam_width=2, hotwords=value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_hotwords_are_spelled_as_the_vocabulary_spells_them() -> None:
    """The nukta is a token of its own, though Unicode has letters that hold it."""
    hotwords = read(beam_width=2, hotwords="\u0958लम, ऩ:3, नई दिल्ली:2, राम:0").hotwords
    assert weigh(hotwords, 7.0, VOCABULARY) == {"क\u093cलम": 7.0, "न\u093c": 3.0, "नई": 2.0, "दिल्ली": 2.0}


def test_a_colon_without_a_number_is_a_visarga() -> None:
    hotwords = read(beam_width=2, hotwords='["दु:ख", "दु:ख:4"]').hotwords
    assert hotwords == (Hotword("दु:ख"), Hotword("दु:ख", 4.0))
    assert weigh(hotwords, 2.0, VOCABULARY) == {"दुःख": 4.0}


def test_a_hotword_that_cannot_be_heard_is_refused() -> None:
    with pytest.raises(RequestRefusedError, match=r"^hotword 'Delhi' cannot be spelled .* 'D', 'e', 'h', 'i', 'l'\)"):
        weigh(read(beam_width=2, hotwords="राम,Delhi").hotwords, 7.0, VOCABULARY)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"beam": "5"}, "unknown parameter `beam`; known are: beam_width, "),
        ({"beam_width": "600"}, "config.pbtxt: parameter `beam_width` must be a whole number from 1 to 500"),
        ({"max_beam_width": "0"}, "`max_beam_width` must be a number from 1 to 10000"),
        ({"threads": "1.5"}, "`threads` must be a whole number"),
        ({"token_min_log_prob": "1"}, "`token_min_log_prob` must be a number from -1000 to 0"),
    ],
)
def test_a_wrong_setting_is_named(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_settings(parameters)


def test_defaults_may_be_a_beam_and_a_request_may_want_less() -> None:
    config = {"beam_width": {"string_value": "100"}, "max_n_best": {"string_value": "5"}}
    settings = load_settings(json.dumps({"parameters": config}))
    assert settings.defaults.beam_width == 100
    assert settings.limits == Limits(500, 5, 1000)
    assert settings.threads >= 1
    assert read_parameters({"beam_width": 1}, settings.defaults, settings.limits).beam_width == 1
    assert read_parameters({"hotwords": "राम"}, settings.defaults, settings.limits).hotwords == (Hotword("राम"),)


def test_as_many_threads_as_there_are_processors_that_the_process_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert read_settings({}).threads == read_settings({"threads": "0"}).threads == 3
    assert read_settings({"threads": "5"}).threads == 5
    monkeypatch.delattr(os, "sched_getaffinity")
    assert read_settings({}).threads == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert read_settings({}).threads == 1


def test_an_n_best_that_nobody_sent_gives_way_to_a_narrow_beam() -> None:
    defaults = Parameters(beam_width=100, n_best=5)
    assert read_parameters({"beam_width": 4}, defaults, Limits()).n_best == 4
    assert read_parameters({"beam_width": 1}, defaults, Limits()).n_best == 1
    assert read_parameters({}, defaults, Limits()).n_best == 5
    with pytest.raises(RequestRefusedError, match="`n_best` is 5"):
        read_parameters({"beam_width": 4, "n_best": 5}, defaults, Limits())


@pytest.mark.parametrize("value", [":1" * 100_000 + " x", "क," * 100_000, "[" + '"क",' * 100_000 + '"क"]'])
def test_hotwords_without_end_are_refused_before_they_are_read(value: str) -> None:
    with pytest.raises(
        RequestRefusedError, match=r"^parameter `hotwords` has \d+ characters: send 1000 words at most$"
    ):
        read(beam_width=8, hotwords=value)


def test_joiners_are_no_part_of_a_hotword() -> None:
    assert read(beam_width=8, hotwords="क्\u200dया").hotwords == (Hotword("क्या"),)
    assert read(beam_width=8, hotwords=json.dumps([["रा\u200cम", 3]])).hotwords == (Hotword("राम", 3.0),)
