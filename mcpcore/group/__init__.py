"""Several servers used as one.

member          one of them: connected, and connected again, in a task of its own
client_group    all of them, with names that say whose a tool is
"""

__all__ = ()
