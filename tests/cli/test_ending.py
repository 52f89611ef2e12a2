"""cli/ending: exit codes."""

from collections.abc import Callable

import pytest

from mcpcore.cli.ending import exit_code
from mcpcore.cli.source import BrokenSource
from mcpcore.cli.usage import WrongUsage


def failing(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        (lambda: 7, 7, ""),
        (failing(WrongUsage("not so")), 2, "mcpcore list: not so\n"),
        (failing(KeyboardInterrupt()), 130, ""),
        (failing(BrokenSource(ValueError("theirs"), None)), 1, "ValueError: theirs\n"),
    ],
)
def test_codes(work: Callable[[], int], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("list", work) == code
    assert capsys.readouterr() == ("", said)


def test_mistakes_of_ours_stay_exceptions() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code("list", failing(ZeroDivisionError()))
