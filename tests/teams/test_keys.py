"""Key text: whole keys are recognised, damaged ones are told, nothing leaks."""

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.teams.keys import KEY_PATTERN, MalformedKey, make_key, parse_key

KEY = make_key(Random(7).choice)


@given(st.integers())
def test_every_key_is_whole_and_found_by_scanners(seed: int) -> None:
    key = make_key(Random(seed).choice)

    assert parse_key(key.text) == key.public_id
    assert re.fullmatch(KEY_PATTERN, key.text)


@given(st.integers(0, len(KEY.text) - 1), st.characters())
def test_one_changed_character_is_noticed(position: int, character: str) -> None:
    altered = KEY.text[:position] + character + KEY.text[position + 1 :]

    if altered != KEY.text:
        with pytest.raises(MalformedKey):
            parse_key(altered)


@given(st.text())
def test_no_other_text_is_a_key(text: str) -> None:
    with pytest.raises(MalformedKey):
        parse_key(text)


@pytest.mark.parametrize(
    "text",
    [KEY.text[:-1], KEY.text + "a", KEY.text + "\n", KEY.text.swapcase(), KEY.text[3:]],
    ids=["cut", "longer", "newline", "case", "headless"],
)
def test_a_damaged_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(MalformedKey) as refused:
        parse_key(text)

    assert KEY.text[20:40] not in refused.value.message


def test_keys_differ_and_their_repr_hides_the_secret() -> None:
    one, other = make_key(), make_key()

    assert one.text != other.text
    assert one.public_id in repr(one)
    assert one.text[-38:] not in repr(one)
