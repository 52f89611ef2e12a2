"""examples/embed_trio.py: a server in somebody else's nursery."""

import re
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
def test_a_server_in_a_nursery_goes_with_it(ran: Callable[..., Any]) -> None:
    done = ran("embed_trio.py")
    *heard, told, end = done.stdout.splitlines()
    assert [re.sub(r"\d+ of", "N of", line) for line in heard] == ["the client hears: N of 3"] * len(heard)
    assert "the client hears: 3 of 3" in heard
    assert (told, end) == ("the client is told: {'result': '3 kettles'}", "the nursery is empty")
    assert re.fullmatch(r"mcpcore: listening on http://127.0.0.1:\d+/mcp\n", done.stderr)
