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

__all__ = ("OutputChecks", "available", "validator_of")


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
    # An empty registry: without one, jsonschema would fetch what a $ref names.
    validator = dialect(schema, registry=Registry())

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
