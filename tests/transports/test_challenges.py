"""WWW-Authenticate as servers write it: several challenges, quoting of all kinds, and nonsense; and as ours does."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mcpcore_transports.framing.challenges import CHALLENGE_BYTES, challenge, parse_challenges


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], []),
        (["Bearer"], [("bearer", {})]),
        (['Bearer realm="a, b"'], [("bearer", {"realm": "a, b"})]),
        (['bEARER Scope="a b" , ERROR=x'], [("bearer", {"scope": "a b", "error": "x"})]),
        (['Basic realm="x", Bearer a="y", b=z'], [("basic", {"realm": "x"}), ("bearer", {"a": "y", "b": "z"})]),
        (["Negotiate abc==, Bearer a=b"], [("negotiate", {}), ("bearer", {"a": "b"})]),
        (["Negotiate", "DPoP algs=\"ES256 EdDSA\""], [("negotiate", {}), ("dpop", {"algs": "ES256 EdDSA"})]),
        ([r'Bearer error_description="say \"no\" \\ twice"'], [("bearer", {"error_description": r'say "no" \ twice'})]),
        (['Bearer a=1, a=2'], [("bearer", {"a": "1"})]),
        (["Bearer a = 1 ,, b= 2"], [("bearer", {"a": "1", "b": "2"})]),
        (['Bearer a="unfinished'], [("bearer", {})]),
        (["a=1"], []),
        ([", ,"], []),
        (["Bearer a=1, @@@, b=2"], [("bearer", {"a": "1"})]),
    ],
)  # fmt: skip
def test_challenges(lines: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(each.scheme, dict(each.parameters)) for each in parse_challenges(lines)] == expected


def test_what_a_client_needs_of_one() -> None:
    [found] = parse_challenges(
        ['Bearer scope="b a  b \x7f", resource_metadata="https://x/y", error="insufficient_scope"']
    )
    assert found.scopes == ("b", "a")
    assert (found.resource_metadata, found.error) == ("https://x/y", "insufficient_scope")
    [bare] = parse_challenges(["Bearer"])
    assert (bare.scopes, bare.resource_metadata, bare.error) == ((), "", "")


@given(some.lists(some.text(max_size=60), max_size=4))
def test_nonsense_is_read_without_an_error(lines: list[str]) -> None:
    for each in parse_challenges(lines):
        assert each.scheme == each.scheme.lower() != ""


def test_what_is_too_long_is_cut_off_in_no_time() -> None:
    hostile = "Bearer " + 'a="' + "\\" * 1_000_000
    assert len(parse_challenges([hostile, "Basic"])) <= 1
    assert (
        sum(len(value) for each in parse_challenges(["Bearer " + "a=b, " * 1_000_000]) for value in each.parameters)
        < CHALLENGE_BYTES
    )


def test_what_is_not_known_is_left_out() -> None:
    assert challenge() == 'Bearer realm="mcp"'
    assert challenge(error="invalid_token") == 'Bearer realm="mcp", error="invalid_token"'


def test_scopes_are_all_named_and_in_one_order() -> None:
    said = challenge(error="insufficient_scope", scopes={"b", "a"}, resource_metadata="https://h/.well-known/x")
    assert said == 'Bearer error="insufficient_scope", scope="a b", resource_metadata="https://h/.well-known/x"'


def test_nothing_leaves_its_quotes() -> None:
    assert challenge(description='a "b" \\ c\r\nset-cookie: x\xe9') == (
        'Bearer realm="mcp", error_description="a \\"b\\" \\\\ c??set-cookie: x?"'
    )


@given(some.text(max_size=60), some.lists(some.text("abc:/.-", min_size=1, max_size=9), max_size=4))
def test_what_ours_writes_is_read_again(description: str, scopes: list[str]) -> None:
    said = challenge("DPoP", error="invalid_token", description=description, scopes=scopes, algorithms=["ES256"])
    [found] = parse_challenges([said])
    assert (found.scheme, found.error, found.parameters["algs"]) == ("dpop", "invalid_token", "ES256")
    assert found.scopes == tuple(dict.fromkeys(sorted(scopes)))
    assert found.parameters["error_description"] == "".join(c if " " <= c <= "~" else "?" for c in description)
