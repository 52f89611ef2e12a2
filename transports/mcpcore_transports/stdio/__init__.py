"""JSON-RPC lines over standard input and output (MCP, "Transports", stdio). Importing this imports neither end.

mcpcore_transports.stdio.server    `serve`: be the child, on the process's own descriptors
mcpcore_transports.stdio.client    `StdioTransport`: start a child and talk to it
"""

__all__ = ()
