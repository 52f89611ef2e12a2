"""Everything that the official conformance suite wants to find on a server.

Run it:  mcpcore run examples/conformance_server.py --transport http --port 3001
You see: mcpcore: listening on http://127.0.0.1:3001/mcp
Then the suite:  conformance server --url http://localhost:3001/mcp --requirements 2026-07-28
"""

import base64
import struct
import zlib
from typing import Annotated, Any

import anyio
import msgspec

from mcpcore import Context, InvalidParams, Server, ToolError
from mcpcore.types import (
    AudioContent,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    PromptMessage,
    TextContent,
    TextResourceContents,
)


def _png() -> bytes:
    """One red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
        + chunk(b"IEND", b"")
    )


PNG = _png()
WAV = base64.b64decode("UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=")

server = Server("conformance", version="1.0.0", state_keys=[b"a key for tests only, and 32 bytes"])


@server.tool
async def test_simple_text() -> str:
    """Answers with one line of text."""
    return "This is a simple text response for testing."


@server.tool
async def test_image_content() -> ImageContent:
    """Answers with an image."""
    return ImageContent(data=PNG, mime_type="image/png")


@server.tool
async def test_audio_content() -> AudioContent:
    """Answers with a sound."""
    return AudioContent(data=WAV, mime_type="audio/wav")


def _embedded(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


@server.tool
async def test_embedded_resource() -> EmbeddedResource:
    """Answers with a resource."""
    return _embedded("test://embedded-resource", "text/plain", "This is an embedded resource.")


@server.tool
async def test_multiple_content_types() -> list[ContentBlock]:
    """Answers with a text, an image and a resource."""
    return [
        TextContent(text="Several kinds of content:"),
        ImageContent(data=PNG, mime_type="image/png"),
        _embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ]


@server.tool
async def test_error_handling() -> str:
    """Always fails."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool
async def test_tool_with_progress(ctx: Context) -> str:
    """Reports progress three times."""
    for done in (0, 50, 100):
        await ctx.progress(done, total=100, message=f"{done} of 100")
        await anyio.sleep(0.05)
    return "done"


@server.tool
async def test_tool_with_logging(ctx: Context) -> str:
    """Logs three lines."""
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(line)
        await anyio.sleep(0.05)
    return "logged"


@server.tool
async def test_logging_tool(ctx: Context) -> str:
    """Logs one line."""
    await ctx.info("one line")
    return "logged"


@server.tool
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Asks the client's model."""
    return f"LLM response: {await ctx.sample(prompt, max_tokens=100)}"


_USER = {
    "type": "object",
    "properties": {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    },
    "required": ["username", "email"],
}


@server.tool
async def test_elicitation(message: str, ctx: Context) -> str:
    """Asks the user for a name and an address."""
    answer = await ctx.elicit(message, _USER)
    return f"User response: {answer.action} {answer.content}"


_DEFAULTS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "User name", "default": "John Doe"},
        "age": {"type": "integer", "description": "User age", "default": 30},
        "score": {"type": "number", "description": "User score", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "description": "Verification status", "default": True},
    },
    "required": [],
}


@server.tool
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Asks with a default for every kind of field."""
    return await _asked(ctx, "Please review and update the form fields with defaults", _DEFAULTS)


def _titled(*names: str) -> list[dict[str, str]]:
    return [{"const": name, "title": name.replace("value", "Option ")} for name in names]


_ENUMS = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": _titled("value1", "value2", "value3")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": _titled("value1", "value2", "value3")}},
    },
    "required": [],
}


@server.tool
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Asks with every kind of choice."""
    return await _asked(ctx, "Please select options from the enum fields", _ENUMS)


async def _asked(ctx: Context, message: str, schema: dict[str, Any]) -> str:
    try:
        answer = await ctx.elicit(message, schema)
    except InvalidParams as unfit:
        return f"Elicitation completed, but {unfit.message}"
    return f"Elicitation completed: action={answer.action}, content={answer.content}"


@server.tool
async def test_reconnection(ctx: Context) -> str:
    """Lets the connection go and finishes while the client is away."""
    await ctx.release_connection(retry_ms=500)
    await anyio.sleep(0.2)
    return "finished while you were away"


# -------------------------------------------------------------------- 2026-07-28


@server.tool
async def test_missing_capability(ctx: Context) -> str:
    """Cannot do without sampling."""
    return await ctx.sample("Say hello", max_tokens=10)


class Name(msgspec.Struct):
    name: str


@server.tool
async def test_streaming_elicitation(ctx: Context) -> str:
    """Asks the user, in whichever way the client's revision has for that."""
    answer = await ctx.elicit("What is your name?", Name)
    return f"Hello, {answer.content.name if answer.content else 'stranger'}!"


@server.tool
async def test_trigger_tool_change() -> str:
    """Changes the list of tools, and back."""
    server.tool(name="test_dynamic_tool", input_schema={"type": "object"})(_nothing)
    await anyio.sleep(0.1)
    server.remove_tool("test_dynamic_tool")
    return "the list of tools has changed"


async def _nothing(arguments: dict[str, Any]) -> str:
    """Does nothing."""
    return "nothing"


@server.tool
async def test_trigger_prompt_change() -> str:
    """Changes the list of prompts, and back."""
    server.prompt(name="test_dynamic_prompt")(lambda: "nothing")
    await anyio.sleep(0.1)
    server.remove_prompt("test_dynamic_prompt")
    return "the list of prompts has changed"


@server.tool
async def test_input_required_result_elicitation(ctx: Context) -> str:
    """Asks for a name."""
    answer = await ctx.elicit("What is your name?", Name, key="user_name")
    return f"Hello, {answer.content.name if answer.content else 'stranger'}!"


@server.tool
async def test_input_required_result_sampling(ctx: Context) -> str:
    """Asks a model."""
    return await ctx.sample("What is the capital of France?", max_tokens=100, key="capital_question")


@server.tool
async def test_input_required_result_list_roots(ctx: Context) -> str:
    """Asks for roots."""
    return f"roots: {[root.uri for root in await ctx.list_roots(key='client_roots')]}"


class Confirmation(msgspec.Struct):
    ok: bool


@server.tool
async def test_input_required_result_request_state(ctx: Context) -> str:
    """Asks with a state."""
    answer = await ctx.elicit("Please confirm", Confirmation, key="confirm")
    return f"state-ok {answer.action}"


@server.tool
async def test_input_required_result_multiple_inputs(ctx: Context) -> str:
    """Asks three things at once."""
    found: dict[str, Any] = {}

    async def name() -> None:
        found["name"] = (await ctx.elicit("What is your name?", Name, key="user_name")).action

    async def greeting() -> None:
        found["greeting"] = await ctx.sample("Generate a greeting", max_tokens=50, key="greeting")

    async def roots() -> None:
        found["roots"] = [root.uri for root in await ctx.list_roots(key="client_roots")]

    async with anyio.create_task_group() as tasks:
        for ask in (name, greeting, roots):
            tasks.start_soon(ask)
    return str(found)


class Color(msgspec.Struct):
    color: str


@server.tool
async def test_input_required_result_multi_round(ctx: Context) -> str:
    """Asks one thing after the other."""
    name = await ctx.elicit("Step 1: What is your name?", Name, key="step1")
    color = await ctx.elicit("Step 2: What is your favorite color?", Color, key="step2")
    return f"{name.content and name.content.name} likes {color.content and color.content.color}"


@server.tool
async def test_input_required_result_tampered_state(ctx: Context) -> str:
    """Asks with a state that nobody may change."""
    answer = await ctx.elicit("Please confirm", Confirmation, key="confirm")
    return f"confirmed: {answer.action}"


@server.tool
async def test_input_required_result_capabilities(ctx: Context) -> str:
    """Asks only for what the client can do."""
    if ctx.capabilities.sampling is not None:
        return await ctx.sample("Say hello", max_tokens=10, key="sampled")
    if ctx.capabilities.elicitation is not None:
        return (await ctx.elicit("What is your name?", Name, key="user_name")).action
    return "this client cannot be asked anything"


@server.tool
async def test_x_mcp_header(
    region: Annotated[str, msgspec.Meta(description="Where to run", extra_json_schema={"x-mcp-header": "Region"})],
) -> str:
    """Has an argument that travels in a header too."""
    return f"region: {region}"


_ADDRESS = {
    "$anchor": "addressDef",
    "type": "object",
    "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
}


@server.tool(
    input_schema={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": _ADDRESS},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    }
)
async def json_schema_2020_12_tool(arguments: dict[str, Any]) -> str:
    """Has a schema that uses what 2020-12 added."""
    return f"called with {arguments}"


# -------------------------------------------------------------------- resources, prompts, completion


@server.resource("test://static-text", mime_type="text/plain")
async def static_text() -> str:
    """A text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
async def static_binary() -> bytes:
    """An image."""
    return PNG


@server.resource("test://watched-resource", mime_type="text/plain")
async def watched_resource() -> str:
    """A text that can be subscribed to."""
    return "Watched resource content"


@server.resource("test://template/{id}/data", mime_type="application/json")
async def template_data(id: str) -> dict[str, Any]:
    """Data of one id."""
    return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


@server.prompt
async def test_simple_prompt() -> str:
    """A prompt without arguments."""
    return "This is a simple prompt for testing."


@server.prompt
async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with two arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt
async def test_prompt_with_embedded_resource(resourceUri: str) -> list[PromptMessage | str]:
    """A prompt with a resource in it."""
    content = _embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
    return [PromptMessage(role="user", content=content), "Please process the embedded resource above."]


@server.prompt
async def test_prompt_with_image() -> list[PromptMessage | str]:
    """A prompt with an image in it."""
    image = ImageContent(data=PNG, mime_type="image/png")
    return [PromptMessage(role="user", content=image), "Please analyze the image above."]


class UserContext(msgspec.Struct):
    context: str


@server.prompt
async def test_input_required_result_prompt(ctx: Context) -> str:
    """A prompt that asks before it is made."""
    answer = await ctx.elicit("What context should the prompt use?", UserContext, key="user_context")
    return f"Use this context: {answer.content.context if answer.content else 'none'}"


@server.completion("test_prompt_with_arguments", "arg1")
async def complete_arg1(typed: str) -> list[str]:
    return [word for word in ("paris", "park", "party") if word.startswith(typed)]


if __name__ == "__main__":
    import sys

    server.run("http", host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 3001)
