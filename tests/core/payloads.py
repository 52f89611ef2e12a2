"""Hypothesis strategies for payload structs, from their annotations."""

import types
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from mcpcore import types as mcp
from mcpcore.types.base import Model
from mcpcore.types.shapes import ByShape

__all__ = ("instances",)

TEXT = st.text(max_size=6)
NUMBERS = st.integers(0, 2**31)
# What the schemas call a JSON value: no null and no fraction.
JSON = st.recursive(
    st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=3,
)
ANY_JSON = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32) | JSON
OBJECTS = st.dictionaries(TEXT, JSON, max_size=2)

META = st.fixed_dictionaries(
    {},
    optional={
        "com.example/any": ANY_JSON,
        mcp.META_PROGRESS_TOKEN: st.just("p"),
        mcp.META_RELATED_TASK: st.just({"taskId": "t"}),
        mcp.META_SERVER_INFO: st.just({"name": "s", "version": "1"}),
        mcp.META_SUBSCRIPTION_ID: st.just(7),
    },
)

PROPERTY = st.sampled_from([{"type": "string"}, {"minimum": 1.5}, {"$ref": "#/$defs/x"}])
INPUT_SCHEMA = st.fixed_dictionaries(
    {"type": st.just("object")},
    optional={
        "properties": st.dictionaries(TEXT, PROPERTY | st.booleans(), max_size=2),
        "$defs": st.just({"x": {"type": "integer"}}),
        "$schema": st.just("https://json-schema.org/draft/2020-12/schema"),
        "required": st.lists(TEXT, max_size=1),
    },
)
OUTPUT_SCHEMA = INPUT_SCHEMA | st.sampled_from(
    [{"type": "array", "items": {"$ref": "#"}}, {"anyOf": [{"$ref": "#/$defs/x"}, True], "$defs": {"x": {}}}, {}]
)

CHOICES = [{"const": "a", "title": "A"}, {"const": "b", "title": "B"}]
FORM_FIELD = st.sampled_from(
    [
        {"type": "string", "format": "email", "default": "x", "maxLength": 5},
        {"type": "integer", "minimum": 1, "default": 2},
        {"type": "boolean", "default": True},
        {"type": "string", "enum": ["a", "b"], "default": "a"},
        {"type": "string", "enum": ["a"], "enumNames": ["A"]},
        {"type": "string", "oneOf": CHOICES, "default": "b"},
        {"type": "array", "items": {"type": "string", "enum": ["a"]}, "maxItems": 1},
        {"type": "array", "items": {"anyOf": CHOICES}, "default": ["a"]},
    ]
)
FORM = st.fixed_dictionaries(
    {"type": st.just("object"), "properties": st.dictionaries(TEXT, FORM_FIELD, max_size=2)},
    optional={"required": st.lists(TEXT, max_size=1)},
)

UNIT = st.none() | st.sampled_from([0, 0.5, 1])


def _input_requests() -> st.SearchStrategy[Any]:
    questions = {
        "roots/list": st.just(mcp.RequestParams()),
        "sampling/createMessage": instances(mcp.CreateMessageRequestParams),
        "elicitation/create": instances(mcp.ElicitRequestFormParams) | instances(mcp.ElicitRequestURLParams),
    }
    return st.one_of(
        [st.builds(mcp.InputRequest, method=st.just(method), params=params) for method, params in questions.items()]
    )


def _answers() -> st.SearchStrategy[Any]:
    kinds = (mcp.ElicitResult, mcp.ListRootsResult, mcp.CreateMessageResult)
    return st.none() | st.dictionaries(TEXT, st.one_of([instances(kind) for kind in kinds]), max_size=1)


# Members whose annotation says less than the schema does.
_SPECIAL: dict[tuple[type[Model], str], Any] = {
    (mcp.Annotations, "priority"): lambda: UNIT,
    (mcp.CallToolRequestParams, "arguments"): lambda: st.just(mcp.CallToolRequestParams(name="").arguments) | OBJECTS,
    (mcp.CallToolResult, "structured_content"): lambda: st.just(msgspec.UNSET) | ANY_JSON,
    (mcp.CancelledNotificationParams, "request_id"): lambda: NUMBERS | TEXT,
    (mcp.ElicitRequestFormParams, "requested_schema"): lambda: FORM,
    (mcp.InputResponseRequestParams, "input_responses"): _answers,
    (mcp.LoggingMessageNotificationParams, "data"): lambda: ANY_JSON,
    (mcp.ModelPreferences, "cost_priority"): lambda: UNIT,
    (mcp.ModelPreferences, "intelligence_priority"): lambda: UNIT,
    (mcp.ModelPreferences, "speed_priority"): lambda: UNIT,
    (mcp.Result, "result_type"): lambda: st.none() | st.just("complete"),
    (mcp.InputRequiredResult, "result_type"): lambda: st.just("input_required"),
    # An extension's member, which the core schema does not list.
    (mcp.SubscriptionFilter, "task_ids"): lambda: st.none(),
    (mcp.SubscriptionsListenResult, "meta"): lambda: st.just({mcp.META_SUBSCRIPTION_ID: 3}),
    (mcp.Tool, "input_schema"): lambda: INPUT_SCHEMA,
    (mcp.Tool, "output_schema"): lambda: st.none() | OUTPUT_SCHEMA,
    (mcp.ToolResultContent, "structured_content"): lambda: st.just(msgspec.UNSET) | ANY_JSON,
    # `tasks` is kept as it came; the schema types its branches.
    (mcp.ClientCapabilities, "tasks"): lambda: st.none() | st.just({"list": {}, "requests": {"sampling": {}}}),
    (mcp.ServerCapabilities, "tasks"): lambda: st.none() | st.just({"cancel": {}, "requests": {"tools": {}}}),
}

_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: NUMBERS,
    float: NUMBERS,  # The schemas narrow some numbers to integers; fractions have tests of their own.
    bool: st.booleans(),
    bytes: st.binary(max_size=6),
    type(None): st.none(),
    Any: JSON,
}


def _annotated(annotation: Any) -> st.SearchStrategy[Any]:
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of([_annotated(argument) for argument in arguments])
    if origin is list:
        return st.lists(_annotated(arguments[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(TEXT, _annotated(arguments[1]), max_size=2)
    if not issubclass(annotation, Model) and issubclass(annotation, ByShape):
        return st.one_of([instances(struct) for struct in annotation.structs])
    return instances(annotation)


@cache
def instances(kind: type[Model]) -> st.SearchStrategy[Any]:
    """Random values of this payload class, every member of every revision included."""

    def build() -> st.SearchStrategy[Any]:
        if kind is mcp.InputRequest:
            return _input_requests()
        members = {}
        for name, annotation in get_type_hints(kind).items():
            if name not in kind.__struct_fields__:
                continue
            special = next((_SPECIAL[owner, name] for owner in kind.__mro__ if (owner, name) in _SPECIAL), None)
            if special is not None:
                members[name] = special()
            elif name == "meta":
                members[name] = st.none() | META
            else:
                members[name] = _annotated(annotation)
        return st.builds(kind, **members)

    return st.deferred(build)
