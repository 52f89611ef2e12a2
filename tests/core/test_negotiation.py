"""How a client judges what its probe came back with: a table of outcomes."""

from typing import Any

import pytest

from mcpcore.eras.negotiation import ProbeAgain, UseHandshake, UseStateless, judge, judge_refusal
from mcpcore.errors import ConnectFailed, PeerError
from mcpcore.revisions import MODERN_REVISIONS, Revision
from mcpcore.types import DiscoverResult, ServerCapabilities

NEWEST = MODERN_REVISIONS[-1]


def discovered(*versions: str) -> DiscoverResult:
    return DiscoverResult(supported_versions=list(versions), capabilities=ServerCapabilities())


def verdict(outcome: Any, tried: tuple[Revision, ...] = (NEWEST,)) -> Any:
    return judge(outcome, ours=MODERN_REVISIONS, tried=tried)


@pytest.mark.parametrize("versions", [("2026-07-28",), ("2025-11-25", "2026-07-28"), ("2031-01-01", "2026-07-28")])
def test_a_common_modern_revision_is_used(versions: tuple[str, ...]) -> None:
    result = discovered(*versions)
    assert verdict(result) == UseStateless(NEWEST, result)


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        discovered("2025-11-25"),
        discovered("2024-11-05", "2031-01-01"),
        discovered(),
        PeerError(-32601, "unknown method"),
        PeerError(-32602, "bad params"),
        PeerError(-32600, "initialize first"),
        PeerError(-32700, "parse error"),
        PeerError(-32000, "anything"),
        PeerError(0, ""),
        PeerError(-32022, "no", {"supported": ["2025-11-25"], "requested": "2026-07-28"}),
        PeerError(-32022, "no", {"supported": "2026-07-28"}),
        PeerError(-32022, "no", {"supported": [5, None]}),
        PeerError(-32022, "no", None),
    ],
)
def test_everything_that_is_not_certainly_modern_is_older(outcome: Any) -> None:
    assert verdict(outcome) == UseHandshake()


def test_a_revision_that_the_server_names_is_tried_once_more() -> None:
    error = PeerError(-32022, "no", {"supported": ["2026-07-28"], "requested": "2031-01-01"})
    assert verdict(error) == ProbeAgain(NEWEST)
    with pytest.raises(ConnectFailed, match="no revision in common"):
        verdict(error, tried=(NEWEST, NEWEST))


@pytest.mark.parametrize(
    "outcome",
    [discovered("2031-01-01"), PeerError(-32022, "no", {"supported": ["2031-01-01", "2032-01-01"]})],
)
def test_nothing_in_common_names_both_sides(outcome: Any) -> None:
    with pytest.raises(ConnectFailed, match="2031-01-01") as caught:
        verdict(outcome)
    assert "2026-07-28" in str(caught.value)


@pytest.mark.parametrize("code", [-32020, -32021])
def test_a_modern_refusal_is_no_reason_to_fall_back(code: int) -> None:
    with pytest.raises(ConnectFailed, match=f"refuses server/discover: no \\(code {code}\\)"):
        verdict(PeerError(code, "no"))


def test_a_refused_handshake_may_name_what_the_server_speaks() -> None:
    refused = PeerError(-32022, "no", {"supported": ["2031-01-01", "2026-07-28"]})
    assert judge_refusal(refused, ours=MODERN_REVISIONS) is NEWEST
    assert judge_refusal(refused, ours=()) is None
    assert judge_refusal(PeerError(-32022, "no", {"supported": ["2025-11-25"]}), ours=MODERN_REVISIONS) is None
    assert judge_refusal(PeerError(-32600, "no", refused.data), ours=MODERN_REVISIONS) is None
    assert judge_refusal(None, ours=MODERN_REVISIONS) is None
