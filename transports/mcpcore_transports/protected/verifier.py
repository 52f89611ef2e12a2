"""What finds out whose token this is, and the three ways in which that fails.

None of these exceptions holds the token. Their texts go into the server's log and never to the client, who is told the
standard's error code only (RFC 6750, 3.1).
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from mcpcore.principal import Principal

__all__ = (
    "NonceWanted",
    "ProofRefused",
    "ProofVerifier",
    "TokenRefused",
    "TokenUnknown",
    "TokenVerifier",
    "VerifierUnavailable",
)


class TokenRefused(Exception):
    """The client's token is not good here: 401. The text says why, for the log."""


class TokenUnknown(TokenRefused):
    """It is not this verifier's to judge; another one may know it. When none does, it is refused."""


class ProofRefused(TokenRefused):
    """The proof of the token's key is missing or wrong; the token itself may be good."""


class NonceWanted(ProofRefused):
    """The proof has to be made again, with the nonce that the client is sent."""


class VerifierUnavailable(Exception):
    """Whether the token is good cannot be found out at the moment: 503. The text says what failed, and where."""


class TokenVerifier(ABC):
    """Subclass this for tokens of your own. Used by any number of requests at once, on either backend."""

    header: str | None = None
    """The request header (lower case) with its tokens; None for `Authorization: Bearer`."""

    needs_resource: bool = False
    """Whether `verify` compares the token with the resources that it is given."""

    @abstractmethod
    async def verify(self, token: str, resources: Collection[str]) -> Principal:
        """Whose token this is.

        `resources` are the URLs of this server, in the form of `canonical`: the audience of a token has to be one of
        them (RFC 8707). Raises `TokenRefused`, `TokenUnknown`, `VerifierUnavailable`. Nothing is left behind by a
        cancellation. Has a deadline for whatever it waits for.
        """

    async def aclose(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of connections; what is verified afterwards opens others. Called when the server stops."""


class ProofVerifier(ABC):
    """What checks proofs of the keys that tokens are bound to: `DpopProofs` is one."""

    required: bool
    """Whether tokens that are not bound are refused."""

    algorithms: tuple[str, ...]
    """Those that proofs may be signed with."""

    @property
    @abstractmethod
    def nonce(self) -> str | None:
        """The one to make proofs with; None where none is needed."""

    @abstractmethod
    def check(self, proofs: Sequence[str], method: str, url: str, token: str, bound_to: str) -> None:
        """Check the proofs of one request for `url`, with this token, whose key has the thumbprint `bound_to`.

        Raises `ProofRefused`, of that `NonceWanted`, and `VerifierUnavailable`. Must not wait.
        """
