"""One token, in one header, and nowhere else."""

from collections.abc import Sequence
from typing import Any

import pytest

from mcpcore_transports.protected.credentials import BadCredentials, credentials_of


class Shown:
    """A request, as much of it as there is to read."""

    def __init__(self, *headers: tuple[str, str], query: str = "") -> None:
        self._headers = headers
        self.query = query

    def header_values(self, name: str) -> Sequence[str]:
        return [value for key, value in self._headers if key == name]


def read(*headers: tuple[str, str], query: str = "", names: Sequence[str] = ()) -> Any:
    request: Any = Shown(*headers, query=query)
    return credentials_of(request, names)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("Bearer abc", ("Bearer", "abc")),
        ("bEARER  a.b-c_d~e+f/g== ", ("Bearer", "a.b-c_d~e+f/g==")),
        ("DPoP abc", ("DPoP", "abc")),
        ("Basic YTpi", None),
        ("Digest username=x, realm=y", None),
        ("", None),
    ],
)
def test_authorization(value: str, found: Any) -> None:
    assert read(("authorization", value)) == found


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", 'Bearer "a"', "Bearer tök", "Bearer ="]
)
def test_malformed(value: str) -> None:
    with pytest.raises(BadCredentials) as refused:
        read(("authorization", value))
    assert "tök" not in str(refused.value)


def test_one_token_only() -> None:
    with pytest.raises(BadCredentials, match="more than one"):
        read(("authorization", "Bearer a"), ("authorization", "Bearer a"))
    with pytest.raises(BadCredentials, match="more than one"):
        read(("authorization", "Bearer a"), ("x-api-key", "b"), names=["x-api-key"])
    assert read(("authorization", "Bearer a"), ("x-api-key", "b")) == ("Bearer", "a")
    # What a proxy in front asks for is another matter.
    assert read(("authorization", "Basic YTpi"), ("x-api-key", "b"), names=["x-api-key"]) == ("x-api-key", "b")
    with pytest.raises(BadCredentials, match="more than one"):
        read(("authorization", "Basic YTpi"), ("authorization", "Bearer a"))


@pytest.mark.parametrize("query", ["access_token=abc", "a=b&access_token=abc", "access_token", "%61ccess_token=a"])
def test_a_token_in_the_url_is_refused_whatever_else_is_shown(query: str) -> None:
    with pytest.raises(BadCredentials, match="URL"):
        read(query=query)
    with pytest.raises(BadCredentials, match="URL"):
        read(("authorization", "Bearer a"), query=query)


def test_other_queries_are_nobodys_business() -> None:
    assert read(query="session_id=access_token&no_access_token=1") is None


def test_a_header_of_its_own() -> None:
    assert read(("x-api-key", " k3y! "), names=["x-api-key"]) == ("x-api-key", "k3y!")
    with pytest.raises(BadCredentials, match="x-api-key"):
        read(("x-api-key", "two words"), names=["x-api-key"])


def test_no_repr_shows_a_token() -> None:
    assert "s3cret" not in repr(read(("authorization", "Bearer s3cret")))
