"""Transports by name: those of this distribution, those of others, and names that nobody has."""

import importlib.metadata
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType
from typing import Any

import pytest

from mcpcore.channel import Channel, memory_pair
from mcpcore.errors import LocalProtocolError
from mcpcore.transport import MirrorsArguments, Transport, client_transport, server_transport


class Pigeon:
    """A transport of somebody else."""

    def __init__(self, target: str) -> None:
        self.target = target

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Channel]:
        yield memory_pair()[0]


async def serve(server: Any, **options: Any) -> None:
    """Of somebody else."""


async def serve_fancily(server: Any, **options: Any) -> None:
    """In the other way of somebody else."""


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution that announces the transport "pigeon"."""
    modules = {name: ModuleType(name) for name in ("loft", "loft.server", "loft.client", "loft.fancy")}
    vars(modules["loft.server"])["serve"] = serve
    vars(modules["loft.fancy"])["serve"] = serve_fancily
    vars(modules["loft.client"])["connect"] = Pigeon
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    announced = EntryPoints([EntryPoint("pigeon", "loft", "mcpcore.transports"), EntryPoint("raven", "x", "others")])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **wanted: announced.select(**wanted))


@pytest.mark.parametrize("name", ["http", "stdio"])
def test_ours_have_both_ends(name: str) -> None:
    package = f"mcpcore_transports.{name}"
    assert server_transport(name) is sys.modules[f"{package}.server"].serve
    assert client_transport(name) is sys.modules[f"{package}.client"].connect


def test_a_transport_may_have_more_than_one_way_to_serve(elsewhere: None) -> None:
    assert server_transport("pigeon", "fancy") is serve_fancily


def test_others_announce_theirs(elsewhere: None) -> None:
    assert server_transport("pigeon") is serve
    transport = client_transport("pigeon")("the tower")
    assert isinstance(transport, Pigeon)
    assert isinstance(transport, Transport)
    assert transport.target == "the tower"


@pytest.mark.parametrize("find", [server_transport, client_transport])
@pytest.mark.parametrize("name", ["carrier", "raven", "", "mcpcore_transports.http"])
def test_a_name_that_nobody_has(elsewhere: None, find: Any, name: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"no transport '{name}'; this installation has http, (.+, )?stdio$"):
        find(name)


def test_a_server_object_is_no_transport_and_a_plain_transport_mirrors_nothing() -> None:
    assert not isinstance(object(), Transport)
    assert not isinstance(Pigeon(""), MirrorsArguments)
