"""Watching by itself: who is subscribed when, and when a task runs. Over whole sessions: test_changes.py."""

from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import anyio
import anyio.abc
import pytest
from core.wire import PATIENCE

from mcpcore.changes import LIST_CHANGED, RESOURCE_UPDATED, Change, Publisher
from mcpcore.context import Context
from mcpcore.errors import ConnectionLost
from mcpcore.session import Session
from mcpcore.types import (
    META_SUBSCRIPTION_ID,
    ListChangedCapability,
    ResourcesCapability,
    ServerCapabilities,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)
from mcpcore.watching import Watching

pytestmark = pytest.mark.anyio

TOOLS = Change(LIST_CHANGED["tools"])
PROMPTS = Change(LIST_CHANGED["prompts"])
URI = "config://app"
CAPABILITIES = ServerCapabilities(tools=ListChangedCapability(), resources=ResourcesCapability())


class Recorded:
    """As much of a session as watching uses; `gate` holds up what is sent."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self._tasks = tasks
        self.started = 0
        self.running = 0
        self.sent: list[str] = []
        self.gate = anyio.Event()
        self.gate.set()
        self.lost = False
        self.ending = False
        self.when_ending: set[Callable[[], None]] = set()

    def start_soon(self, work: Callable[..., Any], *args: Any) -> None:
        async def run() -> None:
            self.running += 1
            try:
                await work(*args)
            except ConnectionLost:
                assert self.lost
            finally:
                self.running -= 1

        self.started += 1
        self._tasks.start_soon(run)

    async def notify(self, method: str, params: Any) -> None:
        await self.gate.wait()
        if self.lost:
            raise ConnectionLost("the peer is gone")
        self.sent.append(getattr(params, "uri", method))

    def end(self) -> None:
        self.ending = True
        for wake in tuple(self.when_ending):
            wake()


class Listening:
    """As much of a context as a listen uses."""

    request_id = "listen-1"

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    async def send(self, method: str, params: Any) -> bool:
        self.sent.append((method, params))
        return True


@pytest.fixture
async def session() -> AsyncIterator[Recorded]:
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            yield Recorded(tasks)
            tasks.cancel_scope.cancel()


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def watching(publisher: Publisher, session: Recorded) -> Watching:
    return Watching(publisher, lambda: CAPABILITIES, cast(Session, session))


async def subscribe(watching: Watching, uri: str = URI) -> None:
    await watching.subscribe(cast(Context, None), SubscribeRequestParams(uri=uri))


# ---------------------------------------------------------------------- handshake era


async def test_a_session_follows_once_however_often_it_is_asked(watching: Watching, publisher: Publisher) -> None:
    assert len(publisher) == 0
    subscriber = watching.follow()
    await subscribe(watching)
    assert watching.follow() is subscriber
    assert len(publisher) == 1
    assert subscriber.uris.keys() == {URI}
    await watching.unsubscribe(cast(Context, None), UnsubscribeRequestParams(uri=URI))
    assert subscriber.uris == {}


async def test_a_session_that_is_over_is_subscribed_to_nothing(watching: Watching, publisher: Publisher) -> None:
    watching.close()  # before it ever followed
    watching.follow()
    watching.close()
    watching.close()
    assert len(publisher) == 0


async def test_an_idle_session_has_no_task(watching: Watching, publisher: Publisher, session: Recorded) -> None:
    await subscribe(watching)
    publisher.publish(Change(RESOURCE_UPDATED, "config://other"))
    assert session.started == 0
    publisher.publish(TOOLS)
    await anyio.wait_all_tasks_blocked()
    assert (session.started, session.running, session.sent) == (1, 0, [TOOLS.method])
    publisher.publish(Change(RESOURCE_UPDATED, URI))
    await anyio.wait_all_tasks_blocked()
    assert (session.started, session.running, session.sent) == (2, 0, [TOOLS.method, URI])


async def test_what_changes_meanwhile_is_sent_by_the_same_task(
    watching: Watching, publisher: Publisher, session: Recorded
) -> None:
    await subscribe(watching)
    session.gate = anyio.Event()
    publisher.publish(TOOLS)
    await anyio.wait_all_tasks_blocked()
    for _ in range(3):
        publisher.publish(TOOLS)
        publisher.publish(Change(RESOURCE_UPDATED, URI))
    session.gate.set()
    await anyio.wait_all_tasks_blocked()
    assert (session.started, session.sent) == (1, [TOOLS.method, TOOLS.method, URI])


async def test_a_kind_without_capability_is_not_sent(
    watching: Watching, publisher: Publisher, session: Recorded
) -> None:
    watching.follow()
    publisher.publish(PROMPTS)
    publisher.publish(TOOLS)
    await anyio.wait_all_tasks_blocked()
    assert session.sent == [TOOLS.method]


async def test_after_a_failure_the_next_change_is_tried_again(
    watching: Watching, publisher: Publisher, session: Recorded
) -> None:
    watching.follow()
    session.lost = True
    publisher.publish(TOOLS)
    await anyio.wait_all_tasks_blocked()
    session.lost = False
    publisher.publish(TOOLS)
    await anyio.wait_all_tasks_blocked()
    assert (session.started, session.running, session.sent) == (2, 0, [TOOLS.method])


# ---------------------------------------------------------------------- subscriptions/listen


async def test_a_listen_ends_with_the_session_and_leaves_nothing(
    watching: Watching, publisher: Publisher, session: Recorded
) -> None:
    context, results = Listening(), []
    wanted = SubscriptionFilter(tools_list_changed=True, prompts_list_changed=True, resource_subscriptions=[URI])

    async def listen() -> None:
        results.append(
            await watching.listen(cast(Context, context), SubscriptionsListenRequestParams(notifications=wanted))
        )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        await anyio.wait_all_tasks_blocked()
        assert (len(publisher), len(session.when_ending)) == (1, 1)
        for change in (TOOLS, PROMPTS, Change(RESOURCE_UPDATED, URI), Change(RESOURCE_UPDATED, "config://other")):
            publisher.publish(change)
        await anyio.wait_all_tasks_blocked()
        session.end()
    methods = [method for method, _ in context.sent]
    assert methods == ["notifications/subscriptions/acknowledged", TOOLS.method, RESOURCE_UPDATED]
    assert [params.meta for _, params in context.sent] == [{META_SUBSCRIPTION_ID: "listen-1"}] * 3
    assert context.sent[0][1].notifications == SubscriptionFilter(tools_list_changed=True, resource_subscriptions=[URI])
    assert [result.meta for result in results] == [{META_SUBSCRIPTION_ID: "listen-1"}]
    assert (len(publisher), len(session.when_ending)) == (0, 0)


async def test_a_cancelled_listen_leaves_nothing(watching: Watching, publisher: Publisher, session: Recorded) -> None:
    everything = SubscriptionsListenRequestParams(notifications=SubscriptionFilter(tools_list_changed=True))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watching.listen, cast(Context, Listening()), everything)
        await anyio.wait_all_tasks_blocked()
        assert (len(publisher), len(session.when_ending)) == (1, 1)
        tasks.cancel_scope.cancel()
    assert (len(publisher), len(session.when_ending)) == (0, 0)
