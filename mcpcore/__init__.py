"""Model Context Protocol servers and clients on structured concurrency.

The modules, from the bottom up; each imports only from those above it in this list:

    errors revisions types   what can go wrong, the five revisions, the payloads
    jsonrpc methods          messages, and what each method carries
    channel exchange         envelopes that carry their way back; what is in flight on one pipe
    multiplex session        many requests over one pipe; one peer, one task group
    schema forms templates   signatures, forms and URIs
    eras adaptation          what differs between the revisions
    context catalogue        what a handler may do; what a server offers
    dispatch server          a catalogue that answers
    answering client         a session that asks
    bridge group             a server that asks another one; several servers used as one
    traffic metrics tracing  what passed, what it took, and what belongs together
    testing cli              the published test kit; the command line

Names are imported when they are used: a server never loads the client, and neither loads a backend it does not run on.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcpcore.bridge.bridge import Bridge as Bridge
    from mcpcore.client import Client as Client
    from mcpcore.client import open_client as open_client
    from mcpcore.context import Context as Context
    from mcpcore.context import Elicited as Elicited
    from mcpcore.errors import ConnectFailed as ConnectFailed
    from mcpcore.errors import ConnectionLost as ConnectionLost
    from mcpcore.errors import DeadlineExceeded as DeadlineExceeded
    from mcpcore.errors import InvalidParams as InvalidParams
    from mcpcore.errors import LocalProtocolError as LocalProtocolError
    from mcpcore.errors import MissingCapability as MissingCapability
    from mcpcore.errors import PeerError as PeerError
    from mcpcore.errors import RemoteProtocolError as RemoteProtocolError
    from mcpcore.errors import RequestError as RequestError
    from mcpcore.errors import ResourceNotFound as ResourceNotFound
    from mcpcore.errors import SchemaError as SchemaError
    from mcpcore.errors import ToolError as ToolError
    from mcpcore.group.client_group import ClientGroup as ClientGroup
    from mcpcore.principal import Principal as Principal
    from mcpcore.revisions import Era as Era
    from mcpcore.revisions import Revision as Revision
    from mcpcore.server import Server as Server
    from mcpcore.serving import serve as serve
    from mcpcore.session import Limits as Limits

_HOME = {
    "Bridge": "bridge.bridge",
    "Client": "client",
    "ClientGroup": "group.client_group",
    "ConnectFailed": "errors",
    "ConnectionLost": "errors",
    "Context": "context",
    "DeadlineExceeded": "errors",
    "Elicited": "context",
    "Era": "revisions",
    "InvalidParams": "errors",
    "Limits": "session",
    "LocalProtocolError": "errors",
    "MissingCapability": "errors",
    "PeerError": "errors",
    "Principal": "principal",
    "RemoteProtocolError": "errors",
    "RequestError": "errors",
    "ResourceNotFound": "errors",
    "Revision": "revisions",
    "SchemaError": "errors",
    "Server": "server",
    "ToolError": "errors",
    "open_client": "client",
    "serve": "serving",
}

__all__ = (
    "Bridge",
    "Client",
    "ClientGroup",
    "ConnectFailed",
    "ConnectionLost",
    "Context",
    "DeadlineExceeded",
    "Elicited",
    "Era",
    "InvalidParams",
    "Limits",
    "LocalProtocolError",
    "MissingCapability",
    "PeerError",
    "Principal",
    "RemoteProtocolError",
    "RequestError",
    "ResourceNotFound",
    "Revision",
    "SchemaError",
    "Server",
    "ToolError",
    "open_client",
    "serve",
)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"mcpcore.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mcpcore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
