"""A chat in which a language model uses the tools of several MCP servers, over different transports at once.

OPENAI_API_KEY=… python examples/chat.py mcp.json --model gpt-4o-mini        with the servers of an mcpServers JSON
OPENAI_BASE_URL=http://127.0.0.1:11434/v1 python examples/chat.py mcp.json   with any OpenAI-compatible endpoint

    {"mcpServers": {"files": {"command": "mcpcore", "args": ["run", "examples/files.py"]},
                    "weather": {"url": "http://127.0.0.1:8000/mcp"}}}

You will see what each server has; one that cannot be reached is named and the others go on. Type a question: the
answer appears as it is made, and each tool call as it begins, progresses and ends. Ctrl+D ends it.
"""

import argparse
import os
import sys
from typing import Any

import anyio
import msgspec
from anyio import to_thread

from mcpcore import ClientGroup, ConnectionLost, DeadlineExceeded, LocalProtocolError, PeerError, RemoteProtocolError
from mcpcore.types import CallToolResult, TextContent, Tool
from mcpcore_transports.framing.eventstream import Event, EventDecoder
from mcpcore_transports.web.client import HttpClient

BASE_URL = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1").rstrip("/")
KEY = os.environ.get("OPENAI_API_KEY", "")
ANSWER_SECONDS = 120.0  # for the model to finish one answer
TOOL_SECONDS = 300.0  # for one tool call
MAX_ROUNDS = 16  # answers of the model to one question: one that calls tools for ever is stopped
MAX_RESULT_CHARACTERS = 20_000  # of a tool's result, which the model reads again in each round
TROUBLE = (ConnectionLost, DeadlineExceeded, LocalProtocolError, PeerError, RemoteProtocolError)


class Refused(Exception):
    """The model's endpoint did not answer as it should."""


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class CallPiece(msgspec.Struct):  # a call arrives in pieces: the id and the name first, then the arguments bit by bit
    index: int = 0
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[CallPiece] | None = None


class Choice(msgspec.Struct):
    delta: Delta


class Chunk(msgspec.Struct):
    choices: list[Choice] = []


def say(text: str, end: str = "\n") -> None:
    print(text, end=end, flush=True)


def offer(tool: Tool) -> dict[str, Any]:
    """A tool as the endpoint wants to be told of it."""
    function = {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema}
    return {"type": "function", "function": function}


class Chat:
    """One conversation: what was said so far, the model's endpoint, and the servers."""

    def __init__(self, group: ClientGroup, http: HttpClient, model: str) -> None:
        self.group, self.http, self.model = group, http, model
        self.messages: list[dict[str, Any]] = []

    async def ask(self, question: str) -> None:
        """One turn: the model answers, or calls tools and goes on with their results."""
        self.messages.append({"role": "user", "content": question})
        tools = [offer(tool) for tool in await self.group.list_tools()]  # anew each time: servers come and go
        for _ in range(MAX_ROUNDS):
            with anyio.fail_after(ANSWER_SECONDS):
                answer = await self.complete(tools)
            self.messages.append(answer)
            if "tool_calls" not in answer:
                return
            results = {call["id"]: "" for call in answer["tool_calls"]}  # in the order of the calls
            async with anyio.create_task_group() as calls:
                for call in answer["tool_calls"]:
                    calls.start_soon(self.call, call, results)
            for id, text in results.items():
                self.messages.append({"role": "tool", "tool_call_id": id, "content": text})
        raise Refused(f"the model still calls tools after {MAX_ROUNDS} rounds")

    async def complete(self, tools: list[dict[str, Any]]) -> dict[str, Any]:
        """The model's next message, printed while it arrives."""
        wanted = {"model": self.model, "messages": self.messages, "stream": True, **({"tools": tools} if tools else {})}
        headers = [("content-type", "application/json"), ("authorization", f"Bearer {KEY}")]
        said, calls = "", dict[int, dict[str, Any]]()
        url = f"{BASE_URL}/chat/completions"
        async with self.http.request("POST", url, headers=headers, body=msgspec.json.encode(wanted)) as response:
            if response.status != 200:
                raise Refused(f"{url}: HTTP {response.status}: {(await response.read(4096)).decode(errors='replace')}")
            decoder = EventDecoder()
            async for piece in response.stream():
                for event in decoder.feed(piece):
                    if not isinstance(event, Event) or event.data == b"[DONE]":
                        continue
                    for choice in msgspec.json.decode(event.data, type=Chunk).choices:
                        if choice.delta.content:
                            said += choice.delta.content
                            say(choice.delta.content, end="")
                        for part in choice.delta.tool_calls or ():
                            call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                            call["id"] = part.id or call["id"]
                            if part.function is not None:
                                call["name"] += part.function.name or ""
                                call["arguments"] += part.function.arguments or ""
        if said:
            say("")
        answer: dict[str, Any] = {"role": "assistant", "content": said or None}
        if calls:
            answer["tool_calls"] = [
                {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
                for c in calls.values()
            ]
        return answer

    async def call(self, call: dict[str, Any], results: dict[str, str]) -> None:
        """Run one tool. Whatever goes wrong is told to the model, which can do something about it."""
        name, arguments = call["function"]["name"], call["function"]["arguments"] or "{}"
        say(f"  [{name} {arguments}]")

        async def show(progress: float, total: float | None, message: str | None) -> None:
            say(f"  [{name}: {progress:g}{f' of {total:g}' if total else ''} {message or ''}]")

        try:
            given = msgspec.json.decode(arguments, type=dict[str, Any])
            result = await self.group.call_tool(name, given, on_progress=show, timeout=TOOL_SECONDS)
            text = text_of(result)
        except (*TROUBLE, msgspec.DecodeError) as error:
            text = f"error: {error}"
        say(f"  [{name} -> {text[:200]}]")
        results[call["id"]] = text[:MAX_RESULT_CHARACTERS]


def text_of(result: CallToolResult) -> str:
    texts = [block.text if isinstance(block, TextContent) else f"({block.type})" for block in result.content]
    return ("error: " if result.is_error else "") + "\n".join(texts)


async def main(config: str, model: str) -> None:
    async with ClientGroup(config) as group, HttpClient() as http:
        offered = await group.list_tools()
        for name in group.clients:
            client = group.clients[name]
            has = sum(tool.name.startswith(f"{name}__") for tool in offered)
            say(f"{name}: {has} tools, {client.revision}")
        for name, error in group.errors.items():
            say(f"{name}: not connected: {error}")
        chat = Chat(group, http, model)
        while True:
            try:
                question = await to_thread.run_sync(input, "> ", abandon_on_cancel=True)
            except EOFError:
                say("")
                return
            try:
                if question.strip():
                    await chat.ask(question)
            except (Refused, TimeoutError, OSError, msgspec.DecodeError, *TROUBLE) as error:
                say(f"the model's endpoint: {error or type(error).__name__}")


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("config", help="an mcpServers JSON")
    words.add_argument("--model", default=os.environ.get("OPENAI_MODEL", "gpt-4o-mini"))
    given = words.parse_args()
    try:
        anyio.run(main, given.config, given.model, backend=os.environ.get("MCPCORE_BACKEND", "asyncio"))
    except KeyboardInterrupt:
        sys.exit(130)
