"""The connection to the server behind a bridge, in one owner task: opened, begun again when it breaks, and closed."""

import logging
from abc import ABC, abstractmethod
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskStatus

from mcpcore.bridge.flight import Flight
from mcpcore.bridge.tap import Tap
from mcpcore.channel import Channel, Envelope, Origin
from mcpcore.errors import (
    CODE_INTERNAL_ERROR,
    CODE_SERVER_BUSY,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    PeerError,
    RemoteProtocolError,
    RequestError,
)
from mcpcore.groups import sole_error
from mcpcore.jsonrpc import Notification, Request
from mcpcore.session import Call, Role, Session
from mcpcore.splicing import with_meta
from mcpcore.transport import Transport
from mcpcore.types import META_PROGRESS_TOKEN
from mcpcore.types.base import RequestId

__all__ = (
    "CONNECT_SECONDS",
    "LIVED_SECONDS",
    "MAX_QUESTIONS",
    "RETRIES",
    "RETRY_SECONDS",
    "STALL_SECONDS",
    "Passage",
    "Upstream",
)

CONNECT_SECONDS = 60.0
"""How long a server may take from being started until it can be used. Package runners download first."""

RETRIES = 5
"""Times in a row that a connection which broke is begun again."""

RETRY_SECONDS = 0.5
"""Pause before the second such attempt; it doubles each time. The first comes at once."""

LIVED_SECONDS = 5.0
"""A connection that lasted this long was a working one: the count of attempts begins anew."""

STALL_SECONDS = 1.0
"""How long one reader in front may hold up a message that belongs to its request without saying so; then it is
dropped and counted. What does belong to it waits for as long as the transports let it."""

MAX_QUESTIONS = 64
"""Questions of the server that one connection has open; the next one is refused."""

logger: logging.Logger = logging.getLogger("mcpcore.bridge")

_UNUSABLE = (ConnectionLost, DeadlineExceeded, PeerError, RemoteProtocolError)
"""What may be wrong with a server while a connection to it is begun."""


class Passage(ABC):
    """What is done with one connection to the server behind: how it begins, and what comes that answers nothing."""

    @abstractmethod
    async def greet(self, session: Session, channel: Channel) -> None:
        """Bring a connection that has just come up to where it can be used, whether it is the first one or not."""

    @abstractmethod
    async def heard(self, notification: Notification) -> None:
        """A notification that belongs to no request in flight. What this waits for holds up the server."""

    @abstractmethod
    async def asked(self, call: Call, flight: Flight | None) -> Any:
        """The answer to a question of the server, which came with this request if that is known."""


class Upstream(Role):
    """Keeps one connection. `own` is its task; everything else may be called from any task."""

    answers_malformed = False

    def __init__(self, transport: Transport, passage: Passage, *, attributes: bool) -> None:
        """`attributes` says that whatever the server says unasked may go to the latest request in flight, because there
        is one client in front. Otherwise it goes there only if no other request is in flight."""
        self._transport = transport
        self._passage = passage
        self._attributes = attributes
        self._flights: dict[RequestId, Flight] = {}
        self._asking: dict[Any, Flight] = {}
        self._questions = 0
        self._names = 0
        self._session: Session | None = None
        self._changed = anyio.Event()
        self._closing = anyio.Event()
        self.closed: anyio.Event = anyio.Event()
        self.failure: ConnectionLost | None = None
        """Why there is no connection any more, and will be none."""
        self.connections: int = 0
        """How often a connection was begun."""
        self.dropped: int = 0
        """Messages that nobody could be given."""

    # ------------------------------------------------------------------ the connection

    async def own(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Connect, and keep connected until `close`. Reports started when it can be used for the first time.

        Raises what the first attempt raises, and nothing after it: then `failure` says what happened.
        """
        failures = 0
        try:
            while True:
                began = anyio.current_time()
                try:
                    with sole_error():
                        async with self._transport.connect() as channel:
                            lost = await self._drive(channel, task_status)
                except _UNUSABLE as error:
                    if not self.connections:
                        raise
                    lost = error if isinstance(error, ConnectionLost) else ConnectionLost(str(error))
                finally:
                    self._session = None
                if self._closing.is_set():
                    return
                failures = 0 if anyio.current_time() - began >= LIVED_SECONDS else failures + 1
                logger.warning("the server behind was lost: %s", lost)
                if failures > RETRIES:
                    self._give_up(ConnectionLost(f"the server behind was lost {failures} times in a row: {lost}"))
                    return
                with anyio.move_on_after(RETRY_SECONDS * 2 ** (failures - 2) if failures > 1 else 0):
                    await self._closing.wait()
                if self._closing.is_set():
                    return
        except Exception as error:
            self._give_up(error if isinstance(error, ConnectionLost) else ConnectionLost(str(error)))
            raise
        finally:
            self.closed.set()
            self._tell_changed()

    def close(self) -> None:
        """End the connection; `closed` is set when it is gone."""
        self._closing.set()

    async def session(self) -> Session:
        """The session that there is, or will be in a moment. Raises `ConnectionLost` when there will be none.

        Wait for it within a deadline.
        """
        while self._session is None:
            if self.failure is not None:
                raise ConnectionLost(str(self.failure)) from self.failure
            if self.closed.is_set():
                raise ConnectionLost("the connection is closed")
            await self._changed.wait()
        return self._session

    async def _drive(self, channel: Channel, task_status: TaskStatus[None]) -> ConnectionLost:
        """Use one connection until it ends; returns why."""
        session = Session(Tap(channel, self._take, self._forget_session), self)
        lost = ConnectionLost("the server closed the connection")

        async def run(*, task_status: TaskStatus[None]) -> None:
            nonlocal lost
            try:
                await session.run(task_status=task_status)
            except ConnectionLost as error:
                lost = error
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            await tasks.start(run)
            try:
                with anyio.fail_after(CONNECT_SECONDS):
                    await self._passage.greet(session, channel)
            except TimeoutError:
                raise ConnectFailed(f"the server could not be used within {CONNECT_SECONDS:g} s") from None
            self._session = session
            self._tell_changed()
            self.connections += 1
            if self.connections == 1:
                task_status.started()
            await self._closing.wait()
            tasks.cancel_scope.cancel()
        return lost

    def _forget_session(self) -> None:
        """Whoever asks from here on waits for the next connection, instead of being lost with this one."""
        self._session = None

    def _give_up(self, failure: ConnectionLost) -> None:
        self.failure = failure
        self._tell_changed()

    def _tell_changed(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # ------------------------------------------------------------------ requests

    async def begin(
        self, call: Call, method: str, params: msgspec.Raw, token: RequestId | None, origin: Origin | None = None
    ) -> Flight:
        """Send a request on behalf of `call`; whoever called this has to `end` it. Raises `ConnectionLost`.

        With one client in front, the id is chosen so that the parameters can go as they are: a server's progress finds
        its request by a token that is the request's id. Clients that share a connection get an id which was never used
        on it: all of them may call a request 1, and an answer that comes after one has left must not reach another.
        """
        session = await self.session()
        wanted = call.id if token is None else token
        if not self._attributes or wanted in self._flights:
            wanted = self.fresh_id()
        if token is not None and token != wanted:
            params = with_meta(params, {META_PROGRESS_TOKEN: wanted})
        flight = Flight(call, token, wanted, None)  # type: ignore[arg-type]
        self._flights[wanted] = flight
        try:
            flight.inbox = await session.open(method, params, id=wanted, origin=origin)
        except BaseException:
            del self._flights[wanted]
            raise
        return flight

    def fresh_id(self) -> str:
        """An id that no request in flight has, and that was not given out before."""
        while True:
            self._names += 1
            id = f"bridge-{self._names}"
            if id not in self._flights:
                return id

    def end(self, flight: Flight) -> None:
        """The answer is there, or nobody waits for it any more: then the server is told."""
        if self._flights.get(flight.id) is flight:
            del self._flights[flight.id]
        if self._session is not None:
            self._session.close_inbox(flight.inbox)
        else:
            flight.inbox.close()

    async def ask_user(self, flight: Flight, question: Envelope) -> None:
        """Have a question that came with a request answered beside whatever else comes with it."""
        session = await self.session()
        self._asking[question.reply] = flight
        session.start_soon(session.answer, question)

    async def tell(self, notification: Notification) -> None:
        """Send a notification. Raises `ConnectionLost`."""
        session = await self.session()
        await session.channel.send(Envelope(notification))

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    # ------------------------------------------------------------------ what the server says unasked

    async def _take(self, envelope: Envelope) -> bool:
        message = envelope.message
        if isinstance(message, Request):
            flight = self._about()
            return flight is not None and flight.inbox.put(envelope)
        if not isinstance(message, Notification):
            return False
        flight = self._about() if message.method == "notifications/message" else None
        if flight is not None:
            # Into its inbox, because there it keeps its place among progress and result.
            with anyio.move_on_after(STALL_SECONDS):
                await flight.inbox.wait_not_full()
            if flight.inbox.full or not flight.inbox.put(envelope):
                self.dropped += 1
        else:
            await self._passage.heard(message)
        return True

    def _about(self) -> Flight | None:
        """The request that something unasked is about, as far as that can be known."""
        open = (flight for flight in self._flights.values() if flight.inbox is not None)
        flights = [flight for flight in open if flight.call.method != "subscriptions/listen"]
        # One whose question is with the client is not the one that goes on, unless there is no other.
        going = [flight for flight in flights if not flight.parked] or flights
        return going[-1] if len(going) == 1 or (going and self._attributes) else None

    def is_stream(self, method: str) -> bool:
        return False

    def hear(self, notification: Notification, origin: Origin | None) -> None:
        """Nothing: notifications are taken before they come this far."""

    async def answer(self, call: Call) -> Any:
        flight = self._asking.pop(call.reply, None)
        if self._questions >= MAX_QUESTIONS:
            raise RequestError(CODE_SERVER_BUSY, f"{MAX_QUESTIONS} questions are open, which is the limit")
        self._questions += 1
        try:
            return await self._passage.asked(call, flight)
        except ConnectionLost:
            raise RequestError(CODE_INTERNAL_ERROR, "there is nobody any more who could answer") from None
        finally:
            self._questions -= 1
