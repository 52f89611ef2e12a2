"""sole_error: one error comes out of its groups, several stay together."""

import anyio
import pytest

from mcpcore.groups import sole_error


def raised(error: BaseException) -> BaseException:
    """What leaves `sole_error` when this is raised in it."""
    with pytest.raises(BaseException) as caught:
        with sole_error():
            raise error
    return caught.value


def test_without_an_error_nothing_happens() -> None:
    with sole_error():
        reached = True
    assert reached


def test_an_error_without_a_group_is_left_alone() -> None:
    error = ValueError("x")
    assert raised(error) is error


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_the_only_error_comes_out_of_all_its_groups(error: BaseException, depth: int) -> None:
    group: BaseException = error
    for _ in range(depth):
        group = BaseExceptionGroup("tasks", [group])
    found = raised(group)
    assert found is error
    assert found.__suppress_context__  # a traceback shows the error and not the groups around it


def test_several_errors_stay_one_group() -> None:
    group = ExceptionGroup("tasks", [ValueError("x"), KeyError("y")])
    assert raised(group) is group


def test_several_errors_lose_only_the_groups_around_them() -> None:
    group = ExceptionGroup("tasks", [ValueError("x"), ExceptionGroup("more", [KeyError("y")])])
    assert raised(ExceptionGroup("outer", [group])) is group


def test_the_cause_of_an_error_stays() -> None:
    error, cause = ValueError("x"), KeyError("y")
    error.__cause__ = cause
    assert raised(ExceptionGroup("tasks", [error])).__cause__ is cause


@pytest.mark.anyio
async def test_an_error_of_a_task_is_caught_by_its_type() -> None:
    async def fail() -> None:
        raise ValueError("x")

    async def work() -> None:
        with sole_error():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail)
                await anyio.sleep_forever()

    with pytest.raises(ValueError, match="x"):
        await work()


@pytest.mark.anyio
async def test_cancellation_passes() -> None:
    with anyio.CancelScope() as scope:
        with sole_error():
            async with anyio.create_task_group():
                scope.cancel()
                await anyio.sleep_forever()
    assert scope.cancelled_caught
