"""A recipe from a file, for those who know theirs."""

import json
from pathlib import Path

from services.trainer.errors import UnusableRecipe
from shared.vision.errors import BadRecipe
from shared.vision.recipe import LINE_CELL, LINE_TAPS, Precision, Recipe


def read_recipe(path: Path, precision: Precision = "f32") -> Recipe:
    """A recipe's JSON, or a bundle's manifest, whose recipe is taken; in `precision` where it names none.

    Raises:
        UnusableRecipe: it cannot be read, is no JSON, lacks a field, has one too many or a value that means nothing, or
            looks for lines at a size that would leave the picture's edge unseen.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        recipe = Recipe.from_json({"precision": precision, **plain.get("recipe", plain)})
        recipe.check_whole()
    except BadRecipe as error:
        raise UnusableRecipe(f"{path}: {error}") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnusableRecipe(
            f'{path} holds no recipe: {error}; write {{"layers": [{{"tap": "b12", "input_size": 256}}]}}, or give the '
            "manifest of a bundle"
        ) from error
    for layer in recipe.layers:
        if layer.tap in LINE_TAPS and layer.input_size % LINE_CELL:
            raise UnusableRecipe(
                f"{path}: the layer of tap {layer.tap} has input_size {layer.input_size}: lines beyond the last whole "
                f"patch would not be seen, so it takes a multiple of {LINE_CELL}"
            )
    return recipe
