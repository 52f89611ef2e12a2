"""Coming back for the rest: `Last-Event-ID`, the store behind it, and connections that a tool lets go."""

import random
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from transports.raw_http import City, Event, Offer, Site, Talk, call, message, offer, serving, until

from mcpcore import Client, Context
from mcpcore_transports.http.replay import MemoryReplayStore, StoredEvent

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


# -- the store -------------------------------------------------------------------------------------------------------


async def test_the_store_gives_each_stream_its_own_rest() -> None:
    """Many streams interleaved at random, cut anywhere: what followed, once, in order, and nothing of the others."""
    chosen = random.Random(7)
    store = MemoryReplayStore()
    kept: dict[tuple[str, str], list[tuple[str, bytes]]] = {}
    for turn in range(2000):
        session, stream = f"s{chosen.randrange(3)}", str(chosen.randrange(30))
        data = b"%d" % turn
        kept.setdefault((session, stream), []).append((await store.append(session, stream, data), data))
    for (session, stream), events in kept.items():
        cut = chosen.randrange(len(events))
        assert await store.stream_of(session, events[cut][0]) == stream
        found = await store.after(session, events[cut][0])
        assert found is not None
        assert [(event.id, event.data) for event in found] == events[cut + 1 :]
    for session in ("s0", "s1", "s2"):
        ids = [id for (owner, _), events in kept.items() if owner == session for id, _ in events]
        assert len(set(ids)) == len(ids)
        assert all(id.isascii() and id.isprintable() and " " not in id for id in ids)


async def test_the_store_keeps_what_fits() -> None:
    store = MemoryReplayStore(max_bytes=100, max_events=5)
    ids = [await store.append("s", "1", b"x" * 10) for _ in range(8)]
    assert [await store.stream_of("s", id) is not None for id in ids] == [False] * 3 + [True] * 5
    assert await store.after("s", ids[0]) is None
    # One that is larger than the limit is not kept, and takes everything else with it.
    big = await store.append("s", "1", b"x" * 101)
    assert await store.after("s", big) is None
    assert await store.after("s", ids[-1]) is None
    small = await store.append("s", "1", b"x" * 100)
    assert await store.after("s", small) == []


async def test_the_store_knows_no_other_session_and_forgets() -> None:
    store = MemoryReplayStore()
    one, two = await store.append("s", "1", b"a"), await store.append("s", "2", b"b")
    assert await store.stream_of("other", one) is None
    assert await store.after("other", one) is None
    await store.forget("s", "1")
    assert (await store.stream_of("s", one), await store.stream_of("s", two)) == (None, "2")
    await store.forget("s")
    assert await store.stream_of("s", two) is None
    await store.forget("s", "2")
    await store.forget("nobody")


# -- resuming --------------------------------------------------------------------------------------------------------


class Cut:
    """Reads one stream over as many connections as it takes, and breaks each one off somewhere."""

    def __init__(self, talk: Talk, site: Site, chosen: random.Random) -> None:
        self.talk = talk
        self.site = site
        self.chosen = chosen
        self.last_id: str | None = None
        self.found: list[Any] = []
        self.connections = 0

    async def run(self, body: Any) -> list[Any]:
        while not (self.found and "result" in self.found[-1]):
            self.connections += 1
            async with self.site.connect() as wire:
                if self.last_id is None:
                    answer = await self.talk.post(body, wire=wire)
                else:
                    answer = await self.talk.get(wire, last_event_id=self.last_id)
                assert answer.status == 200, await answer.body()
                for _ in range(self.chosen.randrange(1, 9)):
                    event = await answer.event()
                    if event is None:
                        break
                    assert event.id is not None
                    self.last_id = event.id
                    if event.data:
                        self.found.append(event.json())
                await wire.close(reset=self.chosen.random() < 0.5)
        return self.found


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_a_stream_that_is_cut_anywhere_arrives_whole(revision: str) -> None:
    """Questions and answers are kept for a client that left; so the calls here do nothing but ask and answer."""
    chosen = random.Random(11)
    async with serving(_quiz(10)) as site, site.talk(revision, elicitation={}) as talk:

        async def one(name: str) -> None:
            cut = Cut(talk, site, chosen)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_answer_questions, site, talk, cut)
                found = await cut.run(call("quiz", {"name": name}, id=name))
                tasks.cancel_scope.cancel()
            asked = [message["params"]["message"] for message in found[:-1]]
            assert asked == [f"{name} {step}" for step in range(10)]
            assert found[-1]["result"]["content"][0]["text"] == name
            assert found[-1]["id"] == name
            assert cut.connections > 1

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(one, f"n{number}")


def _quiz(questions: int) -> Offer:
    made = offer()

    @made.server.tool
    async def quiz(name: str, ctx: Context) -> str:
        for step in range(questions):
            await ctx.elicit(f"{name} {step}", City)
        return name

    return made


async def _answer_questions(site: Site, talk: Talk, cut: Cut) -> None:
    """Answer what has been seen, as it is seen."""
    answered: list[Any] = []
    async with site.connect() as wire:
        while True:
            await until(lambda: len(cut.found) > len(answered))
            question = cut.found[len(answered)]
            answered.append(question)
            if "method" in question:
                decline = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}
                assert (await talk.post(decline, wire=wire)).status == 202


async def test_what_is_out_of_date_is_not_replayed_and_the_answer_is() -> None:
    async with serving() as site, site.talk() as talk:
        async with site.connect() as wire:
            answer = await talk.post(call("wait", {"steps": 2}, token=1), wire=wire)
            events = [await answer.event() for _ in range(3)]
            await site.offer.began.wait()
        [session] = site.endpoint.sessions._sessions.values()
        await until(lambda: not session._streams["2"].attached if "2" in session._streams else False)
        site.offer.go.set()
        await until(lambda: site.server.statistics().running == 0)
        assert session.statistics()["dropped"] == 2
        for event in reversed(events):
            assert event is not None
            async with site.connect() as wire:
                again = await talk.get(wire, last_event_id=event.id)
                found = await again.messages()
                assert found[-1]["result"]["content"][0]["text"] == "waited"
                expected = [2] if event is events[1] else [1, 2] if event is events[0] else []
                assert [one["params"]["progress"] for one in found[:-1]] == expected


async def test_a_tool_whose_progress_is_its_answer_waits_for_its_reader() -> None:
    """Nothing is left out while the client is away, and nothing comes twice."""
    chosen = random.Random(13)
    made = offer()

    @made.server.tool
    async def fill(ctx: Context) -> str:
        ctx.wait_for_reader()
        for step in range(1, 201):
            await ctx.progress(step)
        return "filled"

    async with serving(made) as site, site.talk() as talk:
        cut = Cut(talk, site, chosen)
        found = await cut.run(call("fill", token=1))
        assert [one["params"]["progress"] for one in found[:-1]] == list(range(1, 201))
        assert found[-1]["result"]["content"][0]["text"] == "filled"
        assert cut.connections > 20
        [session] = site.endpoint.sessions._sessions.values()
        assert session.statistics()["dropped"] == 0


async def test_only_a_client_that_can_come_back_is_waited_for() -> None:
    made = offer()

    @made.server.tool
    async def fill(ctx: Context) -> bool:
        return ctx.wait_for_reader()

    async with serving(made) as site, site.talk() as talk:
        session = await (await talk.post(call("fill"))).json()
        stateless = await (await site.modern(talk.wire, call("fill"))).json()
        async with Client(made.server) as client:
            in_memory = await client.call_tool("fill")
    assert session["result"]["structuredContent"] == {"result": True}
    assert stateless["result"]["structuredContent"] == {"result": False}
    assert in_memory.structured_content == {"result": False}


async def test_a_reader_that_stays_away_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    from mcpcore_transports.http import streams

    monkeypatch.setattr(streams, "AWAY_SECONDS", 0.05)
    made = offer()
    ended = Event()

    @made.server.tool
    async def fill(ctx: Context) -> None:
        ctx.wait_for_reader()
        try:
            for step in range(1, 1_000_000):
                await ctx.progress(step)
        finally:
            ended.set()

    async with serving(made) as site, site.talk() as talk:
        async with site.connect() as wire:
            answer = await talk.post(call("fill", token=1), wire=wire)
            event = await answer.event()
            assert event is not None
        await ended.wait()
        await until(lambda: site.server.statistics().running == 0)
        async with site.connect() as wire:
            assert (await talk.get(wire, last_event_id=event.id)).status == 400


async def test_an_event_id_means_nothing_to_others() -> None:
    async with (
        serving() as site,
        site.talk() as talk,
        site.talk() as other,
        site.connect() as wire,
        site.connect() as spare,
    ):
        events = await (await talk.post(call("count", {"upto": 2}, token=1))).events()
        ids = [event.id for event in events]
        # Ids of other sessions look alike, and so must never be looked up but in one's own.
        for asker, id in ((other, ids[0]), (talk, "99.99"), (talk, "x" * 1000), (talk, "")):
            answer = await asker.get(wire, last_event_id=id)
            if answer.status == 200:
                raise AssertionError((id, await answer.events()))
            assert answer.status == 400
            await answer.body()
        mine = await (await other.post(call("count", {"upto": 3}, token=1))).events()
        resumed = await other.get(spare, last_event_id=mine[0].id)
        found = await resumed.messages()
        assert [one["params"]["progress"] for one in found[:-1]] == [1, 2, 3]


async def test_an_event_that_is_kept_no_longer_is_refused() -> None:
    store = MemoryReplayStore(max_events=4)
    async with serving(store=store) as site, site.talk() as talk:
        events = await (await talk.post(call("count", {"upto": 10}, token=1))).events()
        async with site.connect() as wire:
            answer = await talk.get(wire, last_event_id=events[0].id)
            assert answer.status == 400
            assert "Last-Event-ID" in (await answer.json())["error"]["message"]
            answer = await talk.get(wire, last_event_id=events[-3].id)
            assert [event.id for event in await answer.events()] == [event.id for event in events[-2:]]


async def test_the_listening_stream_resumes_too() -> None:
    async with serving() as site, site.talk() as talk:
        async with site.connect() as wire:
            unasked = await talk.get(wire)
            first = await unasked.event()
            site.server.remove_tool("refuse")
            event = await unasked.event()
            assert first is not None
            assert event is not None
        async with site.connect() as wire:
            unasked = await talk.get(wire, last_event_id=first.id)
            again = await unasked.event()
            assert again is not None
            assert (again.id, again.data) == (event.id, event.data)
            await site.server.notify_resource_updated("note://one")
            site.server.remove_tool("crash")
            event = await unasked.event()
            assert event is not None
            assert event.json()["method"] == "notifications/tools/list_changed"


class _LateStore(MemoryReplayStore):
    """Reads what there is when the test says so, as a store behind a network may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = Event(), Event()

    async def after(self, session: str, event_id: str) -> Sequence[StoredEvent] | None:
        self.asked.set()
        await self.go.wait()
        return await super().after(session, event_id)


async def test_what_is_sent_while_a_stream_is_taken_up_arrives_once() -> None:
    store = _LateStore()
    async with serving(store=store) as site, site.talk() as talk, site.connect() as one, site.connect() as two:
        older = await talk.post(call("wait", {"steps": 2}, token=1), wire=one)
        first = await older.event()
        assert first is not None
        newer = await talk.get(two, last_event_id=first.id)
        await store.asked.wait()
        site.offer.go.set()
        # All that is left happens before the store is read: each event is both in it and on its way.
        await until(lambda: site.server.statistics().running == 0)
        store.go.set()
        events = await newer.events()
        assert len({event.id for event in events}) == len(events)
        found = [event.json() for event in events]
        assert [message["params"]["progress"] for message in found[:-1]] == [1, 2, 3, 4]
        assert found[-1]["result"]["content"][0]["text"] == "waited"


async def test_a_second_reader_takes_the_stream_over_without_loss() -> None:
    async with serving() as site, site.talk() as talk, site.connect() as one, site.connect() as two:
        older = await talk.post(call("wait", {"steps": 3}, token=1), wire=one)
        seen = [await older.event() for _ in range(2)]
        assert seen[0] is not None
        newer = await talk.get(two, last_event_id=seen[0].id)
        site.offer.go.set()
        found = await newer.messages()
        assert [message["params"]["progress"] for message in found[:-1]] == [1, 2, 3, 4, 5, 6]
        assert found[-1]["result"]["content"][0]["text"] == "waited"
        # What the older reader had already been given is all it gets.
        rest = await older.messages()
        assert [message["params"]["progress"] for message in rest] == [2, 3]


# -- letting a connection go -----------------------------------------------------------------------------------------


async def test_a_tool_lets_its_connection_go_and_is_come_back_for() -> None:
    async with serving() as site, site.talk() as talk, site.connect() as wire:
        answer = await talk.post(call("release", {"retry_ms": 70}))
        events = await answer.events()
        assert [(event.data, event.retry) for event in events] == [("", None), ("", 70)]
        assert events[0].id is not None
        assert site.server.statistics().running == 1
        again = await talk.get(wire, last_event_id=events[0].id)
        site.offer.go.set()
        [found] = await again.messages()
        assert found["result"]["content"][0]["text"] == "released"
        assert site.offer.released == [True]


@pytest.mark.parametrize("why", ["revision", "json", "stateless"])
async def test_a_connection_that_nobody_could_come_back_to_is_kept(why: str) -> None:
    async with serving() as site, site.talk("2025-06-18" if why == "revision" else "2025-11-25") as talk:
        site.offer.go.set()
        if why == "stateless":
            answer = await site.modern(talk.wire, call("release"))
        else:
            answer = await talk.post(call("release"), **({"accept": "application/json"} if why == "json" else {}))
        assert (await answer.json())["result"]["content"][0]["text"] == "released"
        assert site.offer.released == [False]


async def test_a_long_request_becomes_a_stream_that_can_be_come_back_to(monkeypatch: pytest.MonkeyPatch) -> None:
    from mcpcore_transports.http import handshake

    monkeypatch.setattr(handshake, "STREAM_AFTER_SECONDS", 0.05)
    async with serving() as site, site.talk() as talk:
        async with site.connect() as wire:
            answer = await talk.post(call("wait"), wire=wire)
            assert answer.kind == "text/event-stream"
            event = await answer.event()
            assert event is not None
            assert (event.data, bool(event.id)) == ("", True)
            await wire.close(reset=True)
        site.offer.go.set()
        async with site.connect() as wire:
            found = await (await talk.get(wire, last_event_id=event.id)).messages()
            assert found[-1]["result"]["content"][0]["text"] == "waited"


async def test_a_cancelled_stream_cannot_be_come_back_to() -> None:
    async with serving() as site, site.talk() as talk, site.connect() as wire, site.connect() as other:
        answer = await talk.post(call("hang", {"steps": 1}, id="h", token=1), wire=wire)
        event = await answer.event()
        assert event is not None
        await talk.post(message("notifications/cancelled", {"requestId": "h"}, id=None))
        await answer.messages()
        assert (await talk.get(other, last_event_id=event.id)).status == 400
