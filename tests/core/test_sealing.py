"""Sealed request state: what opens, and that nothing else does."""

import hmac
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore import sealing
from mcpcore.errors import CODE_INVALID_PARAMS, LocalProtocolError
from mcpcore.sealing import (
    CLOCK_SKEW_SECONDS,
    COMPRESS_ABOVE_BYTES,
    KEY_BYTES,
    MAX_STATE_BYTES,
    RejectionReason,
    StateRejected,
    StateSealer,
    binding_of,
)

OLD, CURRENT = b"o" * KEY_BYTES, b"c" * KEY_BYTES
BINDING = binding_of(method="tools/call", params_digest=b"digest", principal="alice")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def rejection(sealer: StateSealer, text: str, binding: bytes = BINDING) -> RejectionReason:
    with pytest.raises(StateRejected) as rejected:
        sealer.open(text, binding=binding)
    error = rejected.value
    assert error.code == CODE_INVALID_PARAMS
    assert error.data is None
    assert error.message == "requestState is not valid here: send the request again without it to start over"
    return error.reason


def raw_of(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def text_of(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def resigned(raw: bytes, key: bytes = CURRENT) -> str:
    """A text with a changed inside and a right signature, as only a holder of the key can make."""
    return text_of(raw[:-32] + hmac.digest(key, b"mcpcore state\0" + raw[:-32], "sha256"))


@given(payload=st.binary(max_size=3 * COMPRESS_ABOVE_BYTES), binding=st.binary(max_size=40))
def test_opens_what_it_sealed(payload: bytes, binding: bytes) -> None:
    sealer = StateSealer()
    text = sealer.seal(payload, binding=binding)
    assert sealer.open(text, binding=binding) == payload
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(payload=st.binary(max_size=200), data=st.data())
def test_any_flipped_bit_is_rejected(payload: bytes, data: st.DataObject) -> None:
    sealer = StateSealer([CURRENT, OLD])
    raw = bytearray(raw_of(sealer.seal(payload, binding=BINDING)))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    assert rejection(sealer, text_of(bytes(raw))) == ("malformed" if bit < 8 else "forged")


@given(payload=st.binary(max_size=200), data=st.data())
def test_any_changed_character_is_rejected(payload: bytes, data: st.DataObject) -> None:
    """Also one that stands for bits which no byte uses."""
    sealer = StateSealer()
    text = sealer.seal(payload, binding=BINDING)
    at = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters().filter(lambda character: character != text[at]))
    assert rejection(sealer, text[:at] + character + text[at + 1 :]) in ("malformed", "forged")


@given(payload=st.binary(max_size=200), data=st.data())
def test_any_other_length_is_rejected(payload: bytes, data: st.DataObject) -> None:
    sealer = StateSealer()
    text = sealer.seal(payload, binding=BINDING)
    at = data.draw(st.integers(0, len(text)))
    extra = data.draw(st.text("AZaz09-_=.\n é", min_size=1, max_size=5))
    assert rejection(sealer, text[:at] + extra + text[at:]) in ("malformed", "forged")
    assert rejection(sealer, text[: data.draw(st.integers(0, len(text) - 1))]) in ("malformed", "forged")


@given(st.text(max_size=200))
def test_any_text_is_rejected(text: str) -> None:
    assert rejection(StateSealer(), text) in ("malformed", "forged")


def test_a_suffix_is_rejected() -> None:
    sealer = StateSealer()
    assert rejection(sealer, sealer.seal(b"x", binding=BINDING) + "-TAMPERED") in ("malformed", "forged")


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_another_binding_is_rejected(one: bytes, other: bytes) -> None:
    sealer = StateSealer()
    text = sealer.seal(b"x", binding=one)
    if one != other:
        assert rejection(sealer, text, other) == "bound elsewhere"
    assert sealer.open(text, binding=one) == b"x"


def test_expires_after_its_lifetime() -> None:
    clock = Clock()
    sealer = StateSealer(lifetime=5, clock=clock)
    text = sealer.seal(b"x", binding=BINDING)
    clock.now += 5
    assert sealer.open(text, binding=BINDING) == b"x"
    clock.now += 0.01
    assert rejection(sealer, text) == "expired"


def test_a_state_from_the_future_is_rejected_beyond_the_skew() -> None:
    clock = Clock()
    sealer = StateSealer(clock=clock)
    text = sealer.seal(b"x", binding=BINDING)
    clock.now -= CLOCK_SKEW_SECONDS
    assert sealer.open(text, binding=BINDING) == b"x"
    clock.now -= 0.01
    assert rejection(sealer, text) == "expired"


def test_rotation() -> None:
    before, during, after = StateSealer([OLD]), StateSealer([CURRENT, OLD]), StateSealer([CURRENT])
    of_before, of_during = before.seal(b"1", binding=BINDING), during.seal(b"2", binding=BINDING)
    assert during.open(of_before, binding=BINDING) == b"1"
    assert after.open(of_during, binding=BINDING) == b"2"
    assert rejection(after, of_before) == "forged"
    assert rejection(before, of_during) == "forged"


def test_random_keys_differ() -> None:
    assert rejection(StateSealer(), StateSealer().seal(b"x", binding=BINDING)) == "forged"


@pytest.mark.parametrize("keys", [[], [b"k" * (KEY_BYTES - 1)], [CURRENT, b""], CURRENT, "c" * KEY_BYTES, ["c" * 32]])
def test_bad_keys(keys: Any) -> None:
    with pytest.raises(LocalProtocolError, match="keys"):
        StateSealer(keys)


@pytest.mark.parametrize("limits", [{"lifetime": 0}, {"lifetime": -1}, {"max_bytes": 0}])
def test_bad_limits(limits: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        StateSealer(**limits)


def test_neither_key_nor_state_is_shown() -> None:
    sealer = StateSealer([CURRENT])
    text = sealer.seal(b"x", binding=BINDING)
    assert CURRENT.decode() not in repr(sealer)
    with pytest.raises(StateRejected) as rejected:
        sealer.open(text, binding=b"")
    assert text not in repr(rejected.value) + str(rejected.value)


def test_large_payloads_are_compressed() -> None:
    sealer = StateSealer()
    payload = b"answer " * 1000
    text = sealer.seal(payload, binding=BINDING)
    assert len(text) < 300
    assert sealer.open(text, binding=BINDING) == payload


def test_limits_on_sealing() -> None:
    sealer = StateSealer(max_bytes=2000)
    assert sealer.open(sealer.seal(bytes(8000), binding=BINDING), binding=BINDING) == bytes(8000)
    with pytest.raises(LocalProtocolError, match="limit of 8000"):
        sealer.seal(bytes(8001), binding=BINDING)
    noise = b"".join(hmac.digest(CURRENT, bytes([number]), "sha256") for number in range(50))
    with pytest.raises(LocalProtocolError, match="limit of 2000"):
        sealer.seal(noise, binding=BINDING)


def test_a_longer_text_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    monkeypatch.setattr(sealing, "_decode", decoded.append)
    assert rejection(StateSealer(), "A" * (MAX_STATE_BYTES + 1)) == "malformed"
    assert decoded == []
    assert rejection(StateSealer(), "A" * MAX_STATE_BYTES) == "malformed"
    assert len(decoded) == 1


def deflated_with(body: bytes) -> str:
    raw = raw_of(StateSealer([CURRENT]).seal(b"", binding=BINDING))
    header = bytes([raw[0], 1]) + raw[2:14]
    tag = hmac.digest(CURRENT, b"mcpcore binding\0" + header + BINDING, "sha256")[:16]
    return resigned(header + tag + body + bytes(32))


@pytest.mark.parametrize(
    ("body", "accepted"),
    [
        (zlib.compress(bytes(8000)), True),
        (zlib.compress(bytes(8001)), False),
        (zlib.compress(bytes(1_000_000)), False),
        (zlib.compress(bytes(100))[:-1], False),
        (zlib.compress(bytes(100)) + b"x", False),
        (b"not compressed", False),
    ],
)
def test_decompression_is_bounded(body: bytes, accepted: bool) -> None:
    sealer = StateSealer([CURRENT], max_bytes=2000)
    text = deflated_with(body)
    if accepted:
        assert sealer.open(text, binding=BINDING) == bytes(8000)
    else:
        assert rejection(sealer, text) == "malformed"


def test_an_unknown_form_or_version_is_rejected() -> None:
    sealer = StateSealer([CURRENT])
    raw = raw_of(sealer.seal(b"x", binding=b""))
    assert rejection(sealer, resigned(bytes([2]) + raw[1:])) == "malformed"
    header = bytes([1, 7]) + raw[2:14]
    tag = hmac.digest(CURRENT, b"mcpcore binding\0" + header, "sha256")[:16]
    assert rejection(sealer, resigned(header + tag + raw[30:]), b"") == "malformed"


names = st.text(max_size=6)
triples = st.tuples(names, st.binary(max_size=6), st.none() | names)


@given(triples, triples)
def test_bindings_of_different_requests_differ(one: Any, other: Any) -> None:
    first, second = (binding_of(method=m, params_digest=d, principal=p) for m, d, p in (one, other))
    assert (first == second) == (one == other)


def test_fields_do_not_run_into_each_other() -> None:
    assert binding_of(method="ab", params_digest=b"c", principal="") != binding_of(
        method="a", params_digest=b"bc", principal=""
    )
    assert binding_of(method="a", params_digest=b"", principal=None) != binding_of(
        method="a", params_digest=b"", principal=""
    )
