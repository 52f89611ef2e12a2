"""Messages and bytes that passed through the transports of a server, by transport and era."""

__all__ = ("Passed", "Traffic")


class Passed:
    """What passed over one transport in one era so far: messages, and bytes of bodies, the framing of events included.

    Whoever counts adds to these.
    """

    __slots__ = ("received_bytes", "received_messages", "sent_bytes", "sent_messages")

    def __init__(self) -> None:
        self.received_messages: int = 0
        self.received_bytes: int = 0
        self.sent_messages: int = 0
        self.sent_bytes: int = 0


class Traffic:
    """A transport asks for the `Passed` of what it is about to count, and counts there."""

    def __init__(self) -> None:
        self._passed: dict[tuple[str, str], Passed] = {}

    def of(self, transport: str, era: str) -> Passed:
        """`era` is "modern", "legacy", or "" for what was refused before it could be told. Both words are the
        transport's, never a peer's, so that their number is bounded."""
        passed = self._passed.get((transport, era))
        if passed is None:
            passed = self._passed[transport, era] = Passed()
        return passed

    def items(self) -> list[tuple[tuple[str, str], Passed]]:
        """Transport and era, and what passed."""
        return list(self._passed.items())
