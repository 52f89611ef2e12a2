"""The kit that this library tests itself with, for whoever writes a transport, a server or a client.

check_channel     is this a transport? The contract of `mcpcore.channel.Channel`, clause by clause
memory_pipes      two pipes joined in memory, for a `Multiplexer` without a process
slow_reader …     what goes wrong on a wire, as pipes around a pipe
wire_log          what went over a pipe
connected         a client and a server with a wire between them
virtual_time      deadlines that cost no time

It needs neither pytest nor a particular backend; `virtual_time` alone needs trio.
"""

from mcpcore.testing.check_channel import check_channel
from mcpcore.testing.connected import PipeTransport, connected
from mcpcore.testing.faults import cut_in_half, drop_after, garble, half_close, inject, slow_reader
from mcpcore.testing.pipes import MemoryPipe, memory_pipes
from mcpcore.testing.virtual_time import virtual_time
from mcpcore.testing.wire_log import Logged, WireLog, wire_log

__all__ = (
    "Logged",
    "MemoryPipe",
    "PipeTransport",
    "WireLog",
    "check_channel",
    "connected",
    "cut_in_half",
    "drop_after",
    "garble",
    "half_close",
    "inject",
    "memory_pipes",
    "slow_reader",
    "virtual_time",
    "wire_log",
)
