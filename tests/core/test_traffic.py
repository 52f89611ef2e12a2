"""traffic: what passed, by transport and era."""

from mcpcore.traffic import Traffic


def test_what_passed_is_counted_apart() -> None:
    traffic = Traffic()
    modern = traffic.of("http", "modern")
    modern.received_messages += 1
    modern.received_bytes += 100
    modern.sent_messages += 2
    modern.sent_bytes += 250
    traffic.of("sse", "legacy").received_bytes += 30
    assert traffic.of("http", "modern") is modern
    found = {
        key: (one.received_messages, one.received_bytes, one.sent_messages, one.sent_bytes)
        for key, one in traffic.items()
    }
    assert found == {("http", "modern"): (1, 100, 2, 250), ("sse", "legacy"): (0, 30, 0, 0)}
