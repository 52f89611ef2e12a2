"""Challenges as clients read them."""

from mcpcore_transports.protected.challenge import challenge


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
