"""The server's end of stdio: this process is the child, and its host holds the other ends of two pipes."""

import sys
from typing import Protocol

import anyio
from anyio.abc import TaskStatus

from mcpcore.channel import Channel, Origin
from mcpcore.multiplex import Multiplexer
from mcpcore_transports.framing.lines import MAX_LINE_BYTES
from mcpcore_transports.stdio.pipe import WRITE_DEADLINE_SECONDS, ByteStream, LinePipe
from mcpcore_transports.stdio.redirection import private_stdio
from mcpcore_transports.stdio.stderr import patient_stderr

__all__ = ("GRACE_SECONDS", "ChannelServer", "serve")

GRACE_SECONDS = 5.0
"""How long accepted work may go on after the end of the input. Hosts commonly kill a few seconds after that."""


class ChannelServer(Protocol):
    """What is served: anything that can deal with one peer's channel."""

    async def serve_channel(self, channel: Channel, *, grace: float) -> None:
        """Answer until the channel ends, then give accepted work `grace` seconds."""


async def serve(
    server: ChannelServer,
    *,
    grace: float = GRACE_SECONDS,
    max_line_bytes: int = MAX_LINE_BYTES,
    write_deadline: float = WRITE_DEADLINE_SECONDS,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve one peer on this process's standard input and output until it closes them or this is cancelled.

    Work accepted before the end of the input has `grace` seconds to finish and is answered. Lines longer than
    `max_line_bytes` are refused; a host that leaves an answer unread for `write_deadline` seconds is given up.
    While this runs, nothing else in the process can read descriptor 0 or write to the protocol (see
    `private_stdio`); both descriptors are back in place when it returns or raises, also after a cancellation.

    Raises `ConnectionLost` when the host is gone while there is something to tell it, `ConnectFailed` when there
    is no standard input or output, `LocalProtocolError` when they are served already.
    """
    with patient_stderr(), private_stdio() as (input_fd, output_fd):
        pipe = LinePipe(_open_stream(input_fd, output_fd, write_deadline), max_line_bytes=max_line_bytes)
        async with Multiplexer(pipe, origin=Origin(transport="stdio")) as channel:
            task_status.started()
            await server.serve_channel(channel, grace=grace)


def _open_stream(input_fd: int, output_fd: int, write_deadline: float) -> ByteStream:
    if sys.platform == "win32":
        from mcpcore_transports.stdio.threads import ThreadStream as Stream
    else:
        from mcpcore_transports.stdio.descriptors import DescriptorStream as Stream
    return Stream(input_fd, output_fd, write_deadline=write_deadline)
