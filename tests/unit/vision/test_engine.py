import contextlib
import dataclasses
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.vision.backbone import load_backbone
from shared.vision.cache import default_cache_dir
from shared.vision.engine import Engine
from shared.vision.engines import conversion, openvino, precision
from shared.vision.engines.loading import load_engine
from shared.vision.errors import ConversionFailed, UnknownBackbone, UnsupportedPrecision
from shared.vision.int8_graphs import Int8Graph, Int8Graphs
from shared.vision.recipe import DEFAULT_RECIPE, Layer, Recipe
from shared.vision.tensorflow_quietly import keras, tf
from tests.unit.vision.conftest import VARIED_RECIPE
from tests.unit.vision.rendered_pictures import chip, ramp

SIZES = (96, 256)
ENGINES = ("openvino_engine", "tensorflow_engine")


def pictures(count: int, size: int) -> NDArray[np.uint8]:
    """Ramps and chips in turn, each brighter than the one before."""
    drawn = [(chip if index % 2 else ramp)(size) // 2 + np.uint8(2 * index) for index in range(count)]
    return np.stack(drawn)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.getfixturevalue(request.param)
    return engine


@pytest.mark.parametrize("size", SIZES)
def test_both_engines_give_the_same_features(openvino_engine: Engine, tensorflow_engine: Engine, size: int) -> None:
    ours, reference = (each.features(pictures(4, size), size) for each in (openvino_engine, tensorflow_engine))
    assert ours.keys() == reference.keys()
    for layer, expected in reference.items():
        assert np.abs(ours[layer] - expected).max() <= 1e-3 * np.abs(expected).max()


def test_an_engine_gives_the_grids_of_the_asked_size_by_layer_name(engine: Engine) -> None:
    shapes = {layer: grid.shape for layer, grid in engine.features(pictures(3, 256), 256).items()}
    assert shapes == {"b7@256/3": (3, 16, 16, 80), "b7@256/1": (3, 16, 16, 80), "b12@256/3": (3, 8, 8, 192)}
    assert {layer: grid.shape for layer, grid in engine.features(pictures(1, 96), 96).items()} == {
        "b4@96/2": (1, 12, 12, 40)
    }


def test_features_are_float32_taken_from_the_backbones_taps(engine: Engine) -> None:
    backbone = load_backbone("efficientnet-lite0")
    tap = keras.Model(backbone.model.inputs[0], backbone.tap("b7"))
    found = engine.features(pictures(2, 256), 256)["b7@256/1"]
    expected = tap(pictures(2, 256), training=False).numpy()
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


def test_pooling_averages_over_real_neighbours_only(engine: Engine) -> None:
    found = engine.features(pictures(1, 256), 256)
    raw, pooled = found["b7@256/1"][0], found["b7@256/3"][0]
    assert pooled[0, 0] == pytest.approx(raw[:2, :2].mean(axis=(0, 1)), abs=1e-4)
    assert pooled[0, 5] == pytest.approx(raw[:2, 4:7].mean(axis=(0, 1)), abs=1e-4)
    assert pooled[7, 7] == pytest.approx(raw[6:9, 6:9].mean(axis=(0, 1)), abs=1e-4)


@pytest.mark.parametrize("count", [1, 3, 16, 35])  # within, between and beyond the sizes that batches are padded to
def test_a_pictures_features_do_not_depend_on_its_neighbours_in_the_batch(engine: Engine, count: int) -> None:
    batch = pictures(count, 96)
    together = engine.features(batch, 96)["b4@96/2"]
    alone = np.concatenate([engine.features(batch[index : index + 1], 96)["b4@96/2"] for index in range(count)])
    assert np.abs(together - alone).max() <= 1e-5 * np.abs(alone).max()
    if "openvino" in engine.description:  # to the last bit, so that a verdict can be recomputed
        assert np.array_equal(together, alone)


@pytest.mark.parametrize("kind", ["openvino", "tensorflow"])
def test_bf16_features_point_nearly_where_f32_ones_do(kind: Any, cache_dir: Path) -> None:
    if kind == "openvino" and "BF16" not in openvino.ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU does not compute in bf16")
    found = {}
    for each in ("f32", "bf16"):
        recipe = dataclasses.replace(VARIED_RECIPE, precision=each)
        found[each] = load_engine(kind, recipe, threads=2, cache_dir=cache_dir).features(pictures(2, 256), 256)
    for layer, expected in found["f32"].items():
        lengths = np.linalg.norm(expected, axis=-1) * np.linalg.norm(found["bf16"][layer], axis=-1)
        cosines = (found["bf16"][layer] * expected).sum(axis=-1) / lengths
        assert cosines.mean() > 0.97


def test_a_cpu_that_would_silently_compute_in_f32_refuses_bf16(
    monkeypatch: pytest.MonkeyPatch, cache_dir: Path
) -> None:
    monkeypatch.setattr(openvino.ov.Core, "get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(UnsupportedPrecision, match=r"this CPU does not compute in bf16.*--precision f32"):
        load_engine("openvino", dataclasses.replace(DEFAULT_RECIPE, precision="bf16"), cache_dir=cache_dir)


def test_a_cpu_whose_int8_sums_saturate_refuses_int8(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache_dir: Path
) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu sse2 avx2\n")
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
    graphs = Int8Graphs({256: Int8Graph(b"<net/>", b"weights")})
    recipe = dataclasses.replace(DEFAULT_RECIPE, precision="int8", graphs_sha256=graphs.sha256)
    with pytest.raises(UnsupportedPrecision, match=r"neither VNNI nor AMX.*--precision auto"):
        load_engine("openvino", recipe, cache_dir=cache_dir, graphs=graphs)


@pytest.mark.parametrize(
    ("vendor", "flags", "best"),
    [
        ("GenuineIntel", "fma avx2 avx512f avx512_vnni", "f32"),
        ("GenuineIntel", "avx512f avx512_bf16", "f32"),
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16", "bf16"),
        ("AuthenticAMD", "avx512f avx512_bf16", "bf16"),
        ("AuthenticAMD", "avx2 fma", "f32"),
    ],
)
def test_openvino_computes_in_bf16_where_the_cpu_is_faster_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vendor: str, flags: str, best: str
) -> None:
    (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {vendor}\nflags\t\t: fpu sse2 {flags}\n")
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
    assert precision.best_precision("openvino") == best
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "no-such-file")
    assert precision.best_precision("openvino") == "f32"


def test_tensorflow_computes_in_bf16_where_every_gpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _kind: list(range(len(found))))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": found[gpu]})
    assert precision.best_precision("tensorflow") == "f32"
    found.append((9, 0))
    assert precision.best_precision("tensorflow") == "bf16"
    found.append((7, 5))
    assert precision.best_precision("tensorflow") == "f32"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("openvino", "a recipe in int8 without int8 graphs: .*by `chipsieve train --precision int8`"),
        ("tensorflow", "int8.*; choose f32 or bf16"),
    ],
)
def test_a_precision_that_an_engine_cannot_compute_in_is_refused(kind: Any, message: str, cache_dir: Path) -> None:
    recipe = dataclasses.replace(DEFAULT_RECIPE, precision="int8")
    with pytest.raises(UnsupportedPrecision, match=message):
        load_engine(kind, recipe, cache_dir=cache_dir)


def test_an_unknown_engine_is_refused_with_the_choices() -> None:
    with pytest.raises(UnknownBackbone, match="no engine 'onnx'; choose openvino or tensorflow"):
        load_engine("onnx", DEFAULT_RECIPE)  # type: ignore[arg-type]


def test_an_unknown_tap_is_refused_by_name(cache_dir: Path) -> None:
    recipe = Recipe(layers=(Layer(tap="b99"),))
    with pytest.raises(UnknownBackbone, match="no tap 'b99'"):
        load_engine("tensorflow", recipe)
    with pytest.raises(ConversionFailed, match="no tap 'b99'"):
        load_engine("openvino", recipe, cache_dir=cache_dir)
    assert not list(cache_dir.glob("openvino/.converting-*"))


def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConversionFailed, match="point CHIPSIEVE_CACHE_DIR to a folder that can be written"):
        load_engine("openvino", DEFAULT_RECIPE, cache_dir=tmp_path / "file")


def test_a_graph_for_which_there_is_no_room_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "RuntimeError: basic_ios::clear: iostream error"  # all that OpenVINO says of a full disk
    monkeypatch.setattr(conversion.own_process, "run", lambda *_, **__: said)
    with pytest.raises(ConversionFailed, match=f"{said}; make room in {tmp_path} .CHIPSIEVE_CACHE_DIR., or mend"):
        load_engine("openvino", DEFAULT_RECIPE, cache_dir=tmp_path)


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHIPSIEVE_CACHE_DIR", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("CHIPSIEVE_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "chipsieve"


def test_a_graph_is_converted_once_and_found_again(openvino_engine: Engine, cache_dir: Path) -> None:
    graphs = {path: path.stat().st_mtime_ns for path in cache_dir.glob("openvino/*/graph.xml")}
    again = load_engine("openvino", VARIED_RECIPE, threads=1, cache_dir=cache_dir)
    assert {path: path.stat().st_mtime_ns for path in cache_dir.glob("openvino/*/graph.xml")} == graphs
    batch = pictures(2, 96)
    # Whatever the number of threads.
    assert np.array_equal(again.features(batch, 96)["b4@96/2"], openvino_engine.features(batch, 96)["b4@96/2"])


def test_an_engine_says_what_it_is_its_kind_first(openvino_engine: Engine, tensorflow_engine: Engine) -> None:
    assert re.fullmatch(r"openvino \d+\.\d+\.\d+ f32 on .+", openvino_engine.description)
    assert re.fullmatch(r"tensorflow \d+\.\d+\.\d+ f32 on .+", tensorflow_engine.description)


def test_a_serving_process_never_imports_tensorflow_even_where_it_must_convert(
    serving_process: subprocess.CompletedProcess[str],
) -> None:
    assert serving_process.stderr == ""
    assert serving_process.stdout == "['b4@96/2', 'b7@256/3', 'b7@256/1', 'b12@256/3']\nset()\n"


def test_tensorflow_says_nothing_of_its_own_on_standard_error() -> None:
    program = (
        "import sys; from shared.vision.tensorflow_quietly import tf; print(float(tf.constant(1.0)));"
        "print('ours', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1.0\n", "ours\n")


@pytest.mark.parametrize(
    ("quota", "threads"), [("max 100000", None), ("150000 100000", 1), ("10000 100000", 1), ("6400000 100000", None)]
)
def test_a_container_with_a_cpu_quota_gets_no_more_threads_than_it_may_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, threads: int | None
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(openvino, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(4)))
    assert openvino.usable_cpus() == (threads or 4)


def test_an_engine_binds_none_of_its_threads_to_a_core(openvino_engine: Engine) -> None:
    """Else the threads of every extractor on a machine would share its first cores."""
    seen = set()
    with ThreadPoolExecutor(1) as another:
        computing = another.submit(openvino_engine.features, np.repeat(pictures(2, 256), 32, axis=0), 256)
        while not computing.done():
            for thread in Path("/proc/self/task").iterdir():
                with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                    seen.add(frozenset(os.sched_getaffinity(int(thread.name))))
        computing.result()
    assert seen == {frozenset(os.sched_getaffinity(0))}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own, while it saves
@pytest.mark.parametrize("kind", ["openvino", "tensorflow"])
def test_an_engine_runs_a_keras_file_in_place_of_the_backbone(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "line7.keras"
    pixels = keras.Input((None, None, 3))
    halved = keras.layers.AveragePooling2D(2, name="halved")(keras.layers.Rescaling(1 / 255)(pixels))
    keras.Model(pixels, halved, name="line7").save(path)
    recipe = Recipe(layers=(Layer(tap="halved", input_size=32, pool=1),), backbone=str(path))

    features = load_engine(kind, recipe, threads=1, cache_dir=tmp_path).features(pictures(2, 32), 32)

    expected = pictures(2, 32).reshape(2, 16, 2, 16, 2, 3).mean(axis=(2, 4)) / 255
    assert features["halved@32/1"] == pytest.approx(expected, abs=1e-5)
