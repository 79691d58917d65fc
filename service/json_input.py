"""JSON from clients, within bounds."""

from __future__ import annotations

from typing import Any

import orjson

from service.errors import InvalidInput, MalformedInput

MAX_DEPTH = 32
MAX_LISTS = 500_000  # lists and objects in one document: ten thousand pictures of 28 rows, with room to spare


def parse_json(data: bytes) -> Any:
    """The document in `data`. Costs time by its size, so that it has no place in an event loop.

    NaN, infinity and numbers beyond the floats are no JSON. Raises `MalformedInput`, and `InvalidInput` for what is
    nested deeper, or made of more lists, than anything that is read here.
    """
    if not data:
        raise MalformedInput("expected a JSON document; got an empty body")
    # Counted in the bytes, brackets within strings too: making millions of lists would hold up every other thread.
    if data.count(b"[") + data.count(b"{") > MAX_LISTS:
        raise InvalidInput(f"expected at most {MAX_LISTS:,} lists and objects in a document; got more")
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedInput(f"the body is not JSON that can be read: {error}") from None
    # What lies deeper would exhaust the stack of whatever walks through it.
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [item for node in level for item in _children(node) if isinstance(item, list | dict)]
        if not level:
            return document
    raise InvalidInput(f"the JSON is nested more than {MAX_DEPTH} deep")


def _children(node: object) -> Any:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
