"""Keys that a server was given itself."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.protected.api_keys import ApiKeys
from mcpcore_transports.protected.verifier import TokenUnknown

pytestmark = pytest.mark.anyio

ALICE = "alices-key-0123456789"
BOB = "bobs-key-0123456789-b"


async def test_each_key_is_a_subject() -> None:
    keys = ApiKeys({"alice": ALICE, "bob": f"sha256:{sha256(BOB.encode()).hexdigest()}"}, scopes={"bob": ["write"]})
    alice = await keys.verify(ALICE, frozenset())
    assert (alice.subject, alice.scopes, alice.issuer) == ("alice", frozenset(), None)
    assert (await keys.verify(BOB, frozenset())).scopes == {"write"}


@pytest.mark.parametrize("shown", ["", "x", ALICE[:-1], ALICE + "x", ALICE.upper(), "sha256:" + "0" * 64, "\udcff"])
async def test_what_is_none(shown: str) -> None:
    with pytest.raises(TokenUnknown) as refused:
        await ApiKeys({"alice": ALICE}).verify(shown, frozenset())
    assert not shown or shown not in str(refused.value)


async def test_the_hash_of_a_key_opens_nothing() -> None:
    hashed = f"sha256:{sha256(BOB.encode()).hexdigest()}"
    with pytest.raises(TokenUnknown):
        await ApiKeys({"bob": hashed}).verify(hashed, frozenset())


async def test_all_keys_are_compared_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    compared: list[int] = []
    honest = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(1)
        return honest(one, other)

    keys = ApiKeys({f"subject{number}": f"{number}-{ALICE}" for number in range(5)})
    monkeypatch.setattr(hmac, "compare_digest", counting)
    await keys.verify(f"0-{ALICE}", frozenset())
    assert len(compared) == 5


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ({}, {}),
        ({"alice": "short"}, {}),
        ({"alice": "with a space in between"}, {}),
        ({"alice": "sha256:short"}, {}),
        ({"alice": ALICE, "bob": ALICE}, {}),
        ({"alice": ALICE}, {"scopes": {"bob": ["x"]}}),
        ({"alice": ALICE}, {"scopes": {"alice": ["a b"]}}),
        ({"alice": ALICE}, {"header": "Authorization"}),
        ({"alice": ALICE}, {"header": "x y"}),
    ],
)
def test_keys_that_cannot_be(keys: dict[str, str], options: Any) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        ApiKeys(keys, **options)
    assert not any(key in str(refused.value) for key in keys.values())


async def test_a_file_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# who may come in\n\nalice {ALICE}\n  bob\t{BOB} read write\n")
    keys = ApiKeys.from_file(path, header="X-API-Key")
    assert keys.header == "x-api-key"
    assert (await keys.verify(BOB, frozenset())).scopes == {"read", "write"}
    path.write_text(f"\ufeffalice {ALICE}")  # as some editors begin a file
    assert (await ApiKeys.from_file(path).verify(ALICE, frozenset())).subject == "alice"
    swapped, quoted = f"alice {ALICE}\n{BOB} bob\n", f'alice {ALICE}\nbob {BOB} "key-in-quotes"\n'
    for text, line in ((f"alice {ALICE}\nbob\n", 2), (f"alice {ALICE}\nalice {BOB}\n", 2), (swapped, 2), (quoted, 2)):
        path.write_text(text)
        with pytest.raises(LocalProtocolError, match=f"line {line}") as refused:
            ApiKeys.from_file(path)
        assert "key-" not in str(refused.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LocalProtocolError, match="UTF-8"):
        ApiKeys.from_file(path)
    with pytest.raises(LocalProtocolError, match="cannot be read"):
        ApiKeys.from_file(tmp_path / "nothing")


def test_no_repr_shows_a_key() -> None:
    keys = ApiKeys({"alice": ALICE})
    assert ALICE not in repr(keys) + repr(vars(keys))
