"""HTTP+SSE of 2024-11-05: one event stream out, POSTs in. Importing this imports neither end.

mcpcore_transports.sse.server    what the endpoint of the HTTP transport serves at `sse_path`
mcpcore_transports.sse.client    `open_stream`: what the HTTP client falls back to

Neither is a transport by name: a server offers it beside HTTP, and a client finds it out.
"""

__all__ = ()
