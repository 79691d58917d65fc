"""Checks JSON-like data against frozen dataclasses, and describes the same dataclasses as JSON Schema."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from nn.errors import Problem, SpecError

T = TypeVar("T")
JSON = Any  # what `json.loads` returns
MAX_UNKNOWN = 20  # unknown fields of one object that are told; a hostile client may send a million
_SCALARS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}


@dataclass(frozen=True)
class Range:
    """The numbers that a field takes; written as `Annotated[int, Range(minimum=1)]`.

    Every bound is optional; `above` is exclusive, the others are inclusive.
    """

    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None

    def contains(self, value: float) -> bool:
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        bounds = (("at least", self.minimum), ("above", self.above), ("at most", self.maximum), ("below", self.below))
        return " and ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)

    def json_schema(self) -> dict[str, float]:
        keys = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
        bounds = (self.minimum, self.above, self.maximum, self.below)
        return {key: bound for key, bound in zip(keys, bounds, strict=True) if bound is not None}


@dataclass(frozen=True)
class Length:
    """How many items a tuple field takes; written as `Annotated[tuple[X, ...], Length(1, 64)]`."""

    minimum: int
    maximum: int


def parse(kind: type[T], data: JSON, pointer: str = "#") -> T:
    """An instance of the dataclass `kind` from what a JSON parser returned.

    Unknown fields, missing fields, wrong types and numbers outside their `Range` are refused, nothing is coerced.
    Raises `SpecError` with every problem found, each at its JSON pointer below `pointer`.
    """
    problems: list[Problem] = []
    value = _parse(kind, data, pointer, problems)
    if problems:
        raise SpecError(problems)
    return cast("T", value)


def to_json(value: object) -> JSON:
    """What `parse` reads back: a dataclass as a dictionary, a tuple as a list, all defaults written out."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {name: to_json(item) for name, item in value.items()}
    return value


def json_schema(kind: object) -> dict[str, JSON]:
    """The JSON Schema (2020-12) of what `parse` accepts for `kind`."""
    base, extras = _unwrap(kind)
    origin = get_origin(base)
    if origin is Literal:
        return {"type": "string", "enum": list(get_args(base))}
    if origin is tuple:
        schema: dict[str, JSON] = {"type": "array", "items": json_schema(get_args(base)[0])}
        for extra in extras:
            if isinstance(extra, Length):
                schema |= {"minItems": extra.minimum, "maxItems": extra.maximum}
        return schema
    if origin is dict:
        return {"type": "object", "additionalProperties": json_schema(get_args(base)[1])}
    if base is Any:
        return {}
    if origin in (Union, types.UnionType):
        choices: list[dict[str, JSON]] = [
            {"type": "null"} if choice is type(None) else json_schema(choice) for choice in get_args(base)
        ]
        described = [choice for choice in choices if "properties" in choice]
        if len(described) > 1:
            # Among several it is the type that tells what the other fields are.
            for choice in described:
                choice["required"] = ["type", *(name for name in choice.get("required", []) if name != "type")]
        return {"anyOf": choices}
    if dataclasses.is_dataclass(base):
        return _dataclass_schema(cast("type", base))
    schema = {"type": {bool: "boolean", int: "integer", float: "number", str: "string"}[cast("type", base)]}
    for extra in extras:
        if isinstance(extra, Range):
            schema |= extra.json_schema()
    return schema


def fields_of(kind: type) -> Iterator[tuple[dataclasses.Field[Any], object]]:
    """Each field of a dataclass with its resolved type, `Annotated` extras kept."""
    hints = _hints(kind)
    for field in dataclasses.fields(kind):
        yield field, hints[field.name]


@functools.cache
def _hints(kind: type) -> dict[str, object]:
    return get_type_hints(kind, include_extras=True)


def _dataclass_schema(kind: type) -> dict[str, JSON]:
    properties, required = {}, []
    for field, hint in fields_of(kind):
        properties[field.name] = json_schema(hint)
        if field.default is not dataclasses.MISSING:
            properties[field.name] |= {"default": to_json(field.default)}
        else:
            required.append(field.name)
    schema: dict[str, JSON] = {
        "type": "object",
        "title": kind.__name__,
        "properties": properties,
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required
    if kind.__doc__:
        schema["description"] = kind.__doc__.partition("\n")[0]
    return schema


def _unwrap(kind: object) -> tuple[object, tuple[object, ...]]:
    if get_origin(kind) is Annotated:
        base, *extras = get_args(kind)
        return base, tuple(extras)
    return kind, ()


def shown(value: object) -> str:
    """A value as an error message shows it: JSON's own words, cut where it is long."""
    words = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else None
    try:
        text = "null" if value is None else words or repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, lists in lists without end
        text = f"<{type(value).__name__} too large to show>"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _parse(kind: object, data: JSON, pointer: str, problems: list[Problem]) -> object:
    base, extras = _unwrap(kind)
    origin = get_origin(base)
    if origin is Literal:
        choices = get_args(base)
        if data in choices if isinstance(data, str) else False:
            return data
        problems.append(Problem(pointer, f"expected one of {', '.join(choices)}; got {shown(data)}"))
        return None
    if origin is tuple:
        return _parse_items(get_args(base)[0], extras, data, pointer, problems)
    if origin is dict:
        return _parse_mapping(get_args(base)[1], data, pointer, problems)
    if origin in (Union, types.UnionType):
        return _parse_union(get_args(base), data, pointer, problems)
    if base is Any:
        return data
    if dataclasses.is_dataclass(base):
        return _parse_dataclass(cast("type", base), data, pointer, problems)
    return _parse_scalar(cast("type", base), extras, data, pointer, problems)


def _parse_scalar(kind: type, extras: tuple[object, ...], data: JSON, pointer: str, problems: list[Problem]) -> JSON:
    allowed = next((extra for extra in extras if isinstance(extra, Range)), None)
    expected = f"expected {_SCALARS[kind]}" + (f" {allowed}" if allowed else "")
    # bool is a subclass of int, and still no number.
    fitting = type(data) is kind or (kind is float and type(data) is int)
    value = data
    if fitting and kind is float:
        # A JSON integer may lie beyond the floats.
        try:
            value = float(data)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            problems.append(Problem(pointer, f"{expected}, finite; got a number that is not"))
            return None
    if not fitting or (allowed and not allowed.contains(value)):
        problems.append(Problem(pointer, f"{expected}; got {shown(data)}"))
        return None
    return value


def _parse_items(kind: object, extras: tuple[object, ...], data: JSON, pointer: str, problems: list[Problem]) -> object:
    if not isinstance(data, list | tuple):
        problems.append(Problem(pointer, f"expected a list; got {shown(data)}"))
        return None
    for extra in extras:
        if isinstance(extra, Length) and not extra.minimum <= len(data) <= extra.maximum:
            problems.append(Problem(pointer, f"expected {extra.minimum} to {extra.maximum} items; got {len(data)}"))
            return None
    return tuple(_parse(kind, item, f"{pointer}/{index}", problems) for index, item in enumerate(data))


def _parse_mapping(kind: object, data: JSON, pointer: str, problems: list[Problem]) -> object:
    if not isinstance(data, Mapping):
        problems.append(Problem(pointer, f"expected an object; got {shown(data)}"))
        return None
    return {str(name): _parse(kind, item, f"{pointer}/{escape(name)}", problems) for name, item in data.items()}


def _parse_union(choices: tuple[object, ...], data: JSON, pointer: str, problems: list[Problem]) -> object:
    if type(None) in choices and data is None:
        return None
    kinds = [choice for choice in choices if choice is not type(None)]
    if len(kinds) == 1:
        return _parse(kinds[0], data, pointer, problems)
    scalars = [scalar for scalar in _SCALARS if scalar in kinds]
    if scalars:
        kind = next((kind for kind in scalars if type(data) is kind), scalars[0])
        return _parse_scalar(kind, (), data, pointer, problems)
    names = {name: kind for kind in kinds for name in type_names(cast("type", kind))}
    if not isinstance(data, Mapping) or not isinstance(data.get("type"), str):
        problems.append(Problem(pointer, f'expected an object with a "type"; got {shown(data)}'))
        return None
    if data["type"] not in names:
        known = ", ".join(names)
        problems.append(Problem(f"{pointer}/type", f"expected one of {known}; got {shown(data['type'])}"))
        return None
    return _parse(names[data["type"]], data, pointer, problems)


def type_names(kind: type) -> tuple[str, ...]:
    """The values of the `type` field that tell this dataclass from its neighbours in a union."""
    return get_args(_hints(kind)["type"])


def _parse_dataclass(kind: type, data: JSON, pointer: str, problems: list[Problem]) -> object:
    if not isinstance(data, Mapping):
        problems.append(Problem(pointer, f"expected an object; got {shown(data)}"))
        return None
    before = len(problems)
    known = {field.name: (field, hint) for field, hint in fields_of(kind)}
    unknown = f"unknown field; the fields here are {', '.join(known)}"
    others = (name for name in data if name not in known)
    problems += [Problem(f"{pointer}/{escape(name)}", unknown) for name in islice(others, MAX_UNKNOWN)]
    values = {}
    for name, (field, hint) in known.items():
        if name in data:
            values[name] = _parse(hint, data[name], f"{pointer}/{name}", problems)
        elif field.default is dataclasses.MISSING:
            problems.append(Problem(f"{pointer}/{name}", f"missing; expected {_expectation(hint)}"))
    if len(problems) > before:
        return None
    try:
        return kind(**values)
    except ValueError as error:  # what a dataclass says in __post_init__ of fields that do not go together
        problems.append(Problem(pointer, str(error)))
        return None


def _expectation(kind: object) -> str:
    base, extras = _unwrap(kind)
    if get_origin(base) is Literal:
        return f"one of {', '.join(get_args(base))}"
    allowed = next((f" {extra}" for extra in extras if isinstance(extra, Range)), "")
    return _SCALARS.get(cast("type", base), "a list" if get_origin(base) is tuple else "an object") + allowed


def escape(name: object) -> str:
    """One step of a JSON pointer (RFC 6901), cut where a client sends a very long name."""
    return str(name)[:60].replace("~", "~0").replace("/", "~1")
