"""Who a request comes from."""

import msgspec
import pytest

from mcpcore.errors import LocalProtocolError
from mcpcore.principal import Principal, scope_set


def test_the_identity_is_issuer_subject_and_client() -> None:
    one = Principal(subject="alice", client_id="editor", issuer="https://a", scopes=frozenset(["x"]), claims={"n": 1})
    same = Principal(subject="alice", client_id="editor", issuer="https://a", expires=5.0)
    assert one.identity == same.identity
    others = [
        Principal(subject="bob", client_id="editor", issuer="https://a"),
        Principal(subject="alice", client_id="other", issuer="https://a"),
        Principal(subject="alice", client_id="editor", issuer="https://b"),
        Principal(subject="alice", client_id="editor"),
        Principal(subject="alice", issuer="https://a"),
        Principal(subject="alice', 'editor", issuer="https://a"),
        Principal(subject="None", client_id="editor", issuer="https://a"),
        Principal(subject="\ud800"),
    ]
    assert len({one.identity, *(other.identity for other in others)}) == len(others) + 1


def test_nothing_of_it_can_be_changed() -> None:
    claims = {"a": 1}
    found = Principal(subject="alice", claims=claims)
    claims["a"] = 2
    assert found.claims["a"] == 1
    with pytest.raises(TypeError):
        found.claims["a"] = 3  # type: ignore[index]
    with pytest.raises(AttributeError):
        found.subject = "bob"  # type: ignore[misc]
    assert msgspec.structs.replace(found, scopes=frozenset(["x"])).claims["a"] == 1


def test_its_repr_has_no_claims() -> None:
    assert repr(Principal(subject="alice", claims={"email": "s3cret"}, scopes=frozenset("ba"))) == (
        "<Principal (None, 'alice', None) a b>"
    )


def test_somebody_without_a_subject_is_nobody() -> None:
    with pytest.raises(LocalProtocolError):
        Principal(subject="")


def test_scopes() -> None:
    assert scope_set(["a", "files:read", "a"]) == {"a", "files:read"}
    for wrong in (["a b"], [""], ['"'], ["\\"], ["ä"], "abc", ["offline_access"]):
        with pytest.raises(LocalProtocolError):
            scope_set(wrong)
