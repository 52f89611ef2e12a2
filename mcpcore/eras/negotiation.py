"""How a client finds out which era a server speaks. Pure rules over what a probe came back with.

The probe is `server/discover` under the newest revision (spec 2026-07-28, Versioning). The fallback to the handshake
is keyed to no single error code: old servers answer an unknown first message with any code, with silence, or by
exiting. Only an answer that a stateless server alone would give keeps a client from falling back.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from mcpcore.errors import (
    CODE_HEADER_MISMATCH,
    CODE_MISSING_CAPABILITY,
    CODE_UNSUPPORTED_REVISION,
    ConnectFailed,
    PeerError,
)
from mcpcore.revisions import Era, Revision
from mcpcore.types import DiscoverResult

__all__ = (
    "MAX_PROBES",
    "PROBE_SECONDS",
    "ProbeAgain",
    "UseHandshake",
    "UseStateless",
    "Verdict",
    "judge",
    "judge_refusal",
)

PROBE_SECONDS = 5.0
"""How long a server may take to answer the first `server/discover`. Old servers that ignore unknown requests cost a
client this long, once; a server that is still starting needs some seconds."""


MAX_PROBES = 2
"""Times a server is asked before its refusals are believed: the specification wants one retry with a revision that
the server names, be it the same, and no loop."""


class UseStateless(msgspec.Struct, frozen=True):
    """The server is modern: go on with this revision."""

    revision: Revision
    discovered: DiscoverResult


class UseHandshake(msgspec.Struct, frozen=True):
    """The server is legacy: send `initialize`."""


class ProbeAgain(msgspec.Struct, frozen=True):
    """The server is modern but speaks other revisions: probe once more, with this one."""

    revision: Revision


Verdict: TypeAlias = UseStateless | UseHandshake | ProbeAgain


def judge(
    outcome: DiscoverResult | PeerError | None, *, ours: Sequence[Revision], tried: Sequence[Revision]
) -> Verdict:
    """What to do after a probe.

    `outcome` is its result, the error it was answered with, or None for silence, an exit, or a result that is none.
    `ours` lists the modern revisions this client speaks, best first; `tried` those it has probed with, in order. Raises
    `ConnectFailed`, which says what both sides speak, when there is nothing in common.
    """
    if isinstance(outcome, DiscoverResult):
        common = _common(outcome.supported_versions, ours)
        if common is not None:
            return UseStateless(common, outcome)
        return _fall_back(outcome.supported_versions, ours)
    if isinstance(outcome, PeerError) and outcome.code == CODE_UNSUPPORTED_REVISION:
        supported = _supported(outcome.data)
        common = _common(supported, ours)
        if common is not None and len(tried) < MAX_PROBES:
            return ProbeAgain(common)
        return _fall_back(supported, ours)
    if isinstance(outcome, PeerError) and outcome.code in (CODE_HEADER_MISMATCH, CODE_MISSING_CAPABILITY):
        raise ConnectFailed(f"the server refuses server/discover: {outcome.message} (code {outcome.code})")
    # -32601 belongs here too: a stateless server must implement server/discover, so who does not know it is older.
    return UseHandshake()


def judge_refusal(refusal: BaseException | None, *, ours: Sequence[Revision]) -> Revision | None:
    """Which of `ours`, the modern revisions, a server names when it refuses `initialize`; None if it names none."""
    if isinstance(refusal, PeerError) and refusal.code == CODE_UNSUPPORTED_REVISION:
        return _common(_supported(refusal.data), ours)
    return None


def _supported(data: Any) -> list[str]:
    names = data.get("supported") if isinstance(data, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _common(names: Iterable[str], ours: Sequence[Revision]) -> Revision | None:
    theirs = set(names)
    return next((revision for revision in ours if revision.value in theirs), None)


def _fall_back(names: Sequence[str], ours: Sequence[Revision]) -> UseHandshake:
    if not names or any((found := Revision.parse(name)) is not None and found.era is Era.LEGACY for name in names):
        return UseHandshake()
    raise ConnectFailed(
        f"no revision in common: the server speaks {', '.join(names)}, this client {', '.join(ours)} and the handshake"
    )
