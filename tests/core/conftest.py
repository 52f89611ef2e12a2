"""Fixtures shared by the tests of the core."""

import pytest

from mcpcore.revisions import HANDSHAKE_REVISIONS, REVISIONS, Revision


@pytest.fixture(params=REVISIONS, ids=str)
def revision(request: pytest.FixtureRequest) -> Revision:
    """Each of the five revisions."""
    found: Revision = request.param
    return found


@pytest.fixture(params=HANDSHAKE_REVISIONS, ids=str)
def legacy(request: pytest.FixtureRequest) -> Revision:
    """Each revision of the handshake era."""
    found: Revision = request.param
    return found
