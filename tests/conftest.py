"""Fixtures shared by all tests: the backend, with virtual time wherever a clock matters."""

from typing import Any

import pytest
from trio.testing import MockClock


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Every async test runs on both backends; on trio the clock jumps, so a deadline costs no time.

    A test that needs a deadline to pass takes `trio_backend` semantics from the fixture `virtual_time`.
    """
    if request.param == "trio":
        return ("trio", {"clock": MockClock(autojump_threshold=0)})
    return "asyncio"
