"""Where work is done: processes of this machine, or the workers of a Dask cluster.

Both are a ``concurrent.futures.Executor``; what differs is how one is made, how much it takes at once, and whether it
can be made anew after a worker died.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any, Protocol

from hwsim.errors import InputError
from hwsim.jobs.request import check_number

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

CONNECT_S = 20
"""How long a cluster has to answer."""


class Pool(Protocol):
    """A place to compute in.

    Attributes:
        workers: how much is done at once.
        remote: may they not see the files of this machine?
    """

    workers: int
    remote: bool

    def executor(self) -> Executor:
        """An executor, a fresh one after the last one broke."""
        ...

    def stop(self) -> None:
        """End what is still being computed, without waiting for its results."""
        ...


class Here:
    """This process, one piece of work after the other."""

    workers = 1
    remote = False

    def executor(self) -> Executor:
        return _Inline()

    def stop(self) -> None:
        """Nothing goes on once ``submit`` has returned."""


class _Inline(Executor):
    """Computes what is submitted before it answers; an interruption goes through."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Processes:
    """``jobs`` processes of this machine with so many threads each; ``jobs`` None: as many as the cores allow.

    They are spawned, not forked: the fork of a process that has used torch's threads may hang. A worker ends with the
    process that started it, however that ends. InputError in a worker that is only being set up: it runs the script
    that asks for workers, once more.
    """

    remote = False

    def __init__(self, jobs: int | None = None, threads: int = 1) -> None:
        for name, count in (("jobs", jobs), ("threads", threads)):
            if count is not None:
                check_number(f"--{name}", count, 1, 1024)
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise InputError('jobs: a script that uses more than one process needs `if __name__ == "__main__":`')
        self.workers = jobs or max(1, cores() // threads)
        self.threads = threads
        self._executor: ProcessPoolExecutor | None = None
        self._others: Sequence[Any] = ()
        self._messages: Any = None

    def executor(self) -> Executor:
        self.stop()
        self._others = multiprocessing.active_children()
        spawn = multiprocessing.get_context("spawn")
        # Read when a library is loaded, so they have to stand before the worker starts.
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(self.threads)))
        self._messages = spawn.SimpleQueue()
        self._executor = ProcessPoolExecutor(self.workers, spawn, _prepare, (self.threads, self._messages))
        return self._executor

    def messages(self) -> Iterator[Any]:
        """What workers have sent by ``send`` since the last call."""
        while self._messages is not None and not self._messages.empty():
            yield self._messages.get()

    def stop(self) -> None:
        if self._executor is None:
            return
        for process in multiprocessing.active_children():
            if process not in self._others:
                process.terminate()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = None


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_sent: Any = None
"""In a worker, where ``send`` puts messages."""


def _prepare(threads: int, messages: Any) -> None:
    """Set a worker up: its threads, its messages, and what it does about signals and the death of its parent."""
    global _sent
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who started it deals with it
    _sent = messages
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    importlib.import_module("torch").set_num_threads(threads)


def send(message: Any) -> None:
    """From a worker to the process that started it."""
    _sent.put(message)


class Cluster:
    """The workers of a Dask scheduler at ``address``, such as tcp://10.0.0.1:8786.

    A task whose worker died goes to another one by itself. Workers need hwsim and the data, no shared folder: the
    study's files travel with each point, results travel back and are written here.
    """

    remote = True

    def __init__(self, address: str) -> None:
        try:
            distributed = importlib.import_module("distributed")
        except ImportError as error:
            raise InputError("--cluster: needs Dask; run `pip install hwsim[cluster]`") from error
        try:
            self._client = distributed.Client(address, timeout=CONNECT_S)
        except (OSError, ValueError, TimeoutError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"--cluster {address}: no scheduler answers there ({reason})") from error
        self.workers = max(1, sum(self._client.nthreads().values()))

    def wait_for(self, workers: int) -> None:
        """Wait until so many workers have joined."""
        self._client.wait_for_workers(workers, timeout=CONNECT_S * 3)
        self.workers = max(1, sum(self._client.nthreads().values()))

    def executor(self) -> Executor:
        return self._client.get_executor(pure=False)

    def stop(self) -> None:
        self._client.close()
