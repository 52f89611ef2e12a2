"""A client that does what the official conformance suite asks of it, scenario by scenario.

Run it:  conformance client --command "python examples/conformance_client.py" --requirements 2026-07-28
You see: one verdict per scenario. The suite appends the URL of its server and names the scenario in the environment.
In scenarios that need a login (auth/…), a scripted browser agrees to everything.
"""

import json
import os
import sys
from typing import Any

import anyio

from mcpcore import Client, ConnectionLost, PeerError
from mcpcore.types import CreateMessageRequestParams, ElicitRequestFormParams, ElicitResult
from mcpcore_transports.oauth import ClientCredentials, EnterpriseManaged, OAuth, PrivateKey, WorkloadIdentity
from mcpcore_transports.web.client import HttpClient

SCENARIO = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
REVISION: Any = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "2026-07-28")
CONTEXT: dict[str, Any] = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")


async def accept(question: ElicitRequestFormParams) -> ElicitResult:
    """Accepts every form with its defaults, which the library fills in."""
    required = question.requested_schema.get("required", [])
    fields = question.requested_schema.get("properties", {})
    answers = {name: _anything(fields[name]) for name in required if "default" not in fields.get(name, {})}
    return ElicitResult(action="accept", content=answers)


def _anything(field: dict[str, Any]) -> Any:
    if "enum" in field:
        return field["enum"][0]
    return {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "array": []}.get(
        field.get("type", ""), "text"
    )


async def answer(question: CreateMessageRequestParams) -> str:
    return "a model would say something here"


async def agree(url: str) -> None:
    """A browser whose user agrees: it goes where the authorization server sends it, and that is back to the client."""
    async with HttpClient() as browser:
        async with browser.request("GET", url) as response:
            back = response.headers["location"]
        async with browser.request("GET", back):
            pass


def authorization() -> Any:
    """How this scenario wants its client to log in."""
    if not SCENARIO.startswith("auth/"):
        return None
    if SCENARIO == "auth/client-credentials-basic":
        return ClientCredentials(CONTEXT["client_id"], CONTEXT["client_secret"])
    if SCENARIO == "auth/client-credentials-jwt":
        key = PrivateKey(CONTEXT["private_key_pem"], CONTEXT["signing_algorithm"])
        return ClientCredentials(CONTEXT["client_id"], private_key=key)
    if SCENARIO == "auth/wif-jwt-bearer":
        return WorkloadIdentity(CONTEXT["valid_jwt"], client_id=CONTEXT["client_id"])
    if SCENARIO == "auth/enterprise-managed-authorization":
        return EnterpriseManaged(
            CONTEXT["idp_id_token"],
            client_id=CONTEXT["client_id"],
            client_secret=CONTEXT["client_secret"],
            idp_client_id=CONTEXT["idp_client_id"],
            idp_token_endpoint=CONTEXT["idp_token_endpoint"],
            idp_issuer=CONTEXT["idp_issuer"],
        )
    return OAuth(
        client_id=CONTEXT.get("client_id"),
        client_secret=CONTEXT.get("client_secret"),
        client_metadata_url="https://conformance-test.local/client-metadata.json",
        open_browser=agree,
    )


async def run(url: str) -> None:
    async with Client(
        url,
        era=REVISION,
        auth=authorization(),
        on_elicit=accept,
        on_sample=answer,
        roots=["file:///tmp"],
        name="conformance",
        version="1.0",
    ) as client:
        tools = {tool.name: tool for tool in await client.list_tools()}
        if SCENARIO == "tools_call":
            await client.call_tool("add_numbers", {"a": 5, "b": 3})
        elif SCENARIO == "elicitation-sep1034-client-defaults":
            await client.call_tool("test_client_elicitation_defaults")
        elif SCENARIO == "sse-retry":
            await client.call_tool("test_reconnection")
        elif SCENARIO == "http-custom-headers":
            for call in CONTEXT["toolCalls"]:
                await client.call_tool(call["name"], call["arguments"])
        elif SCENARIO == "json-schema-2020-12-preservation":
            schema = tools["json_schema_2020_12_tool"].input_schema
            await client.call_tool("json_schema_echo", {"schema": schema})
        elif SCENARIO == "sep-2322-client-request-state":
            for name in (
                "test_mrtr_echo_state",
                "test_mrtr_unrelated",
                "test_mrtr_no_state",
                "test_mrtr_no_result_type",
            ):
                await client.call_tool(name)
        elif SCENARIO in ("http-standard-headers", "http-invalid-tool-headers") or SCENARIO.startswith("auth/"):
            await everything(client, tools)


async def everything(client: Client, tools: dict[str, Any]) -> None:
    """Uses whatever the server offers."""
    for name, tool in tools.items():
        fields = tool.input_schema.get("properties", {})
        await client.call_tool(name, {field: _anything(schema) for field, schema in fields.items()})
    if client.capabilities.resources is not None:
        for resource in await client.list_resources():
            await client.read_resource(resource.uri)
    if client.capabilities.prompts is not None:
        for prompt in await client.list_prompts():
            await client.get_prompt(prompt.name, {a.name: "text" for a in prompt.arguments or []})


def main() -> int:
    try:
        anyio.run(run, sys.argv[1], backend=os.environ.get("MCPCORE_BACKEND", "asyncio"))
    except (ConnectionLost, PeerError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
