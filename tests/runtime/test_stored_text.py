"""Whatever a body says can be stored, and read by other tools."""

import doctest
import json
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.errors import StoreError
from supervisor.runtime import stored_text
from supervisor.runtime.stored_text import clean, to_json

# Surrogates included: that is what os.fsdecode makes of bytes that are no UTF-8.
ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), ANY_TEXT),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(ANY_TEXT, inner)),
    max_leaves=20,
)


def utf_16(text):
    return text.encode("utf-16", "surrogatepass")


def test_the_examples_hold():
    """What the docstrings show is what happens."""
    assert doctest.testmod(stored_text).failed == 0


@given(st.dictionaries(ANY_TEXT, ANY_VALUE))
def test_every_json_value_becomes_strict_json(value):
    """Any value that JSON has a place for is written in UTF-8, without NaN or infinities."""
    text = to_json(value)
    text.encode("utf-8")

    def refuse(constant):
        pytest.fail(f"{constant} is no JSON")

    json.loads(text, parse_constant=refuse)


@given(ANY_TEXT, st.integers())
def test_text_and_integers_come_back(text, number):
    """Cleaning changes the writing, never the meaning: two halves may become one character."""
    stored = json.loads(to_json({"said": text, "number": number}))
    assert stored["number"] == number
    assert utf_16(stored["said"]) == utf_16(text)


@given(ANY_TEXT)
def test_clean_text_can_be_written_anywhere(text):
    """Clean text is UTF-8, and text that was clean is left as it is."""
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert clean(cleaned) == cleaned


def test_read_only_mappings_are_values_too():
    """The frozen dataclasses hold mapping proxies, at any depth."""
    value = MappingProxyType({"a": MappingProxyType({"b": float("nan")}), "c": (1, 2)})
    assert to_json(value) == '{"a":{"b":null},"c":[1,2]}'


def test_what_has_no_json_form_is_named():
    """Our own mistakes are not papered over."""
    with pytest.raises(StoreError, match="object has no JSON form"):
        to_json({"a": object()})
