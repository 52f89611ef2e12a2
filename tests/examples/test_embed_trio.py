"""examples/embed_trio.py: a server in somebody else's nursery."""

import re
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
def test_a_server_in_a_nursery_goes_with_it(ran: Callable[..., Any]) -> None:
    done = ran("embed_trio.py")
    assert done.stdout.splitlines() == [
        "the client hears: 1 of 3",
        "the client hears: 2 of 3",
        "the client hears: 3 of 3",
        "the client is told: {'result': '3 kettles more'}",
        "the nursery is empty",
    ]
    assert re.fullmatch(r"mcpcore: listening on http://127.0.0.1:\d+/mcp\n", done.stderr)
