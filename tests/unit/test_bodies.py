import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.bodies import BadBody, parse_object

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_an_object_or_the_one_documented_error(body: bytes) -> None:
    """A body is understood or refused with 400; nothing else comes out."""
    try:
        parsed = parse_object(body)
    except BadBody:
        return
    assert isinstance(parsed, dict)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_an_object_comes_through_unchanged(value: dict[str, object]) -> None:
    """What a caller wrote is what is read, ids beyond 2^53 included."""
    assert value == parse_object(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not valid JSON"),
        (b"[]", "found an array"),
        (b"null", "found null"),
        (b"true", "found a boolean"),
        (b'"x"', "found a string"),
        (b"7", "found a number"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": 1,}', "line 1, column"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"a":' * 60_000, "nested too deeply"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_a_refusal_says_what_was_found(body: bytes, says: str) -> None:
    """Each kind of wrong body is named."""
    with pytest.raises(BadBody, match=says):
        parse_object(body)
