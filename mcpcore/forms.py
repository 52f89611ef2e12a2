"""Elicitation forms: a Python type as a `requestedSchema`, and what the user filled in, checked and typed.

A form is flat (MCP, "Elicitation", "Requested Schema"): strings, numbers, booleans, and choices of one or several
strings. What a revision cannot express is taken out before sending (`mcpcore.adaptation`), not here.
Writing is strict and reading is lenient: a form of ours never has another keyword, one from a peer may.
"""

import datetime
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect as shapes

from mcpcore.errors import SchemaError
from mcpcore.schema import fault_text

__all__ = ("FORMATS", "InvalidForm", "check_form", "check_form_schema", "form_of", "read_form")

FORMATS = ("date", "date-time", "email", "uri")
"""The string formats of MCP forms."""

_ROOT_KEYWORDS = {"$schema", "type", "title", "description", "properties", "required", "additionalProperties"}
_TEXT = {"type", "title", "description", "default"}
_KEYWORDS = {
    "string": _TEXT | {"minLength", "maxLength", "format", "enum", "enumNames", "oneOf"},
    "number": _TEXT | {"minimum", "maximum"},
    "integer": _TEXT | {"minimum", "maximum"},
    "boolean": _TEXT,
    "array": _TEXT | {"items", "minItems", "maxItems"},
}
_ADVICE = (
    "a form is flat: str, int, float, bool, date, datetime, an Enum or Literal of strings, or a list of one of these"
)
_COLLECTIONS = (shapes.ListType, shapes.SetType, shapes.FrozenSetType, shapes.VarTupleType)


class InvalidForm(ValueError):
    """What was filled in does not fit the form. The text names the field and is safe to show to either side."""


def form_of(type_: Any) -> dict[str, Any]:
    """The `requestedSchema` for a Struct, dataclass or TypedDict; a dict is a schema already and is only checked.

    A field that has a default, or that takes None, may be left empty. `pattern`, `multiple_of` and exclusive bounds
    of floats have no keyword in a form; `read_form` still checks them. An Enum whose members are named for people
    (by a `title` attribute, or by a name that says more than the value) has titles; any other one and a Literal is
    the list of its values, in the order of definition.
    Raises SchemaError, which names the field.
    """
    if isinstance(type_, Mapping):
        check_form_schema(type_)
        return dict(type_)
    form: dict[str, Any] = {"type": "object", "properties": {}}
    required = []
    for field in _fields_of(type_):
        schema, optional = _property(field.name, field.type)
        if field.default is not msgspec.NODEFAULT and field.default is not None:
            schema["default"] = msgspec.to_builtins(field.default)
        form["properties"][field.encode_name] = schema
        if field.required and not optional:
            required.append(field.encode_name)
    if required:
        form["required"] = required
    check_form_schema(form)
    return form


def check_form_schema(schema: Mapping[str, Any]) -> None:
    """Raise SchemaError, naming the field and keyword, unless this JSON Schema is a form that MCP allows."""
    properties = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(properties, Mapping):
        raise SchemaError('a form needs `"type": "object"` and `properties` at its root')
    if extra := sorted(schema.keys() - _ROOT_KEYWORDS):
        raise SchemaError(f"a form cannot have the keyword `{extra[0]}` at its root; {_ADVICE}")
    required = schema.get("required", [])
    if not isinstance(required, list | tuple) or not all(isinstance(name, str) for name in required):
        raise SchemaError("`required` of a form is a list of field names")
    for name in required:
        if name not in properties:
            raise SchemaError(f"field `{name}` is required but not among the form's properties")
    for name, prop in properties.items():
        _check_property(name, prop)


def check_form(schema: Mapping[str, Any], content: Any) -> dict[str, Any]:
    """The content that fits a form, with the defaults of omitted fields filled in.

    A null counts as omitted, fields that the form does not have are left out, and a whole float is an integer.
    Keywords that forms do not have are not looked at: `pattern` from a peer could cost any amount of time.
    Raises InvalidForm, which names the field. MCP, "Elicitation": both sides should check.
    """
    if not isinstance(content, Mapping):
        raise InvalidForm("the content of a form is an object")
    properties = schema.get("properties")
    filled: dict[str, Any] = {}
    for name, prop in properties.items() if isinstance(properties, Mapping) else ():
        prop = prop if isinstance(prop, Mapping) else {}
        value = content.get(name)
        if value is None:
            value = prop.get("default")
        if value is not None:
            filled[name] = _checked(name, prop, value)
    required = schema.get("required")
    for name in required if isinstance(required, list | tuple) else ():
        if isinstance(name, str) and name not in filled:
            raise InvalidForm(f"field `{name}` is missing")
    return filled


def read_form(type_: Any, content: Any) -> Any:
    """The content of an accepted form as an instance of the type that `form_of` was given; a dict for a dict.

    Raises InvalidForm when the content does not fit, SchemaError when the type is no form.
    """
    filled = check_form(form_of(type_), content)
    if isinstance(type_, Mapping):
        return filled
    for field in _fields_of(type_):
        if field.required and field.encode_name not in filled:
            filled[field.encode_name] = None  # it takes None, or it would be required in the form
    try:
        return msgspec.convert(filled, type_)
    except msgspec.ValidationError as error:
        raise InvalidForm(fault_text(str(error), "field")) from None


def _fields_of(type_: Any) -> list[shapes.Field]:
    """The fields in the order of definition, with the values of each Literal in theirs: msgspec sorts both."""
    try:
        shape = shapes.type_info(type_)
        while isinstance(shape, shapes.Metadata):
            shape, type_ = shape.type, get_args(type_)[0]
        hints = get_type_hints(get_origin(type_) or type_, include_extras=True)
    except (TypeError, ValueError, NameError, KeyError, AttributeError, SyntaxError) as error:
        raise SchemaError(f"{type_!r} cannot be made into a form: {error}") from error
    if not isinstance(shape, shapes.StructType | shapes.DataclassType | shapes.TypedDictType) or (
        isinstance(shape, shapes.StructType) and shape.array_like
    ):
        raise SchemaError(f"{type_!r} cannot be made into a form: use a Struct, dataclass or TypedDict with its fields")
    order = list(hints)
    for field in shape.fields:
        field.type = _in_order(field.type, hints.get(field.name))
    return sorted(shape.fields, key=lambda field: order.index(field.name) if field.name in order else len(order))


def _in_order(shape: shapes.Type, annotation: Any) -> shapes.Type:
    if isinstance(shape, shapes.LiteralType):
        values = _literal_values(annotation)
        return shapes.LiteralType(values) if set(values) == set(shape.values) else shape
    if isinstance(shape, shapes.Metadata):
        return shapes.Metadata(_in_order(shape.type, annotation), shape.extra_json_schema, shape.extra)
    if isinstance(shape, shapes.UnionType):
        return shapes.UnionType(tuple(_in_order(member, annotation) for member in shape.types))
    if isinstance(shape, _COLLECTIONS):
        return type(shape)(_in_order(shape.item_type, annotation), shape.min_length, shape.max_length)
    return shape


def _literal_values(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next(filter(None, map(_literal_values, get_args(annotation))), ())


def _property(name: str, shape: shapes.Type) -> tuple[dict[str, Any], bool]:
    """The schema of one field, and whether it takes None."""
    if isinstance(shape, shapes.Metadata):
        schema, optional = _property(name, shape.type)
        extra = shape.extra_json_schema or {}
        return schema | {key: value for key, value in extra.items() if key != "examples"}, optional
    if isinstance(shape, shapes.UnionType):
        members = [member for member in shape.types if not isinstance(member, shapes.NoneType)]
        if len(members) != 1:
            raise SchemaError(f"field `{name}` is a union of several types; {_ADVICE}")
        return _property(name, members[0])[0], len(members) < len(shape.types)
    if isinstance(shape, shapes.LiteralType) and None in shape.values:
        values = tuple(value for value in shape.values if value is not None)
        return _property(name, shapes.LiteralType(values))[0], True
    if isinstance(shape, _COLLECTIONS):
        item, _ = _property(name, shape.item_type)
        options = {"anyOf": item["oneOf"]} if "oneOf" in item else {"type": "string", "enum": item.get("enum")}
        bounds = {"minItems": shape.min_length, "maxItems": shape.max_length}
        return {"type": "array", "items": options} | _present(bounds), False
    return _scalar(name, shape), False


def _scalar(name: str, shape: shapes.Type) -> dict[str, Any]:
    match shape:
        case shapes.BoolType():
            return {"type": "boolean"}
        case shapes.IntType():
            least = shape.ge if shape.gt is None else shape.gt + 1
            most = shape.le if shape.lt is None else shape.lt - 1
            return {"type": "integer"} | _present({"minimum": least, "maximum": most})
        case shapes.FloatType():
            low, high = (shape.ge if shape.gt is None else shape.gt), (shape.le if shape.lt is None else shape.lt)
            return {"type": "number"} | _present({"minimum": low, "maximum": high})
        case shapes.StrType():
            return {"type": "string"} | _present({"minLength": shape.min_length, "maxLength": shape.max_length})
        case shapes.DateType():
            return {"type": "string", "format": "date"}
        case shapes.DateTimeType():
            return {"type": "string", "format": "date-time"}
        case shapes.LiteralType():
            return {"type": "string", "enum": list(shape.values)}
        case shapes.EnumType():
            return {"type": "string"} | _choices(shape.cls)
    raise SchemaError(f"field `{name}` cannot be asked for in a form; {_ADVICE}")


def _choices(cls: Any) -> dict[str, Any]:
    members = list(cls)
    titles = [_title_of(member) for member in members]
    if all(title is None for title in titles):
        return {"enum": [member.value for member in members]}
    pairs = zip(members, titles, strict=True)
    return {"oneOf": [{"const": m.value, "title": m.value if title is None else title} for m, title in pairs]}


def _title_of(member: Any) -> str | None:
    """What people call an Enum member: its `title`, or its name unless that only repeats the value."""
    title = getattr(member, "title", None)
    if isinstance(title, str):
        return title
    words = member.name.replace("_", " ")
    if words.casefold() == str(member.value).replace("_", " ").replace("-", " ").casefold():
        return None
    return str(words.capitalize() if words.isupper() or words.islower() else words)


def _present(keywords: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keywords.items() if value is not None}


def _check_property(name: str, prop: Any) -> None:
    kind = prop.get("type") if isinstance(prop, Mapping) else None
    if not isinstance(kind, str) or kind not in _KEYWORDS:
        raise SchemaError(f"field `{name}` has the type {kind!r}; {_ADVICE}")
    if extra := sorted(prop.keys() - _KEYWORDS[kind]):
        raise SchemaError(f"field `{name}`: a form cannot have the keyword `{extra[0]}` on type {kind}")
    if prop.get("format", "email") not in FORMATS:
        raise SchemaError(f"field `{name}`: the format is {prop['format']!r}, a form has only {', '.join(FORMATS)}")
    choices = prop.get("items") if kind == "array" else prop
    options = _options(choices)
    if options is None and (kind == "array" or "enum" in prop or "oneOf" in prop):
        raise SchemaError(f"field `{name}`: its choices are not written as a form has them; {_ADVICE}")
    if not all(isinstance(option, str) for option in options or ()):
        raise SchemaError(f"field `{name}`: every choice is a string, because no other value comes back from a form")
    if "enumNames" in prop and (
        not isinstance(prop["enumNames"], list) or len(prop["enumNames"]) != len(options or ())
    ):
        raise SchemaError(f"field `{name}`: `enumNames` has one name for each value of `enum`")
    if "default" in prop:
        try:
            _checked(name, prop, prop["default"])
        except InvalidForm as error:
            raise SchemaError(f"the default of {error}") from None


def _options(prop: Any) -> list[Any] | None:
    """The values to choose from: `enum`, or the constants of `oneOf` (one choice) or `anyOf` (several)."""
    if not isinstance(prop, Mapping):
        return None
    if isinstance(prop.get("enum"), list):
        return list(prop["enum"])
    for keyword in ("oneOf", "anyOf"):
        titled = prop.get(keyword)
        if isinstance(titled, list) and all(isinstance(option, Mapping) and "const" in option for option in titled):
            return [option["const"] for option in titled]
    return None


def _checked(name: str, prop: Mapping[str, Any], value: Any) -> Any:
    """The value of one field, a whole float as an int where one is asked for; InvalidForm if it does not fit."""
    kind = prop.get("type")
    check = _CHECKS.get(kind) if isinstance(kind, str) else None
    value = check(name, prop, value) if check else value
    options = _options(prop)
    if options is not None and value not in options:
        raise InvalidForm(f"field `{name}` is none of the choices it has")
    return value


def _check_boolean(name: str, prop: Mapping[str, Any], value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidForm(f"field `{name}` must be true or false")
    return value


def _check_number(name: str, prop: Mapping[str, Any], value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_INF < value < _INF:
        raise InvalidForm(f"field `{name}` must be a number")
    number = value
    if prop["type"] == "integer" and isinstance(value, float):
        if not value.is_integer():
            raise InvalidForm(f"field `{name}` must be a whole number")
        number = int(value)
    _check_bounds(name, prop, number, ("minimum", "maximum"), "")
    return number


def _check_string(name: str, prop: Mapping[str, Any], value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidForm(f"field `{name}` must be a string")
    _check_bounds(name, prop, len(value), ("minLength", "maxLength"), " characters long")
    form = prop.get("format")
    check = _FORMAT_CHECKS.get(form) if isinstance(form, str) else None
    if check and not check(value):
        raise InvalidForm(f"field `{name}` is not a valid {form}")
    return value


def _check_array(name: str, prop: Mapping[str, Any], value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InvalidForm(f"field `{name}` must be a list of strings")
    options = _options(prop.get("items"))
    if options is not None and not all(item in options for item in value):
        raise InvalidForm(f"field `{name}` has an item that is none of its choices")
    _check_bounds(name, prop, len(value), ("minItems", "maxItems"), " items long")
    return list(value)


def _check_bounds(name: str, prop: Mapping[str, Any], size: float, keywords: tuple[str, str], unit: str) -> None:
    low, high = (prop.get(keyword) for keyword in keywords)
    if isinstance(low, int | float) and size < low:
        raise InvalidForm(f"field `{name}` must be at least {low}{unit}")
    if isinstance(high, int | float) and size > high:
        raise InvalidForm(f"field `{name}` must be at most {high}{unit}")


def _is_email(text: str) -> bool:
    local, _, domain = text.rpartition("@")
    return bool(local and domain) and not any(c.isspace() for c in text)


def _is_uri(text: str) -> bool:
    from urllib.parse import urlsplit  # only an answered form needs it

    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.path)) and not any(c.isspace() for c in text)


def _converts(type_: Any, text: str) -> bool:
    try:
        msgspec.convert(text, type_)
    except msgspec.ValidationError:
        return False
    return True


_INF = float("inf")
_CHECKS: dict[str, Callable[[str, Mapping[str, Any], Any], Any]] = {
    "array": _check_array,
    "boolean": _check_boolean,
    "integer": _check_number,
    "number": _check_number,
    "string": _check_string,
}
_FORMAT_CHECKS: dict[str, Callable[[str], bool]] = {
    "date": functools.partial(_converts, datetime.date),
    "date-time": functools.partial(_converts, datetime.datetime),
    "email": _is_email,
    "uri": _is_uri,
}
