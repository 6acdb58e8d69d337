"""A thread that does one job after the other: judging, committing and such, so that the main thread is free to poll."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class Worker:
    """Calls functions one at a time, in the order they were submitted.

    A daemon thread and no `ThreadPoolExecutor`: that one is joined when the interpreter ends, so a batch which hangs
    would keep a drained process from ending.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
        """Have a function called after all that were submitted before."""
        future: Future[T] = Future()

        def job() -> None:
            try:
                result = function(*args, **kwargs)
            except BaseException as error:  # whoever takes the result takes the exception
                future.set_exception(error)
            else:
                future.set_result(result)

        self._jobs.put(job)
        return future

    def close(self, timeout_s: float) -> bool:
        """End the thread after the jobs it has; whether it ended in time."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class Failure:
    """The first error that could not be raised where it came up: on another thread, or within the client's C code."""

    def __init__(self) -> None:
        self._error: BaseException | None = None

    def keep(self, error: BaseException) -> None:
        """It is to be raised later."""
        self._error = self._error or error

    def keep_of(self, called: Future[Any]) -> None:
        """What a call failed with, if it did."""
        if error := called.exception():
            self.keep(error)

    def raise_it(self) -> None:
        """Raise it, if there is one."""
        if self._error:
            raise self._error
