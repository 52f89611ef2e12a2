"""The access log on stderr: one line of JSON for each HTTP request."""

import sys
import time
from typing import Any

import msgspec

__all__ = ("write_access",)


def write_access(entry: Any) -> None:
    """Write an access entry of the HTTP host. It has neither the query nor a header: both carry secrets."""
    now = time.time()
    line = {
        "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03}Z",
        "client": entry.client,
        "method": entry.method,
        "path": entry.path,
        "status": entry.status,
        "bytes": entry.sent_bytes,
        "seconds": round(entry.seconds, 6),
    }
    sys.stderr.write(msgspec.json.encode(line).decode() + "\n")
    sys.stderr.flush()
