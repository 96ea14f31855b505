"""Hindi number words."""

import pytest

from shrota_training.numbers import BELOW_HUNDRED, hindi_number


def test_there_are_a_hundred_different_names() -> None:
    assert len(BELOW_HUNDRED) == len(set(BELOW_HUNDRED)) == 100


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "शून्य"),
        (21, "इक्कीस"),
        (39, "उनतालीस"),
        (50, "पचास"),
        (69, "उनहत्तर"),
        (99, "निन्यानवे"),
        (100, "एक सौ"),
        (1_947, "एक हज़ार नौ सौ सैंतालीस"),
        (12_00_005, "बारह लाख पाँच"),
        (3_00_00_000, "तीन करोड़"),
    ],
)
def test_numbers_are_read_in_the_indian_system(number: int, words: str) -> None:
    assert hindi_number(number) == words
