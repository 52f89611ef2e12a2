"""A command line that asks for something that cannot be done: exit code 2."""

import math
import os
from collections.abc import Callable
from typing import TypeVar

__all__ = (
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_USAGE",
    "MAX_PORT",
    "WrongUsage",
    "count",
    "one_of",
    "path",
    "period",
    "port",
    "seconds",
    "setting",
    "switch",
)

EXIT_FAILED = 1
"""The server or the tool failed."""

EXIT_USAGE = 2
"""The command line is wrong; nothing was done."""

EXIT_INTERRUPTED = 130
"""Ended by Ctrl+C, as shells count it: 128 + SIGINT."""

MAX_PORT = 65535
"""The last TCP port."""

T = TypeVar("T")


class WrongUsage(Exception):
    """The text says what is wrong and what there is instead; it is all that the user sees."""


def setting(given: str | None, flag: str, read: Callable[[str], T], *, variable: str | None = None) -> T | None:
    """What a flag says, or else its environment variable; None when neither is given. An empty variable is none.

    `read` turns the text into a value or raises ValueError. Raises `WrongUsage`, which names the flag or variable.
    """
    text, source = given, flag
    if text is None and variable is not None:
        text, source = os.environ.get(variable) or None, variable
    if text is None:
        return None
    try:
        return read(text)
    except ValueError as error:
        raise WrongUsage(f"{source}: {error}") from None


def one_of(*words: str) -> Callable[[str], str]:
    """Reads one of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text

    return read


def count(text: str) -> int:
    """Reads a number of things, at least one."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f"{text!r} is no whole number above 0")
    return int(text)


def port(text: str) -> int:
    """Reads a TCP port; 0 is any free one."""
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_PORT):
        raise ValueError(f"{text!r} is no port: 0 to {MAX_PORT}")
    return int(text)


def path(text: str) -> str:
    """Reads the path of a URL."""
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or set(text) & set(" ?#"):
        raise ValueError(f"{text!r} is no path: write it as in a URL, with a / before it")
    return text


def switch(text: str) -> bool:
    """Reads yes or no."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither yes nor no")


def period(text: str) -> float:
    """Reads a number of seconds that is more than none."""
    if not (number := seconds(text)):
        raise ValueError(f"{text!r} is no time to wait: give seconds above 0")
    return number


def seconds(text: str) -> float:
    """Reads a number of seconds that a clock can wait for."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"{text!r} is no number of seconds")
    return number
