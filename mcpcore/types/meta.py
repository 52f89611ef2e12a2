"""The `_meta` keys that the protocol reserves, and the grammar of keys (MCP 2026-07-28, "General fields: _meta")."""

import re

from mcpcore.errors import LocalProtocolError

__all__ = (
    "META_CLIENT_CAPABILITIES",
    "META_CLIENT_INFO",
    "META_LOG_LEVEL",
    "META_MODEL_IMMEDIATE_RESPONSE",
    "META_PROGRESS_TOKEN",
    "META_PROTOCOL_VERSION",
    "META_RELATED_TASK",
    "META_SERVER_INFO",
    "META_SUBSCRIPTION_ID",
    "check_meta_key",
    "is_reserved_meta_key",
)

META_PROGRESS_TOKEN = "progressToken"
META_PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CLIENT_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
META_CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
META_LOG_LEVEL = "io.modelcontextprotocol/logLevel"
META_SERVER_INFO = "io.modelcontextprotocol/serverInfo"
META_SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"
META_RELATED_TASK = "io.modelcontextprotocol/related-task"
META_MODEL_IMMEDIATE_RESPONSE = "io.modelcontextprotocol/model-immediate-response"

_LABEL = r"[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_NAME = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_KEY = rf"(?:({_LABEL}(?:\.{_LABEL})*)/)?{_NAME}"  # compiled, and kept by `re`, when it is first needed
_RESERVED_LABELS = frozenset({"modelcontextprotocol", "mcp"})


def is_reserved_meta_key(key: str) -> bool:
    """Whether the prefix of a `_meta` key belongs to MCP, by the rule of any revision.

    2025-11-25 and later reserve a prefix by its second label; 2025-06-18 by any label that has another one
    after it. `com.example.mcp/` is free under both, `mcp.dev/` only under the later rule.
    """
    prefix, slash, _ = key.partition("/")
    if not slash:
        return False
    labels = prefix.lower().split(".")
    return labels[1:2] != [] and (labels[1] in _RESERVED_LABELS or not _RESERVED_LABELS.isdisjoint(labels[:-1]))


def check_meta_key(key: str) -> None:
    """Check a key that application code wants to put into `_meta`.

    Raises LocalProtocolError when the key breaks the grammar or its prefix is reserved for MCP.
    """
    if re.fullmatch(_KEY, key) is None:
        raise LocalProtocolError(
            f"{key!r} is no _meta key: use 'name' or 'com.example/name', where each label of the prefix starts with "
            "a letter and ends with a letter or digit, and the name starts and ends with a letter or digit"
        )
    if is_reserved_meta_key(key):
        raise LocalProtocolError(f"the _meta key {key!r} is reserved for MCP: use a prefix of your own domain")
