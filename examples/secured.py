"""A server that strangers can reach: keys or tokens, origins, TLS, and limits on rates and sizes, by the environment.

(echo ann $(openssl rand -hex 16) notes:write; echo bob $(openssl rand -hex 16)) >keys; cat keys; chmod 600 keys
MCPCORE_API_KEY_FILE=keys mcpcore run examples/secured.py --transport http
MCPCORE_TOKEN=$(awk '/ann/ {print $2}' keys) mcpcore call http://127.0.0.1:8000/mcp note text=hello

You will see the note kept for Ann; 403 with Bob's key, because `note` takes the scope notes:write; 401 without a key;
and after RATE calls within a minute (60) the error that says when to come back.

MCPCORE_API_KEY_FILE        lines of SUBJECT KEY [SCOPE …]
MCPCORE_AUTH_ISSUER         instead: the JWTs of an authorization server (pip install 'mcpcore[auth]')
MCPCORE_PUBLIC_URL          what clients call it, e.g. https://mcp.example.com; with MCPCORE_HOST=0.0.0.0
MCPCORE_CORS_ORIGINS        pages that may use it, e.g. https://app.example.com
MCPCORE_MAX_BODY            bytes of one request; MCPCORE_MAX_CONNECTIONS, MCPCORE_MAX_SESSIONS, MCPCORE_READ_TIMEOUT
MCPCORE_HTTP_SERVER         hypercorn, with MCPCORE_HYPERCORN_CONFIG=tls.toml for TLS: two lines, certfile and keyfile
RATE                        calls that one caller may make in a minute
"""

import os
from collections import OrderedDict
from typing import Any

import anyio

from mcpcore import Context, RequestError, Server
from mcpcore.errors import CODE_SERVER_BUSY
from mcpcore.middleware import Next

RATE = int(os.environ.get("RATE", "60"))
MINUTE = 60.0
MAX_CALLERS = 10_000  # whose rates are remembered; whoever was away longest is forgotten first
MAX_NOTES = 100  # of one caller

server = Server("secured", version="1.0", instructions="Keeps notes. Each caller sees their own.")
notes: dict[str, list[str]] = {}


class Rates:
    """A bucket of tokens for each caller: it holds `RATE` of them and is filled again within a minute."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when that was

    def take(self, caller: str) -> float:
        """Take one token. Returns 0, or the seconds until there is one."""
        now = anyio.current_time()
        left, since = self._buckets.pop(caller, (float(RATE), now))
        left = min(RATE, left + (now - since) * RATE / MINUTE)
        wait = 0.0 if left >= 1 else (1 - left) * MINUTE / RATE
        self._buckets[caller] = (left if wait else left - 1, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return wait


rates = Rates()


def caller(ctx: Context) -> str:
    return ctx.principal.identity if ctx.principal else "whoever started me"  # stdio: nobody else can reach it


async def limited(ctx: Context, call: Next) -> Any:
    """Middleware around every request; `tools/list` and the like cost as little here as they do anywhere."""
    if ctx.method == "tools/call" and (wait := rates.take(caller(ctx))):
        raise RequestError(CODE_SERVER_BUSY, f"{RATE} calls a minute are allowed; come back in {wait:.0f} s")
    return await call(ctx)


server.inbound.append(limited)


@server.tool(scopes=["notes:write"])
async def note(text: str, ctx: Context) -> int:
    """Keep a note. Returns how many you have."""
    mine = notes.setdefault(caller(ctx), [])
    if len(mine) >= MAX_NOTES:
        raise RequestError(CODE_SERVER_BUSY, f"{MAX_NOTES} notes are kept for one caller, and you have them")
    mine.append(text)
    return len(mine)


@server.tool
async def read_notes(ctx: Context) -> list[str]:
    """The notes that you have kept."""
    return notes.get(caller(ctx), [])
