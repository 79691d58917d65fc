from __future__ import annotations

import pytest

from service.errors import InvalidInput, MalformedInput
from service.json_input import MAX_DEPTH, MAX_LISTS, parse_json


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": [1, 2.5, null, true, "\xc3\xa9"]}', {"a": [1, 2.5, None, True, "é"]}),
        (b" 7 ", 7),
        (nested(3), [[[]]]),
    ],
)
def test_what_json_is(text: bytes, value: object) -> None:
    assert parse_json(text) == value


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"NaN", b"[Infinity]", b"[1e400]", b"9" * 400, b'"\xff"', b'"\\ud800"', b"[1,]", b"{} {}", b"\0"],
)
def test_what_is_none(text: bytes) -> None:
    with pytest.raises(MalformedInput, match="JSON"):
        parse_json(text)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1_000])
def test_what_is_nested_too_deep(depth: int) -> None:
    assert parse_json(nested(MAX_DEPTH)) is not None
    with pytest.raises(InvalidInput, match="deep"):
        parse_json(nested(depth))


@pytest.mark.parametrize("item", [b"[]", b"{}"])
def test_too_many_lists_are_refused_before_they_are_made(item: bytes) -> None:
    assert len(parse_json(b"[" + b",".join([item] * (MAX_LISTS - 1)) + b"]")) == MAX_LISTS - 1
    with pytest.raises(InvalidInput, match="at most 500,000 lists"):
        parse_json(item * (MAX_LISTS + 1))  # not even JSON: it is not looked at
