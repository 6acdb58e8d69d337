import json
from pathlib import Path
from typing import Any

import pytest

from services.trainer.errors import UnusableRecipe
from services.trainer.recipe.file import read_recipe
from shared.vision.recipe import Layer, Recipe

RECIPE = Recipe(layers=(Layer(tap="b7", input_size=384, metric="l2", weight=0.5),))


def test_a_recipe_is_read_from_its_json(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE.to_json()))
    assert read_recipe(tmp_path / "recipe.json") == RECIPE


def test_a_recipe_is_read_from_a_bundle_s_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"product": "chip", "recipe": RECIPE.to_json()}))
    assert read_recipe(tmp_path / "manifest.json") == RECIPE


def test_layers_written_before_there_were_weights_weigh_one(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"layers": [{"tap": "b12", "input_size": 256}]}')
    assert read_recipe(tmp_path / "recipe.json").layers[0].weight == 1


def test_only_a_recipe_that_names_no_precision_takes_the_given_one(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"layers": [{"tap": "b12"}]}')
    assert read_recipe(tmp_path / "recipe.json", "bf16").precision == "bf16"
    (tmp_path / "recipe.json").write_text('{"precision": "f32", "layers": [{"tap": "b12"}]}')
    assert read_recipe(tmp_path / "recipe.json", "bf16").precision == "f32"


@pytest.mark.parametrize("tap", ["dark-lines", "bright-lines"])
def test_a_size_at_whose_edge_no_line_would_be_seen_is_refused(tmp_path: Path, tap: str) -> None:
    for size, layer in ((304, tap), (300, "b7"), (300, tap)):
        plain = {"layers": [{"tap": layer, "input_size": size, "pool": 1, "metric": "place"}]}
        (tmp_path / "recipe.json").write_text(json.dumps(plain))
        if (size, layer) != (300, tap):
            read_recipe(tmp_path / "recipe.json")
    with pytest.raises(UnusableRecipe, match=rf"{tap} has input_size 300: .* a multiple of 16"):
        read_recipe(tmp_path / "recipe.json")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "[" * 100_000, '{"layers": [{}]}', '{"layers": [{"tap": "b12", "size": 3}]}', '{"layers": 3}'],
)
def test_what_is_no_recipe_is_refused_with_an_example(tmp_path: Path, content: str) -> None:
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(UnusableRecipe, match=r"recipe\.json holds no recipe: .*write"):
        read_recipe(tmp_path / "recipe.json")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"metric": "hamming"}, "has metric 'hamming': it takes one of cosine, l2, learnt, place"),
        ({"metric": ["l2"]}, r"has metric \['l2'\]"),
        ({"top_fraction": 5}, "has top_fraction 5: it takes a number from 0 to 1"),
        ({"top_fraction": -0.1}, "has top_fraction -0.1"),
        ({"weight": "x"}, "has weight 'x': it takes a number, 0 or more"),
        ({"weight": -1}, "has weight -1"),
        ({"weight": 0}, "none of the recipe's 1 layers has a weight above 0"),
        ({"weight": float("nan")}, "has weight nan"),
        ({"weight": float("inf")}, "has weight inf"),
        ({"weight": 10**400}, "has weight 1000"),
        ({"weight": True}, "has weight True"),
        ({"pool": 0}, "has pool 0: it takes a whole number of patches, 1 to 4096"),
        ({"pool": 10**11}, "has pool 100000000000: it takes a whole number of patches, 1 to 4096"),
        ({"input_size": 99999}, "has input_size 99999: it takes a whole number of pixels, 1 to 4096"),
        ({"input_size": 256.0}, "has input_size 256.0: it takes a whole number of pixels"),
        ({"input_size": -256}, "has input_size -256"),
        ({"tap": ""}, "has tap ''"),
        ({"tap": 12}, "has tap 12"),
    ],
)
def test_a_layer_s_value_that_means_nothing_is_named(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"layers": [{"tap": "b12"} | changes]}))
    with pytest.raises(UnusableRecipe, match=rf"recipe\.json: .*{complaint}"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"precision": "f16"}, "has precision 'f16': it takes one of f32, bf16, int8"),
        ({"backbone": ""}, "has backbone ''"),
        ({"graphs_sha256": "abc"}, "has graphs_sha256 'abc': it takes 64 hex digits"),
        ({"layers": []}, "none of the recipe's 0 layers has a weight above 0"),
    ],
)
def test_a_recipe_s_value_that_means_nothing_is_named(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(RECIPE.to_json() | changes))
    with pytest.raises(UnusableRecipe, match=rf"recipe\.json: .*{complaint}"):
        read_recipe(path)


def test_a_layer_may_weigh_next_to_nothing_or_be_left_out(tmp_path: Path) -> None:
    """As recipes of earlier versions may: their search rounds weights, and people switched layers off by a zero."""
    layers = [{"tap": "b7", "weight": 0.001}, {"tap": "b12", "weight": 0}, {"tap": "b14", "top_fraction": 0}]
    (tmp_path / "recipe.json").write_text(json.dumps({"layers": layers}))
    assert [layer.weight for layer in read_recipe(tmp_path / "recipe.json").layers] == [0.001, 0, 1]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableRecipe, match="nowhere"):
        read_recipe(tmp_path / "nowhere.json")
