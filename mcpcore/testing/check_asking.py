"""The clauses about asking and answering: what goes home, in which order, to whom."""

from contextlib import suppress

import anyio
import anyio.lowlevel

from mcpcore.channel import Channel, Envelope, Inbox
from mcpcore.errors import LocalProtocolError
from mcpcore.jsonrpc import Notification, Response
from mcpcore.testing.contract import Clause, clause, expect
from mcpcore.testing.peers import peers, plain, progress, question, request, response
from mcpcore.types.base import RequestId

__all__ = (
    "ASKING",
    "BIG_TEXT",
    "CALLERS",
    "CALLS_EACH",
    "a_cancelled_receive",
    "a_large_message",
    "a_notification_arrives",
    "a_question_on_the_reply_channel",
    "a_request_is_answered",
    "a_response_to_nobody",
    "many_senders",
    "progress_precedes_the_response",
    "two_callers_do_not_mix",
)

BIG_TEXT = "x" * (1024 * 1024)
"""1 MiB: more than any buffer of an operating system takes at once, and a common size of a tool's result."""

CALLERS = 20
CALLS_EACH = 5


@clause(
    "a request arrives with a reply channel, and the response sent on it arrives in the caller's inbox, in both "
    "directions, with ids of both JSON types that come back as they were",
    "mcpcore.channel.Envelope; JSON-RPC 2.0, section 4",
)
async def a_request_is_answered(client: Channel, server: Channel) -> None:
    async with peers(client, server) as (one, other):
        ids: tuple[RequestId, ...] = (1, "1", "an id", -7, 2**53)
        for asking, answering in ((one, other), (other, one)):
            for id in ids:
                inbox = await asking.ask(request(id, city="Zürich"))
                arrived, reply = await answering.next_request()
                same = arrived.id == id and type(arrived.id) is type(id)
                expect(same, f"a request was sent with the id {id!r} and arrived with {arrived.id!r}")
                params = plain(arrived.params)
                expect(params == request(id, city="Zürich").params, f"the parameters arrived as {params!r}")
                expect(await reply.send(response(id, "yes")), "send returned False although the caller waits")
                _, answer = await asking.collect(inbox)
                expect(
                    answer.id == id and type(answer.id) is type(id), f"the answer to {id!r} has the id {answer.id!r}"
                )
                expect(isinstance(answer, Response), f"a result was sent and {answer!r} arrived")


@clause(
    "a notification of our own arrives at the peer's receive, with no reply channel to answer it on",
    "mcpcore.channel.Channel.send; JSON-RPC 2.0, section 4.1",
)
async def a_notification_arrives(client: Channel, server: Channel) -> None:
    async with peers(client, server) as (one, other):
        for sender, receiver in ((one, other), (other, one)):
            await sender.channel.send(Envelope(Notification("notifications/roots/list_changed", {"_meta": {"n": 1}})))
            heard = await receiver.next_notification()
            same = heard.method == "notifications/roots/list_changed" and plain(heard.params) == {"_meta": {"n": 1}}
            expect(same, f"the notification arrived as {heard!r}")


@clause(
    "answers may come in any order and each goes to its own caller; two requests with one id either both get their "
    "own answer, or the second is refused with LocalProtocolError and the first is unaffected",
    "mcpcore.channel: every message carries its way back; Channel.send",
)
async def two_callers_do_not_mix(client: Channel, server: Channel) -> None:
    async with peers(client, server) as (one, other):
        first, second = await one.ask(request(1)), await one.ask(request("1"))
        replies = {}
        for _ in range(2):
            arrived, reply = await other.next_request()
            replies[arrived.id] = reply
        expect(set(replies) == {1, "1"}, f"requests with the ids 1 and '1' arrived as {sorted(map(repr, replies))}")
        await replies["1"].send(response("1", "second"))
        await replies[1].send(response(1, "first"))
        said = [await one.result_of(first), await one.result_of(second)]
        expect(said == [{"said": "first"}, {"said": "second"}], f"the two callers got {said!r}")

        inboxes = [await one.ask(request("same"))]
        with suppress(LocalProtocolError):
            inboxes.append(await one.ask(request("same")))
        for n, _ in enumerate(inboxes):
            _, reply = await other.next_request()
            await reply.send(response("same", str(n)))
        said = [await one.result_of(inbox) for inbox in inboxes]
        expect(said == [{"said": str(n)} for n in range(len(inboxes))], f"callers with the same id got {said!r}")


@clause(
    "progress on a reply channel arrives in the caller's inbox, in order and before the response",
    "mcpcore.channel.ReplyChannel; MCP, Progress",
)
async def progress_precedes_the_response(client: Channel, server: Channel) -> None:
    async with peers(client, server) as (one, other):
        inboxes = {id: await one.ask(request(id)) for id in (1, 2)}
        replies = {}
        for _ in inboxes:
            arrived, reply = await other.next_request()
            replies[arrived.id] = reply
        for step in range(1, 11):
            for id, reply in replies.items():
                expect(await reply.send(progress(id, step)), "send returned False although the caller waits")
        for id, reply in replies.items():
            await reply.send(response(id, "done"))
        for id, inbox in inboxes.items():
            before, _ = await one.collect(inbox)
            got = [(plain(n.params)["progressToken"], plain(n.params)["progress"]) for n in before]
            expect(got == [(id, step) for step in range(1, 11)], f"progress 1 to 10 of {id!r} arrived as {got!r}")


@clause(
    "the side that answers a request may ask on its reply channel; the question reaches the other side with a reply "
    "channel of its own, and what is sent there arrives in the inbox of whoever asked",
    "mcpcore.channel.Envelope; MCP 2025-11-25, Elicitation, Sampling, Roots",
)
async def a_question_on_the_reply_channel(client: Channel, server: Channel) -> None:
    async with peers(client, server) as (one, other):
        inbox = await one.ask(request(1))
        _, reply = await other.next_request()
        answers: Inbox = Inbox()
        expect(await reply.send(Envelope(question("q"), answers)), "send returned False although the caller waits")
        results: list[object] = []

        async def wait_for_result() -> None:
            results.append(await one.result_of(inbox))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_result)
            asked, way_back = await one.next_request()
            expect((asked.id, asked.method) == ("q", "roots/list"), f"the question arrived as {asked!r}")
            expect(await way_back.send(Envelope(Response("q", {"roots": []}))), "the question's asker waits for this")
            told = await other.result_of(answers)
            expect(told == {"roots": []}, f"the answer to the question arrived as {told!r}")
            await reply.send(response(1, "done"))
        expect(results == [{"said": "done"}], f"after its question the request was answered with {results!r}")


@clause(
    "a response to an id that nobody asked with disturbs nothing",
    "JSON-RPC 2.0, section 5; MCP, Cancellation: late responses are ignored",
)
async def a_response_to_nobody(client: Channel, server: Channel) -> None:
    async with peers(client, server) as (one, other):
        inbox = await one.ask(request("waits"))
        _, reply = await other.next_request()
        for id in ("nobody", 12345):
            with suppress(LocalProtocolError):  # a transport may refuse to send what answers nothing
                await server.send(Envelope(Response(id, {"said": "to nobody"})))
        await one.round_trip(other, 2)
        await anyio.wait_all_tasks_blocked()  # so that a receive that fails has had the time to
        expect(not one.ended.is_set(), "a response to nobody ended the receive of whoever it arrived at")
        await other.round_trip(one, 3)
        await reply.send(response("waits", "home"))
        said = await one.result_of(inbox)
        expect(said == {"said": "home"}, f"the request in flight was answered with {said!r}")


@clause("a message of 1 MiB arrives whole, in both directions", "mcpcore.channel.Channel.send")
async def a_large_message(client: Channel, server: Channel) -> None:
    async with peers(client, server) as (one, other), anyio.create_task_group() as tasks:
        tasks.start_soon(other.echo)
        result = await one.result_of(await one.ask(request(1, text=BIG_TEXT)))
        text = result.get("arguments", {}).get("text", "")
        expect(text == BIG_TEXT, f"of 1 MiB that was sent and echoed, {len(text)} characters came back as they were")
        tasks.cancel_scope.cancel()


@clause(
    "any number of tasks may send at the same time, and their messages do not run into each other",
    "mcpcore.channel.Channel: `send` may be called by any task",
)
async def many_senders(client: Channel, server: Channel) -> None:
    async with peers(client, server) as (one, other):

        async def call(caller: int) -> None:
            for n in range(CALLS_EACH):
                id = f"{caller}-{n}"
                text = id * (1 + 97 * ((caller + n) % 13))
                result = await one.result_of(await one.ask(request(id, text=text)))
                expect(result["arguments"] == {"text": text}, f"caller {id} was answered with somebody else's text")

        async with anyio.create_task_group() as answering:
            for _ in range(3):
                answering.start_soon(other.echo)
            async with anyio.create_task_group() as callers:
                for caller in range(CALLERS):
                    callers.start_soon(call, caller)
            answering.cancel_scope.cancel()


@clause(
    "cancelling the wait of receive loses no message",
    "mcpcore.channel.Channel.receive: nothing is lost when the wait is cancelled",
)
async def a_cancelled_receive(client: Channel, server: Channel) -> None:
    count = 30
    got: list[int] = []

    async def send_all() -> None:
        for n in range(count + 1):
            await client.send(Envelope(Notification("notifications/roots/list_changed", {"_meta": {"n": n}})))
            for _ in range(n % 3):
                await anyio.lowlevel.checkpoint()

    async def cancel(scope: anyio.CancelScope, ticks: int) -> None:
        for _ in range(ticks):
            await anyio.lowlevel.checkpoint()
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_all)
        ticks = 0
        while count not in got:
            ticks = (ticks + 1) % 9
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as cancelling:
                    cancelling.start_soon(cancel, scope, ticks)
                    message = (await server.receive()).message
                    assert isinstance(message, Notification)
                    got.append(plain(message.params)["_meta"]["n"])
                    cancelling.cancel_scope.cancel()
    missing = sorted(set(range(count)) - set(got))
    expect(got == [*range(count + 1)], f"of {count + 1} messages in order, {missing!r} are missing from {got!r}")


ASKING: tuple[Clause, ...] = (
    a_request_is_answered,
    a_notification_arrives,
    two_callers_do_not_mix,
    progress_precedes_the_response,
    a_question_on_the_reply_channel,
    a_response_to_nobody,
    a_large_message,
    many_senders,
    a_cancelled_receive,
)
