"""How a command ends: the exit code, and what is said about a command line or a file that is wrong."""

import sys
from collections.abc import Callable

from mcpcore.cli.source import BrokenSource
from mcpcore.cli.usage import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, WrongUsage

__all__ = ("exit_code",)


def exit_code(command: str, work: Callable[[], int]) -> int:
    """Do the work of a command and return its exit code. `WrongUsage` and `BrokenSource` are said on stderr."""
    try:
        return work()
    except WrongUsage as wrong:
        print(f"mcpcore {command}: {wrong}", file=sys.stderr, flush=True)
        return EXIT_USAGE
    except BrokenSource as broken:
        sys.stderr.write(broken.traceback_text)
        sys.stderr.flush()
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
