"""HTTP for applications that are one function: our own listener, and the same application under any ASGI server.

exchange      what an application sees: one request in, one response out
listener      `serve_http`: HTTP/1.1 on anyio and h11
asgi          `AsgiApp`: for hypercorn, uvicorn, or a mount in another framework

Importing this imports none of them.
"""

__all__ = ()
