"""A form is what the published schemas allow, and what comes back from it is checked and typed."""

import dataclasses
import datetime
import enum
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Optional, TypedDict

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpcore.errors import SchemaError
from mcpcore.forms import InvalidForm, check_form, check_form_schema, form_of, read_form


class Status(enum.Enum):
    ACTIVE = "active"
    IN_REVIEW = "in-review"


class Colour(enum.StrEnum):
    RED = "#f00"
    DEEP_BLUE = "#008"


class Plan(enum.Enum):
    FREE = "free"
    PAID = "paid"

    @property
    def title(self) -> str:
        return f"{self.value}, per month"


class Level(enum.IntEnum):
    LOW = 1


class Inner(msgspec.Struct):
    x: int


class Trip(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=2, max_length=8, title="Name", description="who", pattern="^[A-Z]")]
    mail: Annotated[str, msgspec.Meta(extra_json_schema={"format": "email"})]
    day: datetime.date
    age: Annotated[int, msgspec.Meta(gt=17, lt=121)] = 30
    score: Annotated[float, msgspec.Meta(ge=0, le=100)] = 95.5
    verified: bool = True
    at: datetime.datetime | None = None
    status: Status = Status.ACTIVE
    colour: Colour | None = None
    plan: Plan = Plan.FREE
    meal: Literal["veg", "fish", "meat"] = "fish"
    colours: Annotated[list[Colour], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=lambda: [Colour.RED])
    extras: set[Literal["wifi", "bed"]] = set()
    note: str | None = None


TRIP = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 8, "title": "Name", "description": "who"},
        "mail": {"type": "string", "format": "email"},
        "day": {"type": "string", "format": "date"},
        "age": {"type": "integer", "minimum": 18, "maximum": 120, "default": 30},
        "score": {"type": "number", "minimum": 0, "maximum": 100, "default": 95.5},
        "verified": {"type": "boolean", "default": True},
        "at": {"type": "string", "format": "date-time"},
        "status": {"type": "string", "enum": ["active", "in-review"], "default": "active"},
        "colour": {
            "type": "string",
            "oneOf": [{"const": "#f00", "title": "Red"}, {"const": "#008", "title": "Deep blue"}],
        },
        "plan": {
            "type": "string",
            "oneOf": [{"const": "free", "title": "free, per month"}, {"const": "paid", "title": "paid, per month"}],
            "default": "free",
        },
        "meal": {"type": "string", "enum": ["veg", "fish", "meat"], "default": "fish"},
        "colours": {
            "type": "array",
            "items": {"anyOf": [{"const": "#f00", "title": "Red"}, {"const": "#008", "title": "Deep blue"}]},
            "minItems": 1,
        },
        "extras": {"type": "array", "items": {"type": "string", "enum": ["wifi", "bed"]}},
        "note": {"type": "string"},
    },
    "required": ["name", "mail", "day"],
}
FILLED = {"name": "Ada", "mail": "a@b.c", "day": "2026-07-28"}


def with_field(prop: Any, **root: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"f": prop}, **root}


# --- making a form ---------------------------------------------------------------------------------------------------


def test_the_form_of_a_struct() -> None:
    form = form_of(Trip)
    assert form == TRIP
    assert list(form["properties"]) == list(TRIP["properties"])  # type: ignore[call-overload]
    jsonschema.Draft202012Validator.check_schema(form)


@pytest.mark.parametrize("field", TRIP["properties"])
def test_every_field_is_one_of_the_shapes_that_mcp_names(field: str) -> None:
    """Each shape by hand from MCP 2025-11-25, `PrimitiveSchemaDefinition`: the keywords that it has."""
    shapes = [
        {"type", "title", "description", "minLength", "maxLength", "format", "default"},
        {"type", "title", "description", "minimum", "maximum", "default"},
        {"type", "title", "description", "enum", "default"},
        {"type", "title", "description", "oneOf", "default"},
        {"type", "title", "description", "minItems", "maxItems", "items", "default"},
    ]
    assert any(form_of(Trip)["properties"][field].keys() <= shape for shape in shapes)


def test_a_dataclass_and_a_typed_dict_keep_their_order() -> None:
    @dataclasses.dataclass
    class Data:
        b: str
        a: int = 1

    class Dict(TypedDict, total=False):
        b: str
        a: int

    properties = {"b": {"type": "string"}, "a": {"type": "integer"}}
    assert form_of(Dict) == {"type": "object", "properties": properties}
    assert list(form_of(Dict)["properties"]) == list(form_of(Data)["properties"]) == ["b", "a"]
    assert form_of(Data)["required"] == ["b"]
    assert read_form(Data, {"b": "x"}) == Data("x", 1)
    assert read_form(Dict, {"a": 2}) == {"a": 2}


def test_a_field_that_takes_none_may_be_left_empty() -> None:
    class Form(msgspec.Struct):
        a: Optional[int]  # noqa: UP045
        b: Literal["x", None]

    assert form_of(Form) == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "string", "enum": ["x"]}},
    }
    assert read_form(Form, {}) == read_form(Form, {"a": None}) == Form(None, None)


@pytest.mark.parametrize(
    "annotation",
    [
        Inner,
        dict[str, str],
        list[str],
        list[int],
        list[list[str]],
        tuple[str, str],
        int | str,
        Level,
        Literal[1, 2],
        bytes,
        datetime.time,
        Any,
        None,
        object,
        list[Level],
        Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})],
        Annotated[str, msgspec.Meta(extra_json_schema={"x-secret": True})],
    ],
    ids=str,
)
def test_a_field_that_no_form_can_ask_for_is_named(annotation: Any) -> None:
    with pytest.raises(SchemaError, match="field `wrong`"):
        form_of(msgspec.defstruct("Form", [("right", int), ("wrong", annotation)]))


@pytest.mark.parametrize("type_", [int, list[Trip], Trip | None, Trip | Inner, Status, "Trip", None], ids=str)
def test_what_has_no_fields_is_no_form(type_: Any) -> None:
    with pytest.raises(SchemaError):
        form_of(type_)


@pytest.mark.parametrize(
    "prop",
    [
        {"type": "string", "enum": ["a"], "enumNames": ["A"], "default": "a"},
        {"type": "string", "oneOf": [{"const": "a", "title": "A"}]},
        {"type": "array", "items": {"type": "string", "enum": ["a"]}, "default": ["a"], "minItems": 0, "maxItems": 1},
        {"type": "array", "items": {"anyOf": [{"const": "a", "title": "A"}]}},
        {"type": "string", "format": "uri", "default": "https://example.org"},
        {"type": "number", "default": 1},
    ],
)
def test_a_dict_that_is_a_form_is_passed_through(prop: dict[str, Any]) -> None:
    schema = with_field(prop, required=["f"])
    assert form_of(schema) == schema


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "object"}, "properties"),
        ({"properties": {}}, "type"),
        ({"type": "object", "properties": {}, "$defs": {}}, r"\$defs"),
        ({"type": "object", "properties": {}, "required": ["g"]}, "`g`"),
        ({"type": "object", "properties": {}, "required": "g"}, "required"),
        (with_field(True), "`f`"),
        (with_field({}), "`f`"),
        (with_field({"type": ["string", "null"]}), "`f`"),
        (with_field({"type": "object", "properties": {}}), "`f`"),
        (with_field({"type": "string", "pattern": "a"}), "`pattern`"),
        (with_field({"type": "boolean", "minimum": 1}), "`minimum`"),
        (with_field({"type": "string", "format": "password"}), "password"),
        (with_field({"type": "string", "enum": [1]}), "`f`"),
        (with_field({"type": "string", "oneOf": ["a"]}), "`f`"),
        (with_field({"type": "string", "enum": ["a"], "enumNames": []}), "enumNames"),
        (with_field({"type": "array"}), "`f`"),
        (with_field({"type": "array", "items": {"type": "string"}}), "`f`"),
        (with_field({"type": "integer", "default": "x"}), "default of field `f`"),
        (with_field({"type": "string", "enum": ["a"], "default": "b"}), "default of field `f`"),
    ],
    ids=str,
)
def test_a_dict_that_is_no_form_is_refused(schema: dict[str, Any], named: str) -> None:
    with pytest.raises(SchemaError, match=named):
        check_form_schema(schema)
    with pytest.raises(SchemaError, match=named):
        form_of(schema)


# --- what was filled in ----------------------------------------------------------------------------------------------


def test_defaults_fill_what_was_omitted() -> None:
    assert check_form(TRIP, FILLED | {"verified": False, "at": None, "unasked": {"a": 1}}) == FILLED | {
        "age": 30,
        "score": 95.5,
        "verified": False,
        "status": "active",
        "plan": "free",
        "meal": "fish",
    }


def test_content_becomes_an_instance() -> None:
    content = FILLED | {"age": 40.0, "score": 1, "colour": "#008", "extras": ["bed"], "at": "2026-07-28T10:00:00Z"}
    assert read_form(Trip, content) == Trip(
        name="Ada",
        mail="a@b.c",
        day=datetime.date(2026, 7, 28),
        age=40,
        score=1.0,
        colour=Colour.DEEP_BLUE,
        extras={"bed"},
        at=datetime.datetime(2026, 7, 28, 10, tzinfo=datetime.UTC),
    )
    assert read_form(TRIP, FILLED)["age"] == 30


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "A"),
        ("name", "A" * 9),
        ("name", 1),
        ("name", None),
        ("mail", "a@"),
        ("mail", "a b@c"),
        ("day", "28.7.2026"),
        ("day", "2026-02-30"),
        ("age", 17),
        ("age", 121),
        ("age", 18.5),
        ("age", "18"),
        ("age", True),
        ("score", True),
        ("score", -0.1),
        ("score", float("nan")),
        ("score", float("inf")),
        ("verified", 1),
        ("verified", "true"),
        ("at", "2026-07-28"),
        ("status", "ACTIVE"),
        ("colour", "Red"),
        ("meal", "beef"),
        ("meal", ["fish"]),
        ("colours", []),
        ("colours", ["#f00", "#0f0"]),
        ("colours", "#f00"),
        ("extras", [1]),
        ("extras", [{}]),
    ],
)
def test_content_that_does_not_fit_names_the_field(field: str, value: Any) -> None:
    for check in (check_form, read_form):
        with pytest.raises(InvalidForm, match=f"^field `{field}` "):
            check(TRIP, FILLED | {field: value})
    with pytest.raises(InvalidForm, match=f"^field `{field}` "):
        read_form(Trip, FILLED | {field: value})


def test_what_the_form_cannot_say_is_still_checked_when_reading() -> None:
    assert check_form(TRIP, FILLED | {"name": "ada"})["name"] == "ada"
    with pytest.raises(InvalidForm, match=r"^field `name`: expected `str` matching regex"):
        read_form(Trip, FILLED | {"name": "ada"})


@pytest.mark.parametrize("text", ["https://example.org/a?b", "mailto:a@b.c", "urn:x"])
def test_uris(text: str) -> None:
    assert check_form(with_field({"type": "string", "format": "uri"}), {"f": text}) == {"f": text}


@pytest.mark.parametrize("text", ["", "example.org", "//host", "https://a b", "http://[", "x:"])
def test_no_uris(text: str) -> None:
    with pytest.raises(InvalidForm, match="`f` is not a valid uri"):
        check_form(with_field({"type": "string", "format": "uri"}), {"f": text})


@pytest.mark.parametrize(("field", "value"), [("name", "Al"), ("name", "A" * 8), ("age", 18), ("age", 120)])
def test_a_bound_is_allowed_itself(field: str, value: Any) -> None:
    assert getattr(read_form(Trip, FILLED | {field: value}), field) == value


def test_floats_are_numbers_and_whole_floats_integers() -> None:
    assert check_form(with_field({"type": "number"}), {"f": 1.5}) == {"f": 1.5}
    whole = check_form(with_field({"type": "integer"}), {"f": 2.0})["f"]
    assert (whole, type(whole)) == (2, int)
    assert check_form(with_field({"type": "number"}), {"f": 10**400}) == {"f": 10**400}


@pytest.mark.parametrize("content", [None, [], "x", 1])
def test_content_that_is_no_object(content: Any) -> None:
    with pytest.raises(InvalidForm, match="object"):
        check_form(TRIP, content)


@pytest.mark.parametrize(
    ("schema", "content", "outcome"),
    [
        ({}, {"f": 1}, {}),
        ({"properties": [], "required": "f"}, {"f": 1}, {}),
        (with_field(True), {"f": {"a": 1}}, {"f": {"a": 1}}),
        (with_field({"type": ["string", "null"]}), {"f": 1}, {"f": 1}),
        (with_field({"type": "string", "pattern": "(a+)+$", "x": 1}), {"f": "b"}, {"f": "b"}),
        (with_field({"type": "string", "format": "secret", "minLength": "9"}), {"f": "b"}, {"f": "b"}),
        (with_field({"enum": ["a"]}), {"f": "a"}, {"f": "a"}),
        (with_field({"type": "string"}, required=[{}, 1]), {"f": "a"}, {"f": "a"}),
    ],
    ids=str,
)
def test_a_form_from_a_peer_is_read_leniently(schema: Any, content: Any, outcome: Any) -> None:
    assert check_form(schema, content) == outcome


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
keywords = st.sampled_from(
    ["type", "enum", "oneOf", "anyOf", "items", "default", "format", "minimum", "maximum", "minLength", "maxItems"]
)
kinds = st.sampled_from(["string", "number", "integer", "boolean", "array"])
properties = st.dictionaries(keywords, json_values, max_size=4).flatmap(
    lambda prop: kinds.map(lambda kind: {"type": kind} | prop)
)


@settings(deadline=None)
@given(properties, json_values)
def test_no_schema_from_a_peer_breaks_the_check(prop: Any, value: Any) -> None:
    try:
        outcome = check_form(with_field(prop, required=["f"]), {"f": value})
    except InvalidForm as error:
        outcome = {"f": str(error)}
    assert list(outcome) == ["f"]


FIELDS = sorted(TRIP["properties"])  # type: ignore[call-overload]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), json_values | st.sampled_from(["fish", "#f00", 50]), max_size=4))
def test_what_the_check_lets_through_conforms_to_the_schema(content: Mapping[str, Any]) -> None:
    try:
        filled = check_form(TRIP, FILLED | dict(content))
    except InvalidForm:
        return
    jsonschema.Draft202012Validator(TRIP).validate(filled)
