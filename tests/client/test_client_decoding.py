"""Settings of the decoder: what is accepted, what is sent of it, and what is refused with a remedy."""

import json
import re
from typing import Any

import numpy as np
import pytest

from shrota_client import Client, Decoding, ParameterError, Retry, Timeouts
from shrota_client.address import Address
from shrota_client.exchange import Exchange, Load
from shrota_client.message import Parameter, Request

ALL = Decoding(
    beam_width=32,
    lm_weight=0.5,
    word_score=-1,
    hotwords=["राम", ("सीता राम", 3), ["काशी", 2.5]],  # type: ignore[list-item]
    hotword_weight=1.5,
    n_best=4,
    words=False,
)


def sent(
    parameters: dict[str, Parameter], decoding: Decoding, call: dict[str, Parameter] | None, of_call: Decoding | None
) -> dict[str, Parameter]:
    """The request parameters of one call of a client with these settings."""
    exchange = Exchange(Address.parse("a"), Timeouts(), Retry(), parameters, decoding)
    load = next(exchange.transcription(np.zeros(16, np.float32), 16000, call, of_call))
    assert isinstance(load, Load)
    request = load.load()
    assert isinstance(request, Request)
    return dict(request.parameters)


def test_what_is_left_to_the_server_is_not_sent() -> None:
    assert Decoding().parameters() == {}
    assert Decoding(lm_weight=0, hotwords=[], words=False).parameters() == {
        "lm_weight": 0.0,
        "hotwords": "[]",
        "words": False,
    }


def test_all_settings_as_request_parameters() -> None:
    parameters = ALL.parameters()
    assert parameters == {
        "beam_width": 32,
        "lm_weight": 0.5,
        "word_score": -1.0,
        "hotwords": '["राम", ["सीता राम", 3.0], ["काशी", 2.5]]',
        "hotword_weight": 1.5,
        "n_best": 4,
        "words": False,
    }
    # one kind for each parameter, whatever number the caller writes
    assert type(parameters["word_score"]) is float
    assert type(parameters["n_best"]) is int


def test_a_phrase_has_single_spaces() -> None:
    assert Decoding(hotwords=["  सीता \t राम\n"]).hotwords == ("सीता राम",)


def test_hotwords_do_not_change_with_the_list_they_came_in() -> None:
    words = ["राम"]
    decoding = Decoding(hotwords=words)
    words.append("")
    assert json.loads(str(decoding.parameters()["hotwords"])) == ["राम"]
    assert decoding == Decoding(hotwords=("राम",))
    assert hash(decoding) == hash(Decoding(hotwords=("राम",)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam_width": 0}, "beam_width is 0: give 1 or more"),
        ({"beam_width": 2.0}, "beam_width is 2.0: give a whole number"),
        ({"beam_width": True}, "beam_width is True: give a whole number"),
        ({"n_best": -1}, "n_best is -1: give 1 or more"),
        ({"n_best": "3"}, "n_best is '3': give a whole number"),
        (
            {"beam_width": 4, "n_best": 5},
            "n_best is 5, but a search with beam_width 4 ends with no more than 4: raise beam_width, or lower n_best",
        ),
        ({"lm_weight": float("nan")}, "lm_weight is no finite number: give one"),
        ({"lm_weight": float("-inf")}, "lm_weight is no finite number: give one"),
        ({"word_score": 10**400}, "word_score is no finite number: give one"),
        ({"word_score": "1"}, "word_score is '1': give a number"),
        ({"hotword_weight": True}, "hotword_weight is True: give a number"),
        ({"hotwords": "राम"}, "hotwords is a str: give a list of words or (word, boost) pairs"),
        ({"hotwords": {"राम": 2.0}}, "hotwords is a dict: give a list of words or (word, boost) pairs"),
        ({"hotwords": ["राम", " "]}, "a hotword is empty: give a word or phrase, or leave it out"),
        ({"hotwords": [("", 1.0)]}, "a hotword is empty: give a word or phrase, or leave it out"),
        ({"hotwords": [("राम", float("nan"))]}, "the boost of the hotword 'राम' is no finite number: give one"),
        ({"hotwords": [("राम", "2")]}, "the boost of the hotword 'राम' is '2': give a number"),
        (
            {"hotwords": [("राम", None)]},
            "the hotword ('राम', None) is neither a word nor a (word, boost) pair: give one of them",
        ),
        ({"hotwords": [7]}, "the hotword 7 is neither a word nor a (word, boost) pair: give one of them"),
        ({"words": 1}, "words is 1: give True or False"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=f"^{re.escape(message)}$"):
        Decoding(**settings)


def test_as_many_readings_as_the_beam_keeps_are_possible() -> None:
    assert Decoding(beam_width=4, n_best=4).parameters() == {"beam_width": 4, "n_best": 4}
    # how wide the beam is by default, the server knows
    assert Decoding(n_best=1000).parameters() == {"n_best": 1000}


def test_settings_of_a_call_go_over_those_of_the_client() -> None:
    default = Decoding(beam_width=8, lm_weight=0.5, hotwords=["राम"], words=False)
    updated = default.updated(Decoding(lm_weight=0.0, hotwords=[], words=True))
    assert updated == Decoding(beam_width=8, lm_weight=0.0, hotwords=[], words=True)
    assert default.updated(None) == default
    assert default.updated(Decoding()) == default


def test_settings_that_do_not_go_together_are_found_across_client_and_call() -> None:
    with pytest.raises(ParameterError, match="n_best is 9, but a search with beam_width 8"):
        sent({}, Decoding(beam_width=8), None, Decoding(n_best=9))


@pytest.mark.parametrize(
    ("of_client", "of_call", "expected"),
    [
        (({"beam_width": 2}, Decoding()), (None, Decoding(beam_width=3)), {"beam_width": 3}),
        (({}, Decoding(beam_width=2)), ({"beam_width": 3}, None), {"beam_width": 3}),
        (({"engine": "e"}, Decoding(n_best=2)), ({"x": 1}, Decoding(beam_width=3)), {"n_best": 2, "beam_width": 3}),
    ],
)
def test_a_call_goes_before_its_client_however_either_says_it(
    of_client: tuple[dict[str, Parameter], Decoding],
    of_call: tuple[dict[str, Parameter] | None, Decoding | None],
    expected: dict[str, Parameter],
) -> None:
    parameters = sent(*of_client, *of_call)
    assert {name: parameters[name] for name in parameters if name not in {"engine", "x"}} == expected


def test_a_setting_said_twice_is_refused() -> None:
    message = "^beam_width is given twice, as a request parameter and for the decoder: give it once$"
    with pytest.raises(ParameterError, match=message):
        Client(parameters={"beam_width": 2}, decoding=Decoding(beam_width=2))
    with pytest.raises(ParameterError, match=message):
        sent({}, Decoding(), {"beam_width": 2}, Decoding(beam_width=2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"beam_width": 1, "lm_weight": 0.5},
            "lm_weight has no effect on greedy decoding: raise beam_width, or give no lm_weight",
        ),
        ({"beam_width": 1, "word_score": -1}, "word_score has no effect on greedy decoding"),
        ({"beam_width": 1, "hotwords": ["राम"]}, "hotwords has no effect on greedy decoding"),
        ({"lm_weight": 0, "word_score": 1.5}, "word_score has no effect with lm_weight 0: give lm_weight above 0"),
        ({"beam_width": 8, "hotword_weight": 5}, "hotword_weight has no effect without hotwords: give some"),
    ],
)
def test_settings_without_effect_are_refused_before_anything_is_sent(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=f"^{re.escape(message)}"):
        sent({}, Decoding(), None, Decoding(**settings))


def test_what_a_client_says_for_all_its_calls_waits_where_a_call_leaves_it_without_effect() -> None:
    usual = Decoding(beam_width=100, lm_weight=1.3, word_score=3.5, hotword_weight=8)
    assert sent({}, usual, None, None) == {"beam_width": 100, "lm_weight": 1.3, "word_score": 3.5}
    assert sent({}, usual, None, Decoding(beam_width=1)) == {"beam_width": 1}
    without = sent({}, usual, None, Decoding(lm_weight=0.0, hotwords=["राम"]))
    assert without == {"beam_width": 100, "lm_weight": 0.0, "hotwords": '["राम"]', "hotword_weight": 8.0}
    with pytest.raises(ParameterError, match=r"^lm_weight has no effect on greedy decoding"):
        sent({}, Decoding(beam_width=1), None, Decoding(lm_weight=2))
    with pytest.raises(ParameterError, match=r"^hotwords has no effect on greedy decoding"):
        sent({"beam_width": 1}, Decoding(), {"hotwords": "राम"}, None)


@pytest.mark.parametrize(
    "parameters",
    [
        {"beam_width": 1, "lm_weight": "0"},
        {"beam_width": 8, "hotword_weight": "0"},
        {"beam_width": 8, "lm_weight": 0, "word_score": "0.0"},
        *({"beam_width": 1, "hotwords": empty} for empty in (" , ", "[ ]", '[""]')),
        {"beam_width": True, "lm_weight": 1},
    ],
)
def test_what_only_the_server_or_the_message_can_judge_passes(parameters: dict[str, Any]) -> None:
    assert sent({}, Decoding(), parameters, None) == parameters


@pytest.mark.parametrize("parameters", [{"hotwords": ["राम"]}, {"engine": {}}, {"beam_width": 1, "lm_weight": None}])
def test_a_parameter_of_a_wrong_type_is_said(parameters: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=r"^the request parameter '\w+' is a \w+: give str, int, float or bool$"):
        sent({}, Decoding(), parameters, None)


@pytest.mark.parametrize("name", ["lm_weight", "word_score"])
def test_a_weight_that_is_rounded_to_nothing_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match=rf"^{name} is rounded to hundredths, and 0\.004 is 0 then"):
        sent({}, Decoding(), {name: 0.004}, None)


def test_settings_that_ask_for_nothing_or_that_the_server_may_use_are_sent() -> None:
    for settings in (
        {"beam_width": 1, "lm_weight": 0, "word_score": 0, "hotwords": [], "hotword_weight": 5},
        {"lm_weight": 0.5, "word_score": 1.5},  # its beam may be wide by itself
        {"word_score": 1.5, "hotword_weight": 0},
    ):
        decoding = Decoding(**settings)
        assert sent({}, decoding, None, None) == decoding.parameters()
    # what a client says for all its calls may have its effect in some of them
    assert sent({}, Decoding(hotword_weight=5), None, Decoding(hotwords=["राम"]))["hotword_weight"] == 5
    assert sent({"hotwords": "राम"}, Decoding(hotword_weight=5), None, None)["hotwords"] == "राम"
    assert sent({}, Decoding(lm_weight=0, word_score=0), {"word_score": "1"}, Decoding(lm_weight=1))["lm_weight"] == 1


def test_what_triton_cannot_carry_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ParameterError, match="'beam_width' does not fit into 64 bits"):
        Client(decoding=Decoding(beam_width=2**63))
    with pytest.raises(ParameterError, match=r"'hotwords' is .* not UTF-8"):
        Client(decoding=Decoding(hotwords=["\udcff"]))
