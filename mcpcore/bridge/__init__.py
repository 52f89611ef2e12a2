"""A bridge: any server over any other transport, with clients of either era in front of it.

tap flight              envelopes taken out of a channel; one request on its way through
upstream                the connection to the server behind, begun again when it breaks
piping                  both sides of the same era: a pipe of envelopes
downward upward         a legacy client before a modern server; a modern client before a legacy one
front bridge            one peer in front; what a transport serves
"""

__all__ = ()
