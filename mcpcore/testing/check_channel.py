"""Is this a transport? Every clause of the contract of `mcpcore.channel`, checked on a connection of its own."""

import anyio

from mcpcore.errors import ConnectionLost
from mcpcore.testing.check_asking import ASKING
from mcpcore.testing.check_closing import CLOSING
from mcpcore.testing.check_pressure import PRESSURE
from mcpcore.testing.contract import PATIENCE_SECONDS, Clause, MakePair

__all__ = ("check_channel",)


async def check_channel(make_pair: MakePair, clogged_make_pair: MakePair | None = None) -> None:
    """Check that what `make_pair` makes keeps the contract of `mcpcore.channel.Channel`, on the running backend.

    `make_pair` is called once for each clause, without arguments, and returns an async context manager that yields
    two connected channels: the client's end and the server's end.

        @asynccontextmanager
        async def make_pair():
            ours, theirs = memory_pipes()
            async with Multiplexer(ours) as client, Multiplexer(theirs) as server:
                yield client, server

        await check_channel(make_pair)

    `clogged_make_pair` does the same with buffers as small as the transport can have them, where an end that does
    not receive makes the other one wait; without it the clauses about waiting are not checked. Channels that have
    `send_eof` are checked for the half close.

    Raises `AssertionError` for the first clause that is broken. Its text says what was found, what is promised and
    where that is written. A check that makes no progress within `PATIENCE_SECONDS` is a broken clause too.
    """
    for clause in (*ASKING, *CLOSING):
        await _check(clause, make_pair)
    if clogged_make_pair is not None:
        for clause in PRESSURE:
            await _check(clause, clogged_make_pair)


async def _check(clause: Clause, make_pair: MakePair) -> None:
    finished = False
    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            async with make_pair() as (client, server):
                await clause.check(client, server)
                finished = True
    except Exception as error:
        failure = _sole(error)
        if isinstance(failure, AssertionError):
            raise clause.broken(str(failure)) from error
        if isinstance(failure, TimeoutError) and not isinstance(failure, ConnectionLost):
            where = "to take the connection down" if finished else "for what was promised"
            raise clause.broken(f"waited {PATIENCE_SECONDS:g} s {where}, in vain") from error
        if not (isinstance(failure, ConnectionLost) and clause.breaks):
            raise clause.broken(f"raised {failure!r}") from error


def _sole(error: BaseException) -> BaseException:
    """What went wrong first inside the task groups of a check; an assertion says more than what followed from it."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    found = [_sole(inner) for inner in error.exceptions]
    return next((one for one in found if isinstance(one, AssertionError)), found[0])
