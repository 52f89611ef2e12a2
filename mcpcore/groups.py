"""One error out of a task group of one: what a caller can catch by its type."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ("sole_error",)


@contextmanager
def sole_error() -> Iterator[None]:
    """Raise the only exception of a group instead of the group. A group of several stays one.

    For the places where a task group is an implementation detail: whoever calls them started no tasks.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is group:
            raise
        raise error from error.__cause__
