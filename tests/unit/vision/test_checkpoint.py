import io
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.vision.checkpoint import read_checkpoint
from shared.vision.errors import BadCheckpoint

MAGIC = 0x1950A86A20F9469CFC6C


class FakeGlobal:
    """Pickles as a reference to ``module.name``, as the writer of a checkpoint would."""

    def __init__(self, module: str, name: str, *args: Any) -> None:
        self.module, self.name, self.args = module, name, args


class CheckpointPickler(pickle._Pickler):  # type: ignore[name-defined,misc] # the Python one lets globals be invented
    """Writes what PyTorch wrote, without PyTorch."""

    def persistent_id(self, obj: Any) -> Any:
        return obj.args if isinstance(obj, FakeGlobal) and obj.name == "storage" else None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, FakeGlobal) and obj.name != "storage":
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
            if obj.args:
                self.save(obj.args)
                self.write(pickle.REDUCE)
            return
        super().save(obj, save_persistent_id)


def storage(key: str, kind: str = "FloatStorage") -> FakeGlobal:
    return FakeGlobal("", "storage", "storage", FakeGlobal("torch", kind), key, "cpu", 0, None)


def tensor(key: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], **kind: str) -> FakeGlobal:
    rebuild = ("torch._utils", "_rebuild_tensor_v2")
    return FakeGlobal(*rebuild, storage(key, **kind), offset, shape, strides, False, OrderedDict())


def checkpoint(tensors: Any, storages: dict[str, bytes], itemsize: int = 4, magic: int = MAGIC) -> bytes:
    file = io.BytesIO()
    for part in (magic, 1001, {"little_endian": True}, tensors, list(storages)):
        CheckpointPickler(file, 2).dump(part)
    for data in storages.values():
        file.write(struct.pack("<q", len(data) // itemsize) + data)
    return file.getvalue()


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    return path


SIX = np.arange(6, dtype="<f4")


def test_tensors_come_back_by_name_with_shape_and_strides(tmp_path: Path) -> None:
    plain = tensor("a", 0, (2, 3), (3, 1))
    transposed = tensor("a", 0, (3, 2), (1, 3))
    tail = tensor("a", 4, (2,), (1,))
    tensors = read_checkpoint(
        written(tmp_path, checkpoint({"plain": plain, "turned": transposed, "tail": tail}, {"a": SIX.tobytes()}))
    )
    assert np.array_equal(tensors["plain"], SIX.reshape(2, 3))
    assert np.array_equal(tensors["turned"], SIX.reshape(2, 3).T)
    assert np.array_equal(tensors["tail"], [4, 5])


def test_a_scalar_of_integers_comes_back(tmp_path: Path) -> None:
    count = np.array([7], "<i8")
    data = checkpoint({"count": tensor("n", 0, (), (), kind="LongStorage")}, {"n": count.tobytes()}, itemsize=8)
    assert read_checkpoint(written(tmp_path, data))["count"] == 7


@pytest.mark.parametrize(("module", "name"), [("os", "system"), ("builtins", "eval"), ("torch.nn", "Linear")])
def test_a_checkpoint_that_asks_for_anything_but_tensors_is_refused_and_not_obeyed(
    tmp_path: Path, module: str, name: str
) -> None:
    ran = tmp_path / "ran"
    data = checkpoint({"x": FakeGlobal(module, name, f"touch {ran}")}, {})
    with pytest.raises(BadCheckpoint, match=f"{module}.{name}"):
        read_checkpoint(written(tmp_path, data))
    assert not ran.exists()


@pytest.mark.parametrize(
    "reaching_out",
    [
        tensor("a", 1, (2, 3), (3, 1)),
        tensor("a", -1, (2,), (1,)),
        tensor("a", 0, (2,), (-1,)),
        tensor("a", 0, (7,), (1,)),
    ],
)
def test_a_tensor_that_reaches_outside_its_storage_is_refused(tmp_path: Path, reaching_out: FakeGlobal) -> None:
    with pytest.raises(BadCheckpoint, match="reaches outside"):
        read_checkpoint(written(tmp_path, checkpoint({"x": reaching_out}, {"a": SIX.tobytes()})))


def test_a_checkpoint_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = checkpoint({"x": tensor("a", 0, (6,), (1,))}, {"a": SIX.tobytes()})
    for length in range(len(whole)):
        with pytest.raises(BadCheckpoint):
            read_checkpoint(written(tmp_path, whole[:length]))


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="no PyTorch checkpoint of the format"):
        read_checkpoint(written(tmp_path, checkpoint({}, {}, magic=1)))
    with pytest.raises(BadCheckpoint):
        read_checkpoint(written(tmp_path, b"PK\x03\x04 a zip archive"))


def test_a_missing_checkpoint_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"no checkpoint at .*nowhere\.pth; install"):
        read_checkpoint(tmp_path / "nowhere.pth")
