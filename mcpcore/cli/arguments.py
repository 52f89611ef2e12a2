"""The arguments of a tool call, from `key=value` words and the tool's input schema."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mcpcore.cli.render import MAX_DEPTH, schema_type
from mcpcore.cli.usage import WrongUsage

__all__ = ("arguments_of", "takes_text")


def arguments_of(words: Sequence[str], whole: str | None, schema: Mapping[str, Any]) -> dict[str, Any]:
    """`whole` is a JSON object; each word adds one argument to it or replaces it.

    A value is JSON when the schema allows no string for it, and text otherwise. Raises `WrongUsage`.
    """
    arguments = {} if whole is None else _object(whole)
    properties = schema.get("properties")
    seen: set[str] = set()
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise WrongUsage(f"{word!r} is no argument: write key=value")
        if name in seen:
            raise WrongUsage(f"argument {name} is given twice; write a list as JSON, e.g. {name}='[1, 2]'")
        seen.add(name)
        wanted = properties.get(name, True) if isinstance(properties, Mapping) else True
        arguments[name] = text if takes_text(wanted, schema) else _json(name, text, schema_type(wanted, schema))
    return arguments


def takes_text(schema: Any, root: Mapping[str, Any], depth: int = MAX_DEPTH) -> bool:
    """Whether a string may fit this JSON Schema. Where it says nothing, one may."""
    if not isinstance(schema, Mapping) or not depth:
        return True
    reference = schema.get("$ref")
    if isinstance(reference, str):
        definitions = root.get("$defs")
        target = definitions.get(reference.rpartition("/")[2]) if isinstance(definitions, Mapping) else None
        return takes_text(target, root, depth - 1)
    for keyword in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(keyword), list):
            return any(takes_text(option, root, depth - 1) for option in options)
    if isinstance(options := schema.get("enum"), list):
        return any(isinstance(option, str) for option in options)
    if "const" in schema:
        return isinstance(schema["const"], str)
    kind = schema.get("type", "string")
    return "string" in kind if isinstance(kind, list) else kind == "string"


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise WrongUsage(f"--args is no JSON object: {error}") from None


def _json(name: str, text: str, wanted: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise WrongUsage(f"argument {name}: {text!r} is not JSON, and the tool wants {wanted}") from None
