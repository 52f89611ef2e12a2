"""What a signature promises is what is checked: schema and decoder agree, and errors name the argument."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, TypedDict, Union

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpcore.errors import SchemaError
from mcpcore.schema import (
    MAX_FAULT_CHARACTERS,
    MAX_NAMES,
    Arguments,
    InvalidArguments,
    InvalidOutput,
    arguments_of,
    output_of,
)
from mcpcore.types import CallToolResult, ContentBlock, ImageContent, TextContent

if TYPE_CHECKING:
    from nowhere import Missing


class Injected:
    """Stands for the context."""


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class City(msgspec.Struct):
    name: str
    people: int = 0


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    x: int


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    tricks: list[str]


class Tree(msgspec.Struct):
    children: list[Tree] = []


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


class Options(TypedDict, total=False):
    depth: int
    colour: Colour


def read(fn: Callable[..., Any]) -> Arguments:
    arguments = arguments_of(fn, injected_type=Injected)
    jsonschema.Draft202012Validator.check_schema(arguments.schema)
    return arguments


def agrees(arguments: Arguments, value: Any) -> bool:
    """Whether schema and decoder accept a value, having checked that they agree and that both inputs do."""
    accepted = jsonschema.Draft202012Validator(arguments.schema).is_valid(value)
    results = []
    for raw in (msgspec.json.encode(value), msgspec.Raw(msgspec.json.encode(value)), value):
        try:
            results.append(arguments.decode(raw))
        except InvalidArguments:
            assert not accepted, f"the schema accepts {value!r}, the decoder does not"
        else:
            assert accepted, f"the decoder accepts {value!r}, the schema does not"
    assert all(result == results[0] for result in results)
    return accepted


def refusal(fn: Callable[..., Any], raw: Any) -> str:
    with pytest.raises(InvalidArguments) as caught:
        read(fn).decode(raw)
    return str(caught.value)


def unusable(fn: Callable[..., Any]) -> str:
    with pytest.raises(SchemaError) as caught:
        arguments_of(fn, injected_type=Injected)
    return str(caught.value)


def test_the_schema_of_a_plain_signature() -> None:
    def tool(
        path: Annotated[str, "where to read"],
        count: Annotated[int, msgspec.Meta(ge=1, description="how many")] = 3,
        *,
        city: Annotated[City, "the city"],
        colours: list[Colour] = [Colour.RED],  # noqa: B006
        anything=None,  # type: ignore[no-untyped-def]
    ) -> None: ...

    schema = read(tool).schema
    definitions = schema.pop("$defs")
    assert schema == {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "where to read"},
            "count": {"type": "integer", "minimum": 1, "description": "how many", "default": 3},
            "city": {"$ref": "#/$defs/City", "description": "the city"},
            "colours": {"type": "array", "items": {"$ref": "#/$defs/Colour"}, "default": ["red"]},
            "anything": {"default": None},
        },
        "required": ["path", "city"],
        "additionalProperties": False,
    }
    assert set(definitions) == {"City", "Colour"}


def test_no_parameters_take_an_empty_object() -> None:
    def tool() -> None: ...

    arguments = read(tool)
    assert arguments.schema == {"type": "object", "properties": {}, "additionalProperties": False}
    assert arguments.decode(None) == arguments.decode(b"{}") == {}


def test_a_default_of_none_takes_null_and_keeps_the_description() -> None:
    def tool(a: Annotated[str, "first"] | None = None, b: Annotated[str, "second"] = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert agrees(read(tool), {"a": None, "b": None})
    properties = read(tool).schema["properties"]
    assert (properties["a"]["description"], properties["b"]["description"]) == ("first", "second")


def test_a_default_that_json_cannot_express_is_kept_but_not_shown() -> None:
    marker = object()

    def tool(a: Any = marker, b: float = float("inf")) -> None: ...

    arguments = read(tool)
    assert arguments.schema["properties"] == {"a": {}, "b": {"type": "number"}}
    assert arguments.decode(None) == {"a": marker, "b": float("inf")}


def test_a_mutable_default_is_fresh_for_every_call() -> None:
    def tool(items: list[list[int]] = [[1]], empty: dict[str, int] = {}) -> None: ...  # noqa: B006

    arguments = read(tool)
    first = arguments.decode(None)
    first["items"][0].append(2)
    first["empty"]["a"] = 1
    assert arguments.decode(b"{}") == {"items": [[1]], "empty": {}}


def test_two_classes_of_one_name_stay_apart() -> None:
    other = msgspec.defstruct("City", [("zip", int)], module="elsewhere")

    def tool(a: City, b: other) -> None: ...  # type: ignore[valid-type]

    arguments = read(tool)
    assert len(arguments.schema["$defs"]) == 2
    assert agrees(arguments, {"a": {"name": "x"}, "b": {"zip": 1}})
    assert not agrees(arguments, {"a": {"zip": 1}, "b": {"zip": 1}})


CASES: list[tuple[Any, list[Any], list[Any]]] = [
    (str, ["", "x"], [1, None, ["x"], {}]),
    (int, [0, -1, 2.0, 10**30], ["1", 1.5, True, None]),
    (float, [0, 1.5, -2], ["1", False, None]),
    (bool, [True, False], [0, 1, "true", None]),
    (Any, [None, 1, "x", [1.5, {"a": None}]], []),
    (None, [None], [0, ""]),
    (Optional[int], [None, 1, 3.0], ["x", 1.5]),  # noqa: UP045
    (int | str, [1, "x"], [None, 1.5, []]),
    (Union[int, list[int], None], [1, [1, 2.0], None], ["x", ["x"]]),  # noqa: UP007
    (Literal[1, "b", None], [1, "b", None], ["c", 2]),
    (Colour, ["red"], ["RED", "green", 1]),
    (Size, [1, 2], [3, "SMALL", None]),
    (City, [{"name": "x"}, {"name": "x", "people": 2.0, "more": 1}], [{}, {"name": 1}, "x", []]),
    (Strict, [{"x": 1}], [{"x": 1, "y": 2}, {}]),
    (Point, [{"x": 1}, {"x": 1, "y": 2}], [{}, {"x": 1.5}, {"x": 1, "y": "2"}]),
    (Options, [{}, {"depth": 1}, {"colour": "red", "more": 1}], [{"depth": "1"}, {"colour": "x"}]),
    (Cat | Dog, [{"type": "Cat", "lives": 9}, {"type": "Dog", "tricks": []}], [{"type": "Cow"}, {"type": "Dog"}]),
    (Tree, [{}, {"children": [{"children": []}]}], [{"children": [1]}, []]),
    (list[int], [[], [1, 2]], [["x"], {}, "x", None]),
    (dict[str, list[int]], [{}, {"a": [1]}], [{"a": 1}, {"a": ["x"]}, []]),
    (tuple[int, str], [[1, "a"]], [[1], [1, "a", 2], ["a", 1]]),
    (tuple[int, ...], [[], [1, 2]], [["a"]]),
    (set[int], [[], [1, 2]], [["a"], {}]),
    (Annotated[str, msgspec.Meta(min_length=2, max_length=3, pattern="^a")], ["ab", "aéü"], ["a", "abcd", "ba"]),
    (Annotated[int, msgspec.Meta(gt=1, le=5)], [2, 5, 5.0], [1, 6]),
    (Annotated[list[int], msgspec.Meta(max_length=1)], [[], [1]], [[1, 2]]),
]


@pytest.mark.parametrize(("annotation", "good", "bad"), CASES, ids=[str(case[0]) for case in CASES])
def test_schema_and_decoder_accept_the_same_values(annotation: Any, good: list[Any], bad: list[Any]) -> None:
    def tool(value) -> None: ...  # type: ignore[no-untyped-def]

    tool.__annotations__ = {"value": annotation}
    arguments = read(tool)
    assert [value for value in good if not agrees(arguments, {"value": value})] == []
    assert [value for value in bad if agrees(arguments, {"value": value})] == []
    assert not agrees(arguments, {})
    assert not agrees(arguments, {"value": good[0], "other": 1})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcxy") | st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)


def everything(
    a: int,
    b: str | float | None = None,
    c: dict[str, list[int]] | None = None,
    x: Point | None = None,
    y: list[Literal["a", 1]] | bool = False,
) -> None: ...


EVERYTHING = arguments_of(everything, injected_type=Injected)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcxy"), json_values, max_size=5) | json_values)
def test_schema_and_decoder_agree_on_any_json(value: Any) -> None:
    if isinstance(value, dict):
        agrees(EVERYTHING, value)
    elif value is not None:  # null reads as absent, which no schema describes
        with pytest.raises(InvalidArguments):
            EVERYTHING.decode(msgspec.json.encode(value))


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_arguments_or_invalid_arguments(raw: bytes) -> None:
    try:
        outcome = sorted(EVERYTHING.decode(raw))
    except InvalidArguments as error:
        outcome = str(error).split(" ")
    assert outcome == list("abcxy") or {"argument", "arguments", "arguments:"} & set(outcome)


def test_typed_values_come_out() -> None:
    def tool(
        when: datetime.datetime, day: datetime.date, id: uuid.UUID, price: Decimal, data: bytes, by_id: dict[int, Point]
    ) -> None: ...

    arguments = read(tool)
    one = "12345678-1234-5678-1234-567812345678"
    value: dict[str, Any] = {"when": "2026-07-28T10:00:00Z", "day": "2026-07-28", "id": one, "price": "1.10"}
    value |= {"data": "YWJj", "by_id": {"7": {"x": 1}}}
    assert agrees(arguments, value)
    decoded = arguments.decode(value)
    assert decoded == {
        "when": datetime.datetime(2026, 7, 28, 10, tzinfo=datetime.UTC),
        "day": datetime.date(2026, 7, 28),
        "id": uuid.UUID(one),
        "price": Decimal("1.10"),
        "data": b"abc",
        "by_id": {7: Point(1)},
    }
    assert str(decoded["price"]) == "1.10"
    for name in value:
        with pytest.raises(InvalidArguments, match=f"argument `{name}"):
            arguments.decode(value | {name: "?"})


def test_whole_floats_are_integers_wherever_they_stand() -> None:
    def tool(n: int, xs: list[int], f: float, size: Size, mixed: int | float = 0) -> None: ...

    decoded = read(tool).decode(b'{"n": 1.0, "xs": [2.0, 3], "f": 4.0, "size": 2.0}')
    assert decoded == {"n": 1, "xs": [2, 3], "f": 4.0, "size": Size.LARGE, "mixed": 0}
    assert [type(decoded["n"]), type(decoded["xs"][0]), type(decoded["f"])] == [int, int, float]


def copy(
    path: str,
    count: int = 1,
    *,
    deep: bool = False,
    points: list[Point] | None = None,
    names: dict[str, int] | None = None,
    ids: dict[int, int] | None = None,
) -> None: ...


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (None, "missing argument `path`"),
        (msgspec.Raw(), "missing argument `path`"),
        (b" null ", "missing argument `path`"),
        (b"{}", "missing argument `path`"),
        ({}, "missing argument `path`"),
        (b'{"path": 1}', "argument `path`: expected `str`, got `int`"),
        (b'{"path": "x", "count": "1"}', "argument `count`: expected `int`, got `str`"),
        (b'{"path": "x", "count": 1.5}', "argument `count`: expected `int`, got `float`"),
        ({"path": "x", "count": "1"}, "argument `count`: expected `int`, got `str`"),
        (b'{"path": "x", "points": [{"x": 1}, {}]}', "argument `points[1]`: object missing required field `x`"),
        (b'{"path": "x", "names": {"a": null}}', "argument `names[...]`: expected `int`, got `null`"),
        (b'{"pth": "x"}', "missing argument `path`; unknown argument `pth` (did you mean `path`?)"),
        (b'{"path": "x", "dep": 1, "zzz": 2}', "unknown arguments `dep` (did you mean `deep`?), `zzz`"),
        (b'{"path": "x", "ids": {"y": 1}}', "argument `ids`, a key: expected `int`, got `str`"),
        (b"[1]", "the arguments: expected `object`, got `array`"),
        (b'{"path": "x"', "the arguments are not valid JSON: Input data was truncated"),
        (b'{"path": "\xff"}', "the arguments are not valid UTF-8"),
        (b'{"\xff": 1}', "the arguments are not valid UTF-8"),
    ],
)
def test_a_refusal_names_the_argument(raw: Any, text: str) -> None:
    assert refusal(copy, raw) == text


def test_every_missing_argument_is_named() -> None:
    def tool(a: int, b: int, c: int = 0) -> None: ...

    assert refusal(tool, b'{"c": 1}') == refusal(tool, None).replace("`c`", "") == "missing arguments `a`, `b`"


@pytest.mark.parametrize("make", [lambda raw: raw, msgspec.Raw, json.loads])
def test_depth_is_refused_and_not_a_crash(make: Callable[[bytes], Any]) -> None:
    def tool(value: Any, n: int) -> None: ...

    depth = 10_000 if make is not json.loads else 400
    raw = b'{"value": ' + b"[" * depth + b"]" * depth + b', "n": "x"}'
    text = refusal(tool, make(raw))
    assert text == (
        "the arguments are nested too deeply" if depth == 10_000 else "argument `n`: expected `int`, got `str`"
    )


def test_a_message_is_bounded_whatever_the_peer_sends() -> None:
    def tool(colour: Colour) -> None: ...

    assert len(refusal(tool, {"colour": "x" * 100_000})) < MAX_FAULT_CHARACTERS + 100
    many = refusal(tool, {f"{i}\n`{'x' * 1000}": 1 for i in range(1000)})
    assert "and 990 more" in many
    assert len(many) < 100 * MAX_NAMES
    assert "\n" not in many


def test_the_context_is_injected_and_not_published() -> None:
    def plain(a: int, ctx: Injected) -> None: ...
    def optional(a: int, ctx: Injected | None = None) -> None: ...
    def annotated(a: int, ctx: Annotated[Injected, "x"]) -> None: ...
    def none(a: int) -> None: ...

    for fn, name in ((plain, "ctx"), (optional, "ctx"), (annotated, "ctx"), (none, None)):
        arguments = read(fn)
        assert arguments.injected == name
        assert list(arguments.schema["properties"]) == ["a"]
        assert arguments.decode(b'{"a": 1}') == {"a": 1}
    assert refusal(plain, {"a": 1, "ctx": 2}) == "unknown argument `ctx`"


@pytest.mark.parametrize("text", ["Context", "lib.Context", "Context | None", "Optional[Context]", "Context[int]"])
def test_a_context_imported_for_checkers_only_is_found(text: str) -> None:
    def tool(a: int, ctx) -> None: ...  # type: ignore[no-untyped-def]

    tool.__annotations__["ctx"] = text
    fake = type("Context", (), {})
    assert arguments_of(tool, injected_type=fake).injected == "ctx"
    tool.__annotations__["ctx"] = text.replace("Context", "Contexts")
    with pytest.raises(SchemaError, match="`ctx`"):
        arguments_of(tool, injected_type=fake)


class Service:
    def method(self, a: int, b: City) -> list[int]: ...  # type: ignore[empty-body]
    def __call__(self, a: int, b: City) -> list[int]: ...  # type: ignore[empty-body]

    @classmethod
    def made(cls, a: int, b: City) -> list[int]: ...  # type: ignore[empty-body]


def wrapped(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return inner


def free(extra: str, a: int, b: City, *, key: str = "x") -> list[int]: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    "fn",
    [
        Service().method,
        Service(),
        Service.made,
        wrapped(Service().method),
        functools.partial(free, "x", key="a secret"),
    ],
)
def test_methods_partials_and_callable_objects(fn: Callable[..., Any]) -> None:
    arguments = read(fn)
    assert list(arguments.schema["properties"]) == ["a", "b"]
    assert arguments.decode(b'{"a": 1, "b": {"name": "x"}}') == {"a": 1, "b": City("x")}
    assert output_of(fn).wrapped


def test_local_classes_are_resolved_from_the_enclosing_function() -> None:
    class Inner(msgspec.Struct):
        x: int

    def tool(a: Inner, b: list[Inner]) -> Inner: ...  # type: ignore[empty-body]

    assert read(tool).decode({"a": {"x": 1}, "b": []}) == {"a": Inner(1), "b": []}
    assert output_of(tool).schema["properties"] == {"x": {"type": "integer"}}  # type: ignore[index]


def test_a_local_class_of_a_finished_function_is_found_in_the_closure_or_refused_by_name() -> None:
    def make(captured: bool) -> Callable[..., Any]:
        class Inner(msgspec.Struct):
            x: int

        def with_closure(a: Inner) -> None:
            Inner(1)

        def without(a: Inner) -> None: ...

        return with_closure if captured else without

    assert "Inner" in read(make(True)).schema["$defs"]
    assert "parameter `a`" in unusable(make(False))
    assert "'Inner'" in unusable(make(False))


def test_what_cannot_be_published_is_refused_by_name() -> None:
    def positional(a: int, /) -> None: ...
    def many(*paths: str) -> None: ...
    def keywords(a: int, **rest: int) -> None: ...
    def custom(a: int, b: Injected | list[Service]) -> None: ...
    def ambiguous(a: int, b: City | Point) -> None: ...
    def unresolved(a: int, b: Missing) -> None: ...
    def twice(a: Injected, b: Injected) -> None: ...
    def nonsense(a: int, b: 5) -> None: ...  # type: ignore[valid-type]

    assert "`a`" in unusable(positional)
    assert "remove the `/`" in unusable(positional)
    assert "`paths`" in unusable(many)
    assert "`rest`" in unusable(keywords)
    for fn in (custom, ambiguous, unresolved, twice, nonsense):
        assert f"parameter `b` of {fn.__qualname__}()" in unusable(fn)
    assert "TYPE_CHECKING" in unusable(unresolved)


def returning(annotation: Any) -> Callable[..., Any]:
    def tool() -> None: ...

    tool.__annotations__["return"] = annotation
    return tool


NOTHING: list[Any] = [None, Any, object, Any | None, TextContent, ContentBlock, CallToolResult]
NOTHING += [Optional[ImageContent], CallToolResult | dict[str, int], list[ContentBlock]]  # noqa: UP045
NOTHING += [list[str | ImageContent], Sequence[TextContent], tuple[str, ImageContent], Annotated[TextContent, "x"]]


@pytest.mark.parametrize("annotation", NOTHING, ids=str)
def test_content_and_nothing_promise_no_structure(annotation: Any) -> None:
    output = output_of(returning(annotation))
    assert (output.schema, output.wrapped, output.streaming) == (None, False, False)
    assert output.structured({"a": 1}) is msgspec.UNSET


@pytest.mark.parametrize(
    ("annotation", "value", "content"),
    [
        (dict[str, int], {"a": 1}, {"a": 1}),
        (dict, {"a": 1}, {"a": 1}),
        (dict[int, str], {1: "a"}, {"1": "a"}),
        (City, City("x"), {"name": "x", "people": 0}),
        (Point, Point(1), {"x": 1, "y": 0.5}),
        (Options, {"colour": Colour.RED}, {"colour": "red"}),
        (Tree, Tree([Tree()]), {"children": [{"children": []}]}),
        (Annotated[City, "x"], City("x"), {"name": "x", "people": 0}),
        (Awaitable[City], City("x"), {"name": "x", "people": 0}),
    ],
    ids=str,
)
def test_objects_are_structured_as_they_are(annotation: Any, value: Any, content: Any) -> None:
    output = output_of(returning(annotation))
    assert not output.wrapped
    check_output(output.schema, output.structured(value), content)


@pytest.mark.parametrize(
    ("annotation", "value", "result"),
    [
        (str, "x", "x"),
        (int, 1, 1),
        (Decimal, Decimal("1.0"), "1.0"),
        (datetime.date, datetime.date(2026, 7, 28), "2026-07-28"),
        (list[City], [City("x")], [{"name": "x", "people": 0}]),
        (list[Any], [1, None], [1, None]),
        (set[int], {1}, [1]),
        (tuple[int, City], (1, City("x")), [1, {"name": "x", "people": 0}]),
        (Optional[City], None, None),  # noqa: UP045
        (Cat | Dog, Cat(9), {"type": "Cat", "lives": 9}),
        (Colour, Colour.RED, "red"),
    ],
    ids=str,
)
def test_everything_else_is_wrapped(annotation: Any, value: Any, result: Any) -> None:
    output = output_of(returning(annotation))
    assert output.wrapped
    check_output(output.schema, output.structured(value), {"result": result})


def check_output(schema: dict[str, Any] | None, content: Any, expected: Any) -> None:
    assert schema is not None
    assert schema["type"] == "object"
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(content)
    assert content == expected


def test_a_streaming_function_promises_the_list_of_its_items() -> None:
    async def strings() -> AsyncIterator[str]:
        yield "x"

    async def cities() -> AsyncGenerator[City, None]:
        yield City("x")

    async def blocks() -> AsyncIterator[TextContent]:
        yield TextContent(text="x")

    async def untyped():  # type: ignore[no-untyped-def]
        yield 1

    assert output_of(strings).schema == {
        "type": "object",
        "properties": {"result": {"type": "array", "items": {"type": "string"}}},
        "required": ["result"],
    }
    assert output_of(cities).structured([City("x")]) == {"result": [{"name": "x", "people": 0}]}
    assert output_of(blocks).schema is output_of(untyped).schema is output_of(lambda: 1).schema is None
    assert all(output_of(fn).streaming for fn in (strings, cities, blocks, untyped))
    assert not output_of(returning(list[str])).streaming


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (dict[str, int], {"a": "x"}),
        (City, {"nam": "x"}),
        (list[int], [1, "x"]),
        (str, None),
        (int, Injected()),
        (float, float("nan")),
    ],
    ids=str,
)
def test_a_result_that_breaks_its_promise_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(InvalidOutput, match="return annotation"):
        output_of(returning(annotation)).structured(value)


def test_a_return_annotation_without_a_schema_is_refused() -> None:
    def tool() -> Missing: ...  # type: ignore[name-defined]

    with pytest.raises(SchemaError, match="the return annotation of"):
        output_of(returning(Injected))
    with pytest.raises(SchemaError, match="TYPE_CHECKING"):
        output_of(tool)
