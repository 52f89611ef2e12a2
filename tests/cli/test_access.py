"""cli/access: a line of JSON for each request."""

import json
import re

import pytest

from mcpcore.cli.access import write_access
from mcpcore_transports.web.access import AccessEntry


def test_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    write_access(AccessEntry("POST", '/a"\n', 200, 17, 0.12345678, "127.0.0.1"))
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    line = json.loads(err)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "client": "127.0.0.1",
        "method": "POST",
        "path": '/a"\n',
        "status": 200,
        "bytes": 17,
        "seconds": 0.123457,
    }
