"""The published JSON Schemas of the five revisions, as judges of what we emit.

They lie in `shared/schema` beside the checkout, or where MCPCORE_SCHEMAS points to.
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import msgspec

from mcpcore.revisions import Revision

__all__ = ("SCHEMAS", "definitions", "examples", "message_definition", "validate")

SCHEMAS = Path(os.environ.get("MCPCORE_SCHEMAS", Path(__file__).parents[3] / "shared" / "schema"))

# Members below these hold JSON Schemas, metadata or anything: the revision does not list what may be in them.
_OPEN_MEMBERS = frozenset({"inputSchema", "outputSchema", "requestedSchema", "_meta"})

# Parts of an intersection: closing one part would forbid the members of the other.
_PARTS = frozenset({"Error", "NotificationParams", "Result", "Task"})


@cache
def _document(revision: Revision) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SCHEMAS / f"{revision}.json").read_text())
    return document


def _keyword(revision: Revision) -> str:
    return "$defs" if "$defs" in _document(revision) else "definitions"


def definitions(revision: Revision) -> dict[str, Any]:
    """Name -> schema of every type that the revision publishes."""
    found: dict[str, Any] = _document(revision)[_keyword(revision)]
    return found


@cache
def message_definition(revision: Revision, method: str) -> str | None:
    """The name of the request or notification type with this method."""
    for name, schema in definitions(revision).items():
        if schema.get("properties", {}).get("method", {}).get("const") == method:
            return name
    return None


def _closed(schema: Any, name: str = "") -> Any:
    """The same schema with members that it does not list forbidden: what we send must be of its revision."""
    if isinstance(schema, list):
        return [_closed(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {keyword: _closed(value) for keyword, value in schema.items() if keyword != "properties"}
    if "properties" in schema:
        closed["properties"] = {
            member: value if member in _OPEN_MEMBERS else _closed(value, member)
            for member, value in schema["properties"].items()
        }
        if name == "params":
            closed["properties"].setdefault("_meta", {})  # Legal in every request, spelled out in few.
        if name in ("ClientCapabilities", "ServerCapabilities", "capabilities"):
            closed["properties"].setdefault("extensions", {})  # Legacy peers may see extensions defined for them.
        if name not in _PARTS and not name.endswith("MetaObject"):
            closed.setdefault("additionalProperties", False)
    return closed


@cache
def _validator(revision: Revision, definition: str) -> Any:
    document = _document(revision)
    keyword = _keyword(revision)
    closed = _closed_definitions(revision)
    schema = {"$schema": document["$schema"], "$ref": f"#/{keyword}/{definition}", keyword: closed}
    return jsonschema.validators.validator_for(schema)(schema)


@cache
def _closed_definitions(revision: Revision) -> dict[str, Any]:
    return {name: _closed(schema, name) for name, schema in definitions(revision).items()}


def validate(payload: Any, revision: Revision, definition: str) -> Any:
    """Check that this payload encodes to what the definition says and to nothing else; returns the decoded JSON."""
    wire = json.loads(msgspec.json.encode(payload))
    error = jsonschema.exceptions.best_match(_validator(revision, definition).iter_errors(wire))
    assert error is None, f"{revision} {definition} at {error.json_path}: {error.message}\n{wire}"
    return wire


def examples() -> list[tuple[str, Path]]:
    """(type name, file) of every published example; they are all of the newest revision."""
    folder = SCHEMAS / "examples" / Revision.R2026_07_28
    return [(path.parent.name, path) for path in sorted(folder.glob("*/*.json"))]
