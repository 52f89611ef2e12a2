"""Structured results against the schema their server published.

Needs the extra `mcpcore[validation]`: an output schema may use any keyword of JSON Schema 2020-12, and a library does
that better than we would. References to other documents are never followed.
"""

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

import msgspec

from mcpcore.errors import LocalProtocolError, RemoteProtocolError
from mcpcore.types import CallToolResult, Tool

__all__ = ("MAX_SCHEMA_PARTS", "OutputChecks", "available", "validator_of")

MAX_SCHEMA_PARTS = 100_000
"""Parts of an output schema, each reference counted as what it stands for. Generated ones have some thousands."""


def available() -> bool:
    """Whether the extra is installed."""
    return find_spec("jsonschema") is not None


def validator_of(name: str, schema: dict[str, Any]) -> Callable[[Any], None]:
    """A function that raises `RemoteProtocolError` for a value that breaks the output schema of tool `name`.

    Raises `RemoteProtocolError` itself for a schema that is none, `LocalProtocolError` without the extra.
    """
    try:
        from jsonschema import Draft202012Validator, SchemaError, ValidationError
        from jsonschema.validators import validator_for
        from referencing import Registry
        from referencing.exceptions import Unresolvable
    except ImportError as error:
        raise LocalProtocolError("checking results needs the extra: install mcpcore[validation]") from error
    try:
        dialect = validator_for(schema, default=Draft202012Validator)
        dialect.check_schema(schema)
    except SchemaError as error:
        raise RemoteProtocolError(f"the output schema of tool {name!r} is not valid: {error.message}") from None
    except Exception as error:
        # The library expects a schema of an honest author, and fails in many ways on others.
        raise RemoteProtocolError(f"the output schema of tool {name!r} is not valid: {_kind(error)}") from error
    checked = _bounded(name, schema)
    # An empty registry: without one, jsonschema would fetch what a $ref names.
    validator = dialect(checked, registry=Registry())

    def validate(value: Any) -> None:
        try:
            validator.validate(value)
        except ValidationError as error:
            path = error.json_path
            raise RemoteProtocolError(f"tool {name!r} broke its own output schema at {path}: {error.message}") from None
        except Unresolvable as error:
            raise RemoteProtocolError(
                f"the output schema of tool {name!r} refers to another document: {error}"
            ) from None
        except Exception as error:
            text = f"the output schema of tool {name!r} cannot be checked against: {_kind(error)}"
            raise RemoteProtocolError(text) from error

    return validate


def _bounded(name: str, schema: Any) -> Any:
    """A schema that takes no longer to check than its size and the value's say.

    Regular expressions are left out, because the engine's time on a server's pattern has no bound. References are
    followed on paper first: each may stand for a schema that holds two of the next. Raises `RemoteProtocolError`.
    """
    weights: dict[str, int] = {}

    def weigh(part: Any) -> int:
        if isinstance(part, list):
            return sum(map(weigh, part))
        if not isinstance(part, dict):
            return 0
        total = 1 + sum(weigh(value) for key, value in part.items() if key not in ("$defs", "definitions"))
        reference = part.get("$ref")
        return total + (weigh_reference(reference) if isinstance(reference, str) else 0)

    def weigh_reference(reference: str) -> int:
        if reference not in weights:
            weights[reference] = 0  # a cycle ends with the value, which is finite
            weights[reference] = min(weigh(_pointed_at(schema, reference)), MAX_SCHEMA_PARTS + 1)
        return weights[reference]

    try:
        if weigh(schema) > MAX_SCHEMA_PARTS:
            text = f"the output schema of tool {name!r} has more than {MAX_SCHEMA_PARTS} parts with its references"
            raise RemoteProtocolError(text)
        return _without_patterns(schema, names=False)
    except RecursionError:
        raise RemoteProtocolError(f"the output schema of tool {name!r} is nested too deeply") from None


def _pointed_at(schema: Any, reference: str) -> Any:
    """What a reference inside the document names; None for any other, which validation refuses."""
    part = schema
    for step in reference.removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        part = part.get(step) if isinstance(part, dict) else None
    return part if reference.startswith("#") else None


def _without_patterns(part: Any, *, names: bool) -> Any:
    """The schema without its regular expressions. `names` says that the keys of this object are names, not keywords."""
    if isinstance(part, list):
        return [_without_patterns(item, names=False) for item in part]
    if not isinstance(part, dict):
        return part
    kept = part.items() if names else ((k, v) for k, v in part.items() if k not in ("pattern", "patternProperties"))
    return {
        key: value
        if not names and key in ("const", "enum", "default")
        else _without_patterns(value, names=key in _NAMED and not names)
        for key, value in kept
    }


_NAMED = frozenset(("properties", "$defs", "definitions", "dependentSchemas"))


def _kind(error: Exception) -> str:
    return "it refers to itself without end" if isinstance(error, RecursionError) else type(error).__name__


class OutputChecks:
    """The output schemas of one server's tools, compiled when they are first needed."""

    def __init__(self) -> None:
        self._schemas: dict[str, dict[str, Any]] = {}
        self._compiled: dict[str, Callable[[Any], None]] = {}

    def learn(self, tools: Iterable[Tool]) -> None:
        """Take the schemas of a complete list of tools; what was known before is forgotten."""
        self._schemas = {tool.name: tool.output_schema for tool in tools if tool.output_schema is not None}
        self._compiled.clear()

    def check(self, name: str, result: CallToolResult) -> None:
        """Raises `RemoteProtocolError` when a result is not what its tool was listed with.

        A tool that was never listed, and one that reports a failure, are not checked.
        """
        if name not in self._schemas or result.is_error:
            return
        if result.structured_content is msgspec.UNSET:
            raise RemoteProtocolError(f"tool {name!r} has an output schema but returned no structuredContent")
        if name not in self._compiled:
            self._compiled[name] = validator_of(name, self._schemas[name])
        self._compiled[name](result.structured_content)
