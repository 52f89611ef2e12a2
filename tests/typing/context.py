"""What type checkers make of a handler's context. Checked, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_type

import msgspec

from mcpcore import Context, Elicited, Principal, Revision
from mcpcore.types import (
    ClientCapabilities,
    CreateMessageResult,
    Implementation,
    RequestParams,
    Root,
    SamplingMessage,
    TextContent,
    Tool,
    ToolChoice,
)


@dataclass
class City:
    name: str


class Person(msgspec.Struct):
    name: str


async def asking(ctx: Context) -> None:
    city = await ctx.elicit("Which city?", City)
    assert_type(city, Elicited[City])
    assert_type(city.content, City | None)
    if city.content is not None:
        assert_type(city.content.name, str)
    if city.action == "accept":
        pass
    assert_type(await ctx.elicit("Who?", Person), Elicited[Person])
    assert_type(await ctx.elicit("What?", {"type": "object", "properties": {}}), Elicited[dict[str, Any]])
    assert_type(await ctx.elicit_url("Sign", "https://example.com"), Elicited[None])
    assert_type(await ctx.sample("Summarise", max_tokens=100, temperature=0.5), str)
    messages = [SamplingMessage(role="user", content=TextContent(text="x"))]
    tools = [Tool(name="x", input_schema={"type": "object"})]
    answer = await ctx.sample_message(messages, max_tokens=1, tools=tools, tool_choice=ToolChoice(mode="auto"))
    assert_type(answer, CreateMessageResult)
    assert_type(await ctx.list_roots(), list[Root])


async def _number(text: str) -> int:
    return int(text)


async def telling(ctx: Context) -> None:
    assert_type(await ctx.progress(1, total=3, message="reading"), None)
    assert_type(await ctx.info("opened"), None)
    assert_type(await ctx.log("debug", {"a": [1]}, logger="x"), None)
    assert_type(await ctx.send("notifications/example", {}), bool)
    assert_type(await ctx.once("number", _number, "7"), int)


def knowing(ctx: Context) -> None:
    assert_type(ctx.request_id, int | str)
    assert_type(ctx.method, str)
    assert_type(ctx.params, RequestParams)
    assert_type(ctx.revision, Revision)
    assert_type(ctx.client_info, Implementation | None)
    assert_type(ctx.capabilities, ClientCapabilities)
    assert_type(ctx.principal, Principal | None)
    assert_type(ctx.headers, Mapping[str, str])
    assert_type(ctx.transport, str)
    assert_type(ctx.meta, Mapping[str, Any])


async def wrong_use_is_refused(ctx: Context) -> None:
    """Each line must be an error: a checker that is told to ignore one that is none complains."""
    await ctx.log("loud", "x")  # type: ignore[arg-type]
    await ctx.sample("x")  # type: ignore[call-arg]
    await ctx.progress("half")  # type: ignore[arg-type]
    ctx.revision = Revision.R2024_11_05  # type: ignore[misc]
