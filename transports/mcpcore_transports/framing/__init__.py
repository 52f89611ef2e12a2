"""Bytes to frames and back, without any input or output of their own. Importing this imports no framing."""

__all__ = ()
