"""Streamable HTTP of both eras, and HTTP+SSE beside it. Importing this imports neither end.

mcpcore_transports.http.server    `serve`: with our own listener
mcpcore_transports.http.mounted   `asgi_app`: inside an ASGI server or framework
mcpcore_transports.http.client    `HttpTransport`: reach a server by URL
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcpcore_transports.http.mounted import asgi_app as asgi_app

__all__ = ("asgi_app",)


def __getattr__(name: str) -> Any:
    if name == "asgi_app":
        from mcpcore_transports.http.mounted import asgi_app

        return asgi_app
    raise AttributeError(f"module 'mcpcore_transports.http' has no attribute {name!r}")
