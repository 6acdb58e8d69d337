"""Tensors out of a PyTorch checkpoint, without PyTorch and without running what the file says.

A checkpoint is a pickle, and a pickle is a program. `read_checkpoint` runs it with an interpreter that knows four
names (a dictionary, a tensor, two kinds of storage) and refuses any other, so that a tampered file can at worst be
refused. The format is the one PyTorch wrote before 1.6: the pickles of a magic number, a protocol version, the
writer's system, the object (its storages by reference) and the list of storages, then each storage's length and bytes.
"""

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shared.vision.errors import BadCheckpoint

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage whose bytes come later in the file; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def resolve(self, storage: NDArray[Any]) -> NDArray[Any]:
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if min(self.offset, *self.strides, 0) < 0 or min((1, *self.shape)) < 1 or last >= storage.size:
            raise ValueError(f"a tensor of shape {self.shape} reaches outside its {storage.size} elements")
        byte_strides = [step * storage.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(storage[self.offset :], self.shape, byte_strides).copy()


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_autograd: object
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class _TensorUnpickler(pickle.Unpickler):
    """Builds dictionaries of tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no tensor needs") from None

    def persistent_load(self, reference: Any) -> _Storage:
        kind, dtype, key, _device, _length, view = reference
        if kind != "storage" or not isinstance(dtype, np.dtype) or view is not None:
            raise pickle.UnpicklingError(f"it refers to {reference!r}, which is no storage")
        return _Storage(str(key), dtype)


def read_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a checkpoint by name, float32 or int64.

    Raises:
        BadCheckpoint: the file is missing, damaged, of another format, or holds anything but tensors.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except FileNotFoundError:
        raise BadCheckpoint(f"there is no checkpoint at {path}; install the package that brings it") from None
    except (pickle.UnpicklingError, ValueError, TypeError, AttributeError, KeyError, EOFError, IndexError) as damage:
        raise BadCheckpoint(
            f"the checkpoint {path} cannot be used: {damage}; install the package that brings it again"
        ) from damage


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    magic, protocol, _system = (_TensorUnpickler(file).load() for _ in range(3))
    if (magic, protocol) != (_MAGIC, _PROTOCOL):
        raise ValueError("it is no PyTorch checkpoint of the format before 1.6")
    tensors: dict[str, _Tensor] = _TensorUnpickler(file).load()
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
    storages = {key: _read_storage(file, dtypes[key]) for key in _TensorUnpickler(file).load()}
    return {name: tensor.resolve(storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _read_storage(file: BinaryIO, dtype: np.dtype[Any]) -> NDArray[Any]:
    length = int.from_bytes(file.read(8), "little")
    data = file.read(length * dtype.itemsize)
    if len(data) != length * dtype.itemsize:
        raise EOFError(f"it ends {length * dtype.itemsize - len(data)} bytes early")
    return np.frombuffer(data, dtype)
