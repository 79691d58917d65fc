from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from nn import SpecError
from nn.errors import Problem
from nn.schema import Length, Range, escape, json_schema, parse, shown, to_json


@dataclass(frozen=True, kw_only=True)
class Circle:
    """A round thing."""

    type: Literal["circle"] = "circle"
    radius: Annotated[float, Range(above=0, maximum=10)]


@dataclass(frozen=True, kw_only=True)
class Polygon:
    type: Literal["triangle", "square"]
    side: Annotated[int, Range(minimum=1, below=100)] = 1


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What is drawn.

    More of it.
    """

    shapes: Annotated[tuple[Circle | Polygon, ...], Length(1, 3)]
    title: str
    filled: bool = False
    frame: Circle | None = None
    labels: tuple[int | str, ...] = ()
    sizes: dict[str, float] | None = None
    more: Any = None

    def __post_init__(self) -> None:
        if self.title == "nothing":
            raise ValueError("a drawing of nothing has no shapes")


HUGE = pytest.param(-(10**5000), id="5001 digits")  # more than Python turns into text
SMALLEST: dict[str, Any] = {"shapes": [{"type": "square"}], "title": "t"}


def problems(data: object) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        parse(Drawing, data)
    return list(caught.value.problems)


class TestParse:
    def test_fills_in_defaults(self) -> None:
        assert parse(Drawing, SMALLEST) == Drawing(shapes=(Polygon(type="square"),), title="t")

    def test_reads_every_kind_of_field(self) -> None:
        data = {
            "shapes": [{"type": "circle", "radius": 2}, {"radius": 0.5, "type": "circle"}, {"type": "triangle"}],
            "title": "Ünï",
            "filled": True,
            "frame": {"radius": 10},
            "labels": [1, "a", 2],
            "sizes": {"a": 1, "b": 2.5},
            "more": {"any": ["thing"]},
        }
        drawing = parse(Drawing, data)
        assert drawing.shapes == (Circle(radius=2), Circle(radius=0.5), Polygon(type="triangle"))
        assert drawing.labels == (1, "a", 2)
        assert drawing.sizes == {"a": 1.0, "b": 2.5}
        assert isinstance(drawing.shapes[0], Circle)
        assert isinstance(drawing.shapes[0].radius, float)

    def test_what_to_json_writes_is_read_back(self) -> None:
        drawing = parse(Drawing, {**SMALLEST, "frame": {"radius": 1}, "labels": ["a", 1], "sizes": {"x": 1}})
        written = json.loads(json.dumps(to_json(drawing)))
        assert written["shapes"] == [{"type": "square", "side": 1}]
        assert parse(Drawing, written) == drawing

    @pytest.mark.parametrize(
        ("change", "pointer", "detail"),
        [
            ({"title": 5}, "title", "expected a string; got 5"),
            ({"title": None}, "title", "expected a string; got null"),
            ({"filled": 1}, "filled", "expected true or false; got 1"),
            ({"shapes": []}, "shapes", "expected 1 to 3 items; got 0"),
            ({"shapes": [{"type": "square"}] * 4}, "shapes", "expected 1 to 3 items; got 4"),
            ({"shapes": {}}, "shapes", "expected a list; got {}"),
            ({"shapes": "square"}, "shapes", "expected a list; got 'square'"),
            ({"shapes": ["square"]}, "shapes/0", """expected an object with a "type"; got 'square'"""),
            ({"shapes": [{"side": 1}]}, "shapes/0", """expected an object with a "type"; got {'side': 1}"""),
            (
                {"shapes": [{"type": "star"}]},
                "shapes/0/type",
                "expected one of circle, triangle, square; got 'star'",
            ),
            (
                {"shapes": [{"type": "circle"}]},
                "shapes/0/radius",
                "missing; expected a number above 0 and at most 10",
            ),
            ({"frame": {"type": "square", "radius": 1}}, "frame/type", "expected one of circle; got 'square'"),
            ({"frame": 3}, "frame", "expected an object; got 3"),
            ({"labels": [1.5]}, "labels/0", "expected a whole number; got 1.5"),
            ({"labels": [True]}, "labels/0", "expected a whole number; got true"),
            ({"sizes": {"a/b": "x"}}, "sizes/a~1b", "expected a number; got 'x'"),
            ({"sizes": [1]}, "sizes", "expected an object; got [1]"),
            ({"sizes": {"a": math.nan}}, "sizes/a", "expected a number, finite; got a number that is not"),
            ({"sizes": {"a": 10**400}}, "sizes/a", "expected a number, finite; got a number that is not"),
            (
                {"colour": 1},
                "colour",
                "unknown field; the fields here are shapes, title, filled, frame, labels, sizes, more",
            ),
        ],
    )
    def test_refuses_with_pointer_and_reason(self, change: dict[str, Any], pointer: str, detail: str) -> None:
        assert problems({**SMALLEST, **change}) == [Problem(f"#/{pointer}", detail)]

    @pytest.mark.parametrize("data", [None, [], "drawing", 1, True])
    def test_refuses_what_is_no_object(self, data: object) -> None:
        (problem,) = problems(data)
        assert problem.pointer == "#"
        assert problem.detail.startswith("expected an object; got ")

    def test_tells_all_problems_at_once(self) -> None:
        found = problems({"shapes": [{"type": "circle", "radius": 0}, {"type": "square", "side": 0}], "filled": 0})
        assert [problem.pointer for problem in found] == ["#/shapes/0/radius", "#/shapes/1/side", "#/title", "#/filled"]

    def test_tells_of_fields_that_do_not_go_together(self) -> None:
        assert problems({**SMALLEST, "title": "nothing"}) == [Problem("#", "a drawing of nothing has no shapes")]

    @pytest.mark.parametrize("side", [0, -1, 100, HUGE, 1.0, 2.5, True, "1", None, math.nan, [1]])
    def test_a_whole_number_is_neither_coerced_nor_out_of_range(self, side: object) -> None:
        (problem,) = problems({**SMALLEST, "shapes": [{"type": "square", "side": side}]})
        assert problem.pointer == "#/shapes/0/side"
        assert problem.detail.startswith("expected a whole number at least 1 and below 100; got ")

    @pytest.mark.parametrize(
        "radius", [0, -1.5, 10.001, True, "1", None, [1], math.nan, math.inf, json.loads("1e400"), 10**400, HUGE]
    )
    def test_a_number_is_finite_and_in_range(self, radius: object) -> None:
        (problem,) = problems({**SMALLEST, "frame": {"radius": radius}})
        assert problem.pointer == "#/frame/radius"
        assert problem.detail.startswith("expected a number above 0 and at most 10")

    @pytest.mark.parametrize("radius", [10, 10.0, 5e-324])
    def test_bounds(self, radius: float) -> None:
        frame = parse(Drawing, {**SMALLEST, "frame": {"radius": radius}}).frame
        assert frame is not None
        assert frame.radius == radius


class TestShown:
    @pytest.mark.parametrize(
        ("value", "text"),
        [(True, "true"), (False, "false"), (None, "null"), (1, "1"), (0.5, "0.5"), ("a", "'a'"), ([1], "[1]")],
    )
    def test_in_json_s_words(self, value: object, text: str) -> None:
        assert shown(value) == text

    def test_anything_is_shown_in_at_most_60_characters(self) -> None:
        nested: list[Any] = []
        for _ in range(10_000):
            nested = [nested]
        for value in ("x" * 100, list(range(1000)), 10**400, 10**5000, nested):
            assert len(shown(value)) <= 60


def test_escape_is_a_step_of_a_json_pointer() -> None:
    assert escape("a/b~c") == "a~1b~0c"
    assert len(escape("x" * 1000)) == 60


def test_json_schema_says_what_parse_accepts() -> None:
    circle = {
        "type": "object",
        "title": "Circle",
        "description": "A round thing.",
        "properties": {
            "type": {"type": "string", "enum": ["circle"], "default": "circle"},
            "radius": {"type": "number", "exclusiveMinimum": 0, "maximum": 10},
        },
        "required": ["radius"],
        "additionalProperties": False,
    }
    schema = json_schema(Drawing)
    json.dumps(schema, allow_nan=False)
    assert schema["required"] == ["shapes", "title"]
    assert schema["description"] == "What is drawn."
    assert schema["properties"]["shapes"] | {"items": None} == {
        "type": "array",
        "minItems": 1,
        "maxItems": 3,
        "items": None,
    }
    assert schema["properties"]["shapes"]["items"]["anyOf"][0] == circle | {"required": ["type", "radius"]}
    assert schema["properties"]["frame"] == {"anyOf": [circle, {"type": "null"}], "default": None}
    assert schema["properties"]["filled"] == {"type": "boolean", "default": False}
    assert schema["properties"]["labels"] == {
        "type": "array",
        "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "default": [],
    }
    assert schema["properties"]["sizes"]["anyOf"][0] == {"type": "object", "additionalProperties": {"type": "number"}}
    assert schema["properties"]["more"] == {"default": None}
    side = schema["properties"]["shapes"]["items"]["anyOf"][1]["properties"]["side"]
    assert side == {"type": "integer", "minimum": 1, "exclusiveMaximum": 100, "default": 1}
