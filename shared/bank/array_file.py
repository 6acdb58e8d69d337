"""One array of a bundle as a file in ``.npy`` format. Nothing is ever unpickled, and no header is believed."""

import hashlib
import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.bank.errors import CorruptBundle
from shared.bank.manifest import ArrayEntry


def entry_of(file: str, array: NDArray[Any]) -> ArrayEntry:
    """What a manifest says of an array; raises `CorruptBundle` where a number is not finite."""
    if not np.isfinite(array).all():
        raise CorruptBundle(f"{file} has numbers that are not finite")
    data = npy(array)
    return ArrayEntry(
        file=file,
        dtype=array.dtype.str,
        shape=array.shape,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def npy(array: NDArray[Any]) -> bytes:
    """The array as a file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def read_array(entry: ArrayEntry, data: bytes, where: str) -> NDArray[Any]:
    """The array of a file, read-only; it has to be as its entry says, and of finite numbers.

    Raises:
        CorruptBundle: it is not, with `where` in the message.
    """
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise CorruptBundle(
            f"{where} does not have the sha256 that the manifest says ({len(data)} bytes): it is damaged"
        )
    buffer = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(buffer)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(buffer)
    except Exception as error:  # numpy reads the header as Python, and raises whatever its parser does
        raise CorruptBundle(f"{where} is not an array: {type(error).__name__}: {error}") from error
    if version != (1, 0) or fortran or dtype.hasobject or (dtype.str, shape) != (entry.dtype, entry.shape):
        raise CorruptBundle(f"{where} holds {dtype.str} {shape}, the manifest says {entry.dtype} {entry.shape}")
    body = len(data) - buffer.tell()
    if body != math.prod(shape) * dtype.itemsize:
        raise CorruptBundle(f"{where} has {body} bytes of numbers where {dtype.str} {shape} needs another amount")
    array = np.frombuffer(data, dtype, offset=buffer.tell()).reshape(shape)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise CorruptBundle(f"{where} has numbers that are not finite")
    return array
