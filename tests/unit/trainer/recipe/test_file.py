import json
from pathlib import Path

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


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"layers": [{}]}', '{"layers": [{"tap": "b12", "size": 3}]}', '{"layers": 3}']
)
def test_what_is_no_recipe_is_refused_with_an_example(tmp_path: Path, content: str) -> None:
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(UnusableRecipe, match=r"recipe\.json holds no recipe: .*write"):
        read_recipe(tmp_path / "recipe.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableRecipe, match="nowhere"):
        read_recipe(tmp_path / "nowhere.json")
