"""A GPU where there is none: its tensors compute on the CPU, and what would make the host wait is counted.

``pretended()`` makes "cuda" a device of this process. Tensors there are wrappers around others on the CPU; operations
on both kinds at once are refused as a GPU refuses them, so that what passes here keeps its tensors in one place. Reads
by the host (``item``, ``bool``, masks as indices) and copies between the two are counted, by operation. A CUDA graph is
a list of the operations between its ends, done again at a replay into the tensors of the recording; a read by the host
fails in there.

It says nothing about speed, kernels, rounding or memory of a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("meta")  # what its tensors say; autograd on a CUDA device asks the driver, on this one nobody
aten = torch.ops.aten
READS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.equal.default,
    aten.masked_select.default,
    aten._unique2.default,
}
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}
MOVES = {aten._to_copy.default, aten.copy_.default}


class OnGpu(Tensor):
    """A tensor that says it is on the GPU; its numbers are those of ``inner``, on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnGpu:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, device=GPU, **layout)
        made.inner = inner
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnGpu({self.inner})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert a cuda:0 tensor to numpy; use Tensor.cpu() first")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of pretended()")


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnGpu) else value


class Pretended(TorchDispatchMode):
    """What happens on the GPU.

    Attributes:
        waits: how often the host would have waited, by operation.
        recording: the operations of the graph that is being recorded; None where none is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.recording: list[Callable[[], None]] | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
        there = [isinstance(each, OnGpu) for each in tensors]
        target = any(there)
        if kwargs.get("device") is not None:
            target, kwargs["device"] = torch.device(kwargs["device"]).type != "cpu", torch.device("cpu")
        if func in MOVES:
            if target != all(there):
                self._wait(f"{func} {'to' if target else 'from'} the GPU")
        elif any(there):
            indices = [i for i in args[1] if i is not None] if func in INDEXED else []
            if func in READS or any(i.dtype == torch.bool for i in indices):
                self._wait(str(func))
            if not all(isinstance(i, OnGpu) for i in indices):  # is brought there
                self._wait(f"{func} by an index on the CPU")
            for each, gpu in zip(tensors, there, strict=True):
                if not gpu and each.dim() and not (isinstance(args[0], OnGpu) and any(each is i for i in indices)):
                    raise RuntimeError(f"{func}: expected all tensors on one device, found cuda:0 and cpu")
        plain, named = tree_map(_inner, args), tree_map(_inner, kwargs)
        out = func(*plain, **named)
        if func is aten.copy_.default:
            self._record(func, plain, named, plain[0])
            return args[0]
        if not target or func in READS - {aten.nonzero.default, aten.masked_select.default, aten._unique2.default}:
            return out
        self._record(func, plain, named, out)
        wrapped = tree_map(lambda each: OnGpu(each) if isinstance(each, Tensor) else each, out)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)

    def _wait(self, operation: str) -> None:
        if self.recording is not None:
            raise RuntimeError(f"{operation}: not permitted while a graph is recorded")
        self.waits[operation] += 1

    def _record(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        if self.recording is None:
            return
        into = [each for each in tree_flatten(out)[0] if isinstance(each, Tensor)]

        def again() -> None:
            found = [each for each in tree_flatten(func(*args, **kwargs))[0] if isinstance(each, Tensor)]
            for old, new in zip(into, found, strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)

        self.recording.append(again)


class Graph:
    """``torch.cuda.CUDAGraph``."""

    mode: ClassVar[Pretended]

    def __init__(self) -> None:
        self.operations: list[Callable[[], None]] = []

    def replay(self) -> None:
        for again in self.operations:
            again()


@contextmanager
def _recorded(graph: Graph, *_: Any, **__: Any) -> Iterator[None]:
    Graph.mode.recording = graph.operations
    try:
        yield
    finally:
        Graph.mode.recording = None


class _Kind(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _CpuGenerator)


_CpuGenerator = torch.Generator


class _Generator(metaclass=_Kind):
    """``torch.Generator`` of any device."""

    def __new__(cls, device: Any = "cpu") -> Any:
        return _CpuGenerator("cpu")


class _Stream:
    def wait_stream(self, other: Any) -> None:
        pass


@contextmanager
def _on(stream: Any) -> Iterator[None]:
    yield


@contextmanager
def pretended() -> Iterator[Pretended]:
    """ "cuda" is a device inside; the mode says what was waited for."""
    mode = Pretended()
    torch._C._ensureCUDADeviceGuardSet()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "Generator", _Generator)
        for name, value in {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "is_current_stream_capturing": lambda: mode.recording is not None,
            "CUDAGraph": Graph,
            "graph": _recorded,
            "Stream": lambda *_, **__: _Stream(),
            "current_stream": lambda *_: _Stream(),
            "stream": _on,
            "synchronize": lambda *_: None,
            "reset_peak_memory_stats": lambda *_: None,
            "max_memory_allocated": lambda *_: 0,
            "get_device_name": lambda *_: "pretended",
        }.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(Graph, "mode", mode, raising=False)
        with mode:
            yield mode
