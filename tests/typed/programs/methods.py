"""Methods as tasks and flows: `self` is given by the instance."""

from typing import assert_type

from taskyard import Future, FutureList, flow, task


class Store:
    def __init__(self, name: str) -> None:
        self.name = name

    @task
    def put(self, key: str, value: int = 0) -> int:
        return value

    @task(retries=1)
    async def get(self, key: str) -> bytes:
        return key.encode()

    @flow
    def fill(self, keys: list[str]) -> int:
        return len(keys)

    @task
    @classmethod
    def named(cls, name: str) -> "Store":
        return cls(name)

    @task
    @staticmethod
    def double(number: int) -> int:
        return 2 * number


def calls(store: Store) -> None:
    assert_type(store.put("a"), int)
    assert_type(store.put("a", value=2), int)
    assert_type(store.put.submit("a", 1), Future[int])
    assert_type(store.put.map(["a", "b"]), FutureList[int])
    assert_type(store.put.delay("a", 1).result(), int)
    assert_type(store.put.with_options(retries=2)("a"), int)
    assert_type(store.fill(["a"]), int)
    assert_type(Store.double(2), int)
    assert_type(Store.put(store, "a"), int)
    store.put(1)  # E: mypy(call-overload) pyright(reportArgumentType)
    store.put()  # E: mypy(call-overload) pyright(reportCallIssue)
    store.put("a", valeu=2)  # E: mypy(call-overload) pyright(reportCallIssue)
    store.put.delay(1)  # E: mypy(arg-type) pyright(reportArgumentType)
    store.fill("a", "b")  # E: mypy(call-overload) pyright(reportCallIssue)
    Store.double("2")  # E: mypy(call-overload) pyright(reportArgumentType)


async def later(store: Store) -> None:
    assert_type(await store.get("a"), bytes)
    assert_type(store.get.submit("a"), Future[bytes])
    await store.get(1)  # E: mypy(call-overload) pyright(reportArgumentType)


def not_understood(store: Store) -> None:
    """What works, and checkers take for errors: they are not told which kind of method it was."""
    store.double(2)  # E: mypy(call-overload)
    Store.named("x")  # E: mypy(call-overload) pyright(reportCallIssue)
