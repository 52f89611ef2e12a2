"""Asking the client while answering it: one call for the handler, in whichever way the terms allow.

In the handshake era a question is a request on the reply channel, and the handler waits for the answer. From
2026-07-28 on it ends the run, and a later run of the same handler finds the answer at hand.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import anyio
import anyio.lowlevel
import msgspec

from mcpcore.adaptation import adapt
from mcpcore.eras.rounds import Rounds
from mcpcore.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidParams,
    MissingCapability,
    RemoteProtocolError,
    RequestError,
    ToolError,
)
from mcpcore.methods import REQUESTS
from mcpcore.revisions import Revision
from mcpcore.session import Call

__all__ = ("ASK_SECONDS", "Asker", "RoundAsker", "Suspended", "WireAsker", "sole_fault")

ASK_SECONDS = 600.0
"""How long a person has to answer a question that a handler waits for: as long as they may look for a document,
not as long as they may leave a dialog open over a weekend."""


class Suspended(BaseException):
    """A handler has asked something whose answer is not there yet; this run of it is over.

    Not an `Exception`: a handler that catches those must not catch this.
    """


class Asker(ABC):
    """How one handler asks."""

    @abstractmethod
    async def ask(self, method: str, params: Any, key: str | None = None) -> Any:
        """The client's result for a question, as the struct of `method`. `key` names it among those of one request."""

    @abstractmethod
    async def once(self, name: str, fn: Callable[[], Awaitable[Any]]) -> Any:
        """Run `fn` once for the whole request, in however many runs of the handler it is answered."""


class WireAsker(Asker):
    """Asks by a request on the reply channel; the handler's only run waits for the answer."""

    def __init__(self, call: Call, revision: Revision, timeout: float = ASK_SECONDS) -> None:
        self._call = call
        self._revision = revision
        self._timeout = timeout

    async def ask(self, method: str, params: Any, key: str | None = None) -> Any:
        raw = await self._call.request(method, adapt(params, self._revision), timeout=self._timeout)
        return REQUESTS[method].decode_result(raw)

    async def once(self, name: str, fn: Callable[[], Awaitable[Any]]) -> Any:
        return await fn()


class RoundAsker(Asker):
    """Asks by ending the run, unless the answer has come already."""

    def __init__(self, rounds: Rounds, revision: Revision) -> None:
        self._rounds = rounds
        self._revision = revision

    async def ask(self, method: str, params: Any, key: str | None = None) -> Any:
        answer = self._rounds.ask(method, adapt(params, self._revision), key)
        # Before this run ends, tasks that the handler started beside this one get to ask their questions too: what is
        # asked together goes out together.
        await anyio.lowlevel.checkpoint()
        if answer is None:
            self._suspend()
        try:
            return REQUESTS[method].decode_result(answer)
        except RemoteProtocolError as error:
            raise InvalidParams(f"an inputResponses entry does not answer its {method}: {error}") from None

    def _suspend(self) -> NoReturn:
        raise Suspended

    async def once(self, name: str, fn: Callable[[], Awaitable[Any]]) -> Any:
        kept = self._rounds.recall(name)
        if kept is not None:
            return msgspec.json.decode(kept)
        result = await fn()
        self._rounds.keep(name, result)
        # Every run sees the same value, this one included: what came back from JSON.
        kept = self._rounds.recall(name)
        assert kept is not None
        return msgspec.json.decode(kept)


_TELLING = (ConnectionLost, DeadlineExceeded, MissingCapability, RemoteProtocolError, RequestError, ToolError)


class _SoleFault:
    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        if not isinstance(error, BaseExceptionGroup):
            return
        suspended, faults = error.split(Suspended)
        sole: BaseException = faults or Suspended()
        while isinstance(sole, BaseExceptionGroup) and len(sole.exceptions) == 1:
            sole = sole.exceptions[0]
        if isinstance(sole, _TELLING):
            raise sole from sole.__cause__
        if suspended is not None:
            raise (faults or sole) from None


sole_fault: _SoleFault = _SoleFault()
"""A context manager that raises what a handler's own task groups wrapped, where its type says what to answer. Any
other group stays one.

Of suspensions beside a fault the fault counts; of several suspensions one is enough. It holds nothing, so one will do
for all requests.
"""
