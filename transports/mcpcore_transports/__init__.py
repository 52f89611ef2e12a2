"""The transports that come with mcpcore. Importing this imports none of them.

mcpcore_transports.framing    bytes <-> frames, without any input or output
mcpcore_transports.stdio      one peer over standard input and output, or one child process
"""

__all__ = ()
