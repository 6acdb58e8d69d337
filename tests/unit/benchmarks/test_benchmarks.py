import json
from typing import Any

import pytest

from benchmarks import codec, gpu, table
from benchmarks.arithmetic import gflop
from shared.vision.cache import default_cache_dir
from shared.vision.engines.conversion import converted_graphs
from shared.vision.recipe import DEFAULT_RECIPE


def test_a_table_shows_every_column_that_any_row_has() -> None:
    found = table.Table("What", [{"a": 1, "b": 2.34567}, {"a": "x", "c": None}], ["Note."]).markdown()
    assert found == "## What\n\n| a | b | c |\n|---|---|---|\n| 1 | 2.346 |  |\n| x |  |  |\n\nNote."


def test_a_benchmark_is_one_json_document_with_the_machine_it_ran_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark", "--json"])
    table.command(lambda: table.Table("What", [{"a": 1}]))
    found = json.loads(capsys.readouterr().out)
    assert (found["title"], found["rows"]) == ("What", [{"a": 1}])
    assert found["machine"]["cpus"] >= 1


def test_calls_are_timed_in_turns_after_each_has_warmed_up() -> None:
    said: list[str] = []
    found = table.fastest({name: lambda n=name: said.append(n) for name in "ab"}, rounds=2)  # type: ignore[misc]
    assert said == ["a", "b", "a", "b", "a", "b"]
    assert set(found) == {"a", "b"}


def test_the_codec_is_measured_on_what_it_reads_and_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "TIMES", 1)
    rows: list[dict[str, Any]] = codec.measure().rows
    assert [row["event"] for row in rows] == ["ImageCaptured", "FeaturesExtracted", "ChipInspected"]
    assert all(row["encode us"] > 0 and row["decode us"] > 0 for row in rows)


def test_the_backbone_costs_what_its_layers_say() -> None:
    graph = converted_graphs(DEFAULT_RECIPE, default_cache_dir())[256]
    assert gflop(graph, 256) == pytest.approx(0.8736, abs=0.0001)


def test_a_machine_without_a_gpu_is_measured_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.tf.config, "list_physical_devices", lambda _kind: [])
    monkeypatch.setattr(gpu, "BUCKETS", (1, 2))
    monkeypatch.setattr(gpu, "SECONDS", 0.0)
    found = gpu.measure()
    assert found.title == "TensorFlow engine, CPU, no GPU"
    assert [(row["precision"], row["batch"]) for row in found.rows] == [("f32", 1), ("f32", 2)]
    assert all(row["images/s"] > 0 for row in found.rows)
