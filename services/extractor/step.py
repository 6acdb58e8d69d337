"""ImageCaptured → FeaturesExtracted: decode, preprocess, backbone, pool, quantise."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from typing_extensions import override

from services.extractor.engines import EngineCache
from services.extractor.image_source import read_image
from services.extractor.settings import ImageSettings
from shared.bank.recipe_cache import RecipeCache
from shared.errors import Uninspectable
from shared.events import FeaturesExtracted, ImageCaptured, ImagePointer, Uninspected
from shared.identity import Identity
from shared.stream.step import Outcome, Record, Source, Step
from shared.vision.extraction import Sized, at_input_sizes, extract_sized
from shared.vision.picture import decode_as_stored
from shared.vision.recipe import Recipe


class ExtractorStep(Step[ImageCaptured]):
    """Looks at every picture through the backbone, by its product's recipe.

    Args:
        recipes: the recipes of the active bundles; closed with the step.
        engines: what computes the features.
        images: which pictures are accepted.
    """

    name = "extractor"
    consumes = ImageCaptured
    produces = (FeaturesExtracted,)
    later_stages = timedelta(milliseconds=100)  # the matcher: fetch, match and commit
    takes_each_chip_once = True

    def __init__(self, recipes: RecipeCache, engines: EngineCache, images: ImageSettings) -> None:
        self._recipes = recipes
        self._engines = engines
        self._images = images
        self._decoders = ThreadPoolExecutor(images.decode_threads, thread_name_prefix="decode")

    @override
    def open(self) -> None:
        for recipe in self._recipes.published():
            self._engines.warm_up(recipe)

    @override
    def process(self, records: Sequence[Record[ImageCaptured]]) -> Sequence[Outcome]:
        # Recipes first: where none can be had because Redis is away, nothing is decoded in vain.
        looks = list(self._decoders.map(self._look, records, [self._recipe(record) for record in records]))
        outcomes: list[Outcome] = [look if isinstance(look, Uninspectable) else () for look in looks]
        for (recipe, feature_space), members in _by_recipe(looks).items():
            engine = self._engines.engine(recipe, feature_space)
            grids = extract_sized([look.sized for _, look in members], recipe, engine)
            for (index, look), chip_grids in zip(members, grids, strict=True):
                record = records[index]
                outcomes[index] = (
                    FeaturesExtracted(
                        **record.identity.fields(),
                        image=_pointer(record.source, record.event),
                        height=look.height,
                        width=look.width,
                        feature_space=feature_space,
                        engine=engine.description,
                        grids=chip_grids,
                    ),
                )
        return outcomes

    @override
    def uninspected(
        self, identity: Identity, source: Source, cause: Uninspected, event: ImageCaptured | None
    ) -> Sequence[FeaturesExtracted]:
        return (FeaturesExtracted(**identity.fields(), image=_pointer(source, event), uninspected=cause),)

    @override
    def not_ready_because(self) -> str | None:
        return self._recipes.not_ready_because()

    @override
    def degraded_because(self) -> str | None:
        return self._recipes.degraded_because()

    @override
    def close(self) -> None:
        self._decoders.shutdown()
        self._recipes.close()

    def _recipe(self, record: Record[ImageCaptured]) -> "_Recipe | Uninspectable":
        try:
            return self._recipes.recipe(record.event.product)
        except Uninspectable as error:
            return error

    def _look(self, record: Record[ImageCaptured], recipe: "_Recipe | Uninspectable") -> "_Look | Uninspectable":
        if isinstance(recipe, Uninspectable):
            return recipe
        try:
            data = read_image(record.event, root=self._images.root, max_bytes=self._images.max_referenced_bytes)
            # Resized here, on the threads that decode: the one that judges has all the rest to do.
            picture = decode_as_stored(data, max_pixels=self._images.max_pixels)
            return _Look(recipe, picture.shape[0], picture.shape[1], at_input_sizes(picture, recipe[0]))
        except Uninspectable as error:
            return error


_Recipe = tuple[Recipe, str]


@dataclass(frozen=True, slots=True)
class _Look:
    """A picture that is ready for the backbone."""

    recipe: _Recipe
    height: int
    """Of the original, pixels."""
    width: int
    sized: Sized


def _by_recipe(looks: Sequence[_Look | Uninspectable]) -> dict[_Recipe, list[tuple[int, _Look]]]:
    """Positions and pictures of the chips that can be looked at, together by recipe."""
    groups: dict[_Recipe, list[tuple[int, _Look]]] = {}
    for index, look in enumerate(looks):
        if not isinstance(look, Uninspectable):
            groups.setdefault(look.recipe, []).append((index, look))
    return groups


def _pointer(source: Source, event: ImageCaptured | None) -> ImagePointer:
    return ImagePointer(
        topic=source.topic, partition=source.partition, offset=source.offset, sha256=event.sha256 if event else None
    )
