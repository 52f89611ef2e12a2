"""A Python signature as JSON Schema 2020-12, as a typed decoder, and as the promise of a structured result.

The schema and the decoder come from one msgspec struct, so what is published is what is checked. The decoder is
stricter than the schema in what JSON Schema leaves to annotations (`format`, `contentEncoding`, the keys of
`dict[int, …]`), and more lenient in two places: a Decimal may also come as a JSON number, and repeated items of a set
are merged.
"""

import collections.abc
import copy
import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Never, NoReturn, Optional, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec

from mcpcore.errors import SchemaError
from mcpcore.types.base import Model

__all__ = (
    "MAX_FAULT_CHARACTERS",
    "MAX_NAMES",
    "MAX_NAME_CHARACTERS",
    "Arguments",
    "InvalidArguments",
    "InvalidOutput",
    "Output",
    "arguments_of",
    "fault_text",
    "output_of",
)

MAX_FAULT_CHARACTERS = 500
"""Characters of a decoder's complaint that are passed on: it may quote a value that the peer chose, of any length."""

MAX_NAME_CHARACTERS = 64
"""Characters of an argument name that a message quotes, for the same reason."""

MAX_NAMES = 10
"""Argument names that one message lists; a peer may send thousands of unknown ones."""

_REF = "#/$defs/"
_PLAIN_DEFAULTS = (type(None), bool, int, float, str)
_TYPE_FAULTS = (
    TypeError,
    ValueError,
    NameError,
    KeyError,
    AttributeError,
    SyntaxError,
)  # what typing and msgspec raise
_STREAMS = (collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator)
_SEQUENCES = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Set)
_FAULT = r"(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?"  # compiled when it is first needed

_AnyCallable: TypeAlias = Callable[..., Any]


class InvalidArguments(ValueError):
    """The arguments of a call do not fit the signature. The text names each argument and is safe to show the model."""


class InvalidOutput(ValueError):
    """A handler returned what its return annotation does not promise. The text is for the handler's author."""


class Arguments:
    """The parameters of one function: their published schema and their decoder.

    `schema` is the `inputSchema`: an object with `type` at the root and `$defs` beside it when types are named.
    `injected` is the name of the parameter that takes the context, None when there is none; it is not in the schema.
    """

    __slots__ = ("_decode", "_required", "_struct", "injected", "schema")

    def __init__(self, struct: type[msgspec.Struct], schema: dict[str, Any], injected: str | None) -> None:
        self.schema: dict[str, Any] = schema
        self.injected: str | None = injected
        self._struct = struct
        self._decode = msgspec.json.Decoder(struct).decode
        self._required: list[str] = schema.get("required", [])

    def decode(self, raw: msgspec.Raw | bytes | Mapping[str, Any] | None) -> dict[str, Any]:
        """Keyword arguments for the function, typed and with its defaults filled in.

        `raw` is a JSON object, undecoded or as a mapping. None, empty bytes and JSON null read as absent arguments.
        Raises InvalidArguments for anything that does not fit.
        """
        if not raw:
            return self._absent()
        try:
            try:
                if isinstance(raw, bytes | msgspec.Raw):
                    return msgspec.structs.asdict(self._decode(raw))
                return msgspec.structs.asdict(msgspec.convert(raw, self._struct, str_keys=True))
            except msgspec.ValidationError as error:
                return self._second_look(raw, str(error))
        except RecursionError:
            raise InvalidArguments("the arguments are nested too deeply") from None
        except UnicodeDecodeError:
            raise InvalidArguments("the arguments are not valid UTF-8") from None
        except msgspec.DecodeError as error:
            raise InvalidArguments(f"the arguments are not valid JSON: {error}") from None

    def decode_texts(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """As `decode`, from what can hold texts only (a URI, the arguments of a prompt): an argument that takes no text
        is what its text spells in JSON."""
        properties, defs = self.schema["properties"], self.schema.get("$defs", {})
        values: dict[str, Any] = dict(texts)
        for name, text in texts.items():
            if not _takes_text(properties.get(name, {}), defs):
                with suppress(ValueError, RecursionError):  # what spells nothing is refused as the text it is
                    values[name] = msgspec.json.decode(text)
        return self.decode(values)

    def _absent(self) -> dict[str, Any]:
        if self._required:
            raise InvalidArguments(_names("missing", self._required))
        return msgspec.structs.asdict(self._struct())

    def _second_look(self, raw: msgspec.Raw | bytes | Mapping[str, Any], fault: str) -> dict[str, Any]:
        """Decode what only the strict decoder refuses; otherwise raise InvalidArguments that names every culprit."""
        decoded = msgspec.json.decode(raw) if isinstance(raw, bytes | msgspec.Raw) else raw
        if decoded is None:
            return self._absent()
        if not isinstance(decoded, Mapping):
            raise InvalidArguments(fault_text(fault, "argument"))
        known = self._struct.__struct_fields__
        missing = [name for name in self._required if name not in decoded]
        unknown = [name for name in map(str, decoded) if name not in known]
        if missing or unknown:
            faults = [_names("missing", missing)] if missing else []
            if unknown:
                faults.append(_names("unknown", unknown, [name for name in known if name not in decoded]))
            raise InvalidArguments("; ".join(faults))
        if "got `float`" in fault:
            # JSON Schema counts 2.0 as an integer and so must we; msgspec tells the two apart.
            try:
                whole = _whole_numbers(decoded)
                return msgspec.structs.asdict(msgspec.convert(whole, self._struct, str_keys=True))
            except msgspec.ValidationError as error:
                fault = str(error)
        raise InvalidArguments(fault_text(fault, "argument"))


class Output:
    """What a function's return annotation promises.

    `schema` is the `outputSchema`, None when nothing structured is promised. `wrapped` says that the value travels as
    `{"result": value}`, because MCP before 2026-07-28 takes objects only. `streaming` says that the function is an
    async iterator; its schema is that of the list of all items.
    """

    __slots__ = ("_check", "_plain", "schema", "streaming", "wrapped")

    def __init__(self, type_: Any, schema: dict[str, Any] | None, *, wrapped: bool, streaming: bool) -> None:
        self.schema: dict[str, Any] | None = schema
        self.wrapped: bool = wrapped
        self.streaming: bool = streaming
        self._check = msgspec.json.Decoder(type_).decode if schema is not None else None
        self._plain = str if type_ is str and wrapped else None

    def structured(self, value: Any) -> Any:
        """The `structuredContent` for a returned value (for a streaming function: the list of its items).

        `msgspec.UNSET` when nothing structured is promised, because null is a value. Raises InvalidOutput when the
        value, as JSON, is not what the annotation says: a server must not publish a schema and break it.
        """
        if self._check is None:
            return msgspec.UNSET
        if type(value) is self._plain and value.isascii():
            return {"result": value}  # it is its own JSON value, whatever its length
        try:
            encoded = msgspec.json.encode(value)
            self._check(encoded)
            built = msgspec.json.decode(encoded)  # what the peer will see: a tuple is a list, NaN was null above
        except (TypeError, ValueError, RecursionError) as error:
            text = fault_text(str(error), "result")
            raise InvalidOutput(f"the returned value does not match the return annotation: {text}") from error
        return {"result": built} if self.wrapped else built


def arguments_of(fn: _AnyCallable, *, injected_type: type) -> Arguments:
    """Read the parameters of a function, bound method, partial or callable object.

    The parameter annotated with `injected_type` is left out of the schema, and so is what a partial has bound.
    Property descriptions come from `Annotated[T, "text"]` or `Annotated[T, msgspec.Meta(description=…)]`. An
    unannotated parameter takes anything; one whose default is None also takes null.
    Raises SchemaError, which names the parameter and says what to do.
    """
    name_of_fn = _name_of(fn)
    resolve = _resolver(fn)
    injected: str | None = None
    fields: list[tuple[str, Any, Any]] = []
    descriptions: dict[str, str] = {}
    defaults: dict[str, Any] = {}
    for name, parameter in _signature(fn).parameters.items():
        if isinstance(fn, functools.partial) and name in fn.keywords:
            continue
        where = f"parameter `{name}` of {name_of_fn}"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise SchemaError(f"{where} takes any number of arguments: name each one, or take one list or dict")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise SchemaError(f"{where} is positional-only, but arguments come by name: remove the `/`")
        annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
        if not _names_type(annotation, injected_type):
            annotation = resolve(annotation, where)
        if _names_type(annotation, injected_type):
            if injected is not None:
                raise SchemaError(f"{where} and `{injected}` both take the {injected_type.__name__}: keep one of them")
            injected = name
            continue
        if text := _description_of(annotation):
            descriptions[name] = text
        if parameter.default is parameter.empty:
            fields.append((name, annotation, msgspec.NODEFAULT))
            continue
        if parameter.default is None and annotation is not Any:
            annotation = Optional[annotation]  # noqa: UP045  `|` does not take every annotation
        defaults[name] = parameter.default
        fields.append((name, annotation, _default_field(parameter.default)))
    try:
        struct = msgspec.defstruct("__arguments__", fields, kw_only=True, forbid_unknown_fields=True)
        root, defs = _inlined(struct)
        msgspec.json.Decoder(struct)
    except _TYPE_FAULTS as error:
        raise _culprit(fields, name_of_fn, error) from error
    properties = root["properties"]
    for name, text in descriptions.items():
        properties[name].setdefault("description", text)
    for name, default in defaults.items():
        properties[name].pop("default", None)
        if (shown := _shown(default)) is not msgspec.UNSET:
            properties[name]["default"] = shown
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if root["required"]:
        schema["required"] = root["required"]
    schema["additionalProperties"] = False
    if defs:
        schema["$defs"] = defs
    return Arguments(struct, schema, injected)


def output_of(fn: _AnyCallable) -> Output:
    """Read the return annotation of a function. Raises SchemaError when it has no JSON Schema."""
    where = f"the return annotation of {_name_of(fn)}"
    annotation: Any = _signature(fn).return_annotation
    annotation = Any if annotation is inspect.Signature.empty else _resolver(fn)(annotation, where)
    if get_origin(annotation) in (collections.abc.Awaitable, collections.abc.Coroutine):
        annotation = (get_args(annotation) or (Any,))[-1]
    bare = _bare(annotation)
    streaming = (get_origin(bare) or bare) in _STREAMS
    if streaming:
        annotation = (get_args(bare) or (Any,))[0]
    elif inspect.isasyncgenfunction(_function_of(fn)):
        streaming, annotation = True, Any
    if _promises_nothing(annotation):
        return Output(annotation, None, wrapped=False, streaming=streaming)
    type_ = list[annotation] if streaming else annotation
    try:
        root, defs = _inlined(type_)
        wrapped = root.get("type") != "object"
        if wrapped:
            (inner,), defs = msgspec.json.schema_components((type_,), ref_template=_REF + "{name}")
            root = {"type": "object", "properties": {"result": inner}, "required": ["result"]}
        if defs:
            root["$defs"] = defs
        return Output(type_, root, wrapped=wrapped, streaming=streaming)
    except _TYPE_FAULTS as error:
        raise SchemaError(f"{where} has no JSON Schema ({_first_line(error)}): {_ADVICE}") from error


def fault_text(fault: str, noun: str) -> str:
    """A msgspec complaint as "noun `path`: what is wrong", at most MAX_FAULT_CHARACTERS of it plus the path."""
    match = re.fullmatch(_FAULT, fault, re.DOTALL)
    what, path, key = (match["what"], match["path"], match["key"]) if match else (fault, None, None)
    if len(what) > MAX_FAULT_CHARACTERS:
        what = what[:MAX_FAULT_CHARACTERS] + "…"
    what = what[:1].lower() + what[1:]
    place = f"{noun} `{path.removeprefix('.')}`" if path else f"the {noun}s"
    return f"{place}, a key: {what}" if key else f"{place}: {what}"


_ADVICE = (
    "use builtin types, Enum, Literal, dataclasses, TypedDict, msgspec Struct, datetime, date, UUID or Decimal; take "
    "or return anything else as one of these and convert it inside the function"
)


def _takes_text(schema: dict[str, Any], defs: dict[str, Any]) -> bool:
    if "$ref" in schema:
        return _takes_text(defs[schema["$ref"].removeprefix(_REF)], defs)
    if "anyOf" in schema:
        return any(_takes_text(one, defs) for one in schema["anyOf"])
    if "enum" in schema:
        return any(isinstance(value, str) for value in schema["enum"])
    takes_text: bool = schema.get("type", "string") == "string"
    return takes_text


def _names(fault: str, names: list[str], candidates: list[str] | None = None) -> str:
    import difflib  # only a failed call needs it

    quoted = []
    for name in names[:MAX_NAMES]:
        short = "".join(c if c.isprintable() and c != "`" else "?" for c in name[:MAX_NAME_CHARACTERS])
        close = difflib.get_close_matches(short, candidates, n=1) if candidates else None
        quoted.append(f"`{short}` (did you mean `{close[0]}`?)" if close else f"`{short}`")
    if len(names) > MAX_NAMES:
        quoted.append(f"and {len(names) - MAX_NAMES} more")
    return f"{fault} {'argument' if len(names) == 1 else 'arguments'} {', '.join(quoted)}"


def _whole_numbers(value: Any) -> Any:
    """The same JSON value with every float that is a whole number as an int."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        return {key: _whole_numbers(item) for key, item in value.items()}
    return [_whole_numbers(item) for item in value] if isinstance(value, list) else value


def _function_of(fn: Any) -> Any:
    """The plain function below partials, bound methods, wrappers and callable objects: where its names live."""
    while True:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif inspect.ismethod(fn):
            fn = fn.__func__
        elif hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        elif isinstance(fn, type):
            fn = fn.__init__  # type: ignore[misc]  # the constructor's annotations, whoever defined it
        elif callable(fn) and not inspect.isfunction(fn) and inspect.isfunction(type(fn).__call__):
            fn = type(fn).__call__
        else:
            return fn


def _name_of(fn: Any) -> str:
    function = _function_of(fn)
    return f"{getattr(function, '__qualname__', type(function).__qualname__)}()"


def _signature(fn: _AnyCallable) -> inspect.Signature:
    try:
        return inspect.signature(fn)
    except _TYPE_FAULTS as error:
        raise SchemaError(f"the signature of {_name_of(fn)} cannot be read: {error}") from error


def _resolver(fn: _AnyCallable) -> Callable[[Any, str], Any]:
    """Evaluates annotations, strings in them included, in the scope where the function was defined.

    That scope is its module, its closure, and the locals of enclosing functions that are running right now: a
    decorator is called from there, and that is the only place where a local class can be found by name.
    """
    function = _function_of(fn)
    module: dict[str, Any] = getattr(function, "__globals__", {})
    scope: dict[str, Any] = {}
    qualname = getattr(function, "__qualname__", "")
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals is module and qualname.startswith(f"{frame.f_code.co_qualname}.<locals>."):
            scope = {**frame.f_locals, **scope}
        frame = frame.f_back
    code = getattr(function, "__code__", None)
    for name, cell in zip(code.co_freevars if code else (), getattr(function, "__closure__", None) or (), strict=False):
        try:
            scope[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue

    def resolve(annotation: Any, where: str) -> Any:
        def holder() -> None: ...

        holder.__annotations__ = {"value": annotation}
        try:
            return get_type_hints(holder, module, scope, include_extras=True)["value"]
        except _TYPE_FAULTS as error:
            raise SchemaError(
                f"{where}: {annotation!r} cannot be resolved ({error}); import or define that name at module level, "
                "outside `if TYPE_CHECKING`"
            ) from error

    return resolve


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _names_type(annotation: Any, type_: type) -> bool:
    """Whether an annotation is this class, optional or not; a string may name what is imported for checkers only."""
    if isinstance(annotation, str):
        dotted = rf"(?:\w+\.)*{re.escape(type_.__name__)}(?:\[.*\])?"
        return (
            re.fullmatch(rf"\s*(?:{dotted}|(?:\w+\.)*Optional\[{dotted}\]|{dotted}\s*\|\s*None)\s*", annotation)
            is not None
        )
    bare = _bare(annotation)
    if _is_union(bare):
        members = [member for member in get_args(bare) if member is not type(None)]
        return len(members) == 1 and _names_type(members[0], type_)
    return bare is type_ or get_origin(bare) is type_


def _description_of(annotation: Any) -> str | None:
    if get_origin(annotation) is Annotated:
        base, *extras = get_args(annotation)
        for extra in extras:
            text = extra.description if isinstance(extra, msgspec.Meta) else extra
            if isinstance(text, str):
                return text
        return _description_of(base)
    if _is_union(annotation):
        return next(filter(None, map(_description_of, get_args(annotation))), None)
    return None


def _default_field(default: Any) -> Any:
    """A struct default that is never shared between two calls if it is a mutable container."""
    if type(default) in _PLAIN_DEFAULTS:
        return default
    if type(default) in (list, dict, set):
        return msgspec.field(default_factory=functools.partial(copy.deepcopy, default))
    return msgspec.field(default_factory=lambda: default)


def _shown(default: Any) -> Any:
    """A default as JSON, UNSET for one that JSON cannot express."""
    try:
        shown = msgspec.json.decode(msgspec.json.encode(default))
    except (TypeError, ValueError, RecursionError):
        return msgspec.UNSET
    return msgspec.UNSET if shown is None and default is not None else shown  # NaN and infinity encode as null


def _inlined(type_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of a type with its root inline, and the definitions that are still referred to."""
    (root,), defs = msgspec.json.schema_components((type_,), ref_template=_REF + "{name}")
    name = root.pop("$ref", "").removeprefix(_REF)
    if name in defs:
        rest = {key: value for key, value in defs.items() if key != name}
        root = {**defs[name], **root}
        if f'"{_REF}{name}"'.encode() not in msgspec.json.encode((root, rest)):
            defs = rest
    return root, defs


def _culprit(fields: list[tuple[str, Any, Any]], name_of_fn: str, error: Exception) -> SchemaError:
    """The SchemaError for a signature that msgspec refuses as a whole: tries the parameters one by one."""
    for name, annotation, _ in fields:
        try:
            msgspec.json.schema_components((annotation,))
            msgspec.json.Decoder(annotation)
        except _TYPE_FAULTS as fault:
            reason = _first_line(fault)
            return SchemaError(f"parameter `{name}` of {name_of_fn} has no JSON Schema ({reason}): {_ADVICE}")
    return SchemaError(f"the parameters of {name_of_fn} have no common JSON Schema ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[-1] if lines[-1].startswith("type ") else lines[0]


def _promises_nothing(annotation: Any) -> bool:
    bare = _bare(annotation)
    if bare in (Any, object, None, type(None), Never, NoReturn):
        return True
    if _is_union(bare):
        return any(_promises_nothing(member) for member in get_args(bare) if member is not type(None))
    return _is_payload(bare)


def _is_payload(annotation: Any) -> bool:
    """Whether an annotation is content as MCP has it (a block, a whole result) or a collection with such in it."""
    bare = _bare(annotation)
    if _is_union(bare) or get_origin(bare) in _SEQUENCES:
        return any(map(_is_payload, get_args(bare)))
    return isinstance(bare, type) and issubclass(bare, Model)
