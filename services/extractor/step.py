"""ImageCaptured → FeaturesExtracted: decode, preprocess, backbone, pool, quantise."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import structlog
from typing_extensions import override

from services.extractor.engines import EngineCache
from services.extractor.errors import RecipeUnsupported
from services.extractor.image_source import read_image
from services.extractor.settings import ImageSettings
from shared.bank.recipe_cache import RecipeCache
from shared.errors import ConfigurationError, NotReady, Uninspectable
from shared.events import FeaturesExtracted, ImageCaptured, ImagePointer, Uninspected
from shared.identity import Identity
from shared.stream.errors import RecordsNotReady
from shared.stream.step import Outcome, Record, Source, Step
from shared.vision.engine import Engine
from shared.vision.extraction import Sized, at_input_sizes, extract_sized
from shared.vision.picture import decode_as_stored
from shared.vision.recipe import Recipe

log = structlog.get_logger()


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
        """Make the engines of what is published; raises `ConfigurationError` where none of it can be computed here."""
        unsupported: list[RecipeUnsupported] = []
        recipes = self._recipes.published()
        for recipe in recipes:
            try:
                self._engines.warm_up(recipe)
            except NotReady as reason:  # chips of its products will wait; those of others need not
                log.warning("recipe_not_warm", precision=recipe.precision, reason=str(reason))
                if isinstance(reason, RecipeUnsupported):
                    unsupported.append(reason)
        if recipes and len(unsupported) == len(recipes):
            raise ConfigurationError(str(unsupported[0])) from unsupported[0]

    @override
    def process(self, records: Sequence[Record[ImageCaptured]]) -> Sequence[Outcome]:
        # Recipes and engines first: where one cannot be had now, its chips wait and nothing is decoded in vain.
        ways = {product: self._way(product) for product in {record.event.product for record in records}}
        missing = {product: str(way) for product, way in ways.items() if isinstance(way, NotReady)}
        if missing:
            raise RecordsNotReady(
                {record.source: why for record in records if (why := missing.get(record.event.product)) is not None}
            )
        looks = list(self._decoders.map(self._look, records, [ways[record.event.product] for record in records]))
        outcomes: list[Outcome] = [look if isinstance(look, Uninspectable) else () for look in looks]
        for (recipe, feature_space), members in _by_recipe(looks).items():
            engine = members[0][1].way.engine
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

    def _way(self, product: str) -> "_Way | Uninspectable | NotReady":
        try:
            recipe, feature_space = self._recipes.recipe(product)
            return _Way(recipe, feature_space, self._engines.engine(recipe, feature_space))
        except RecipeUnsupported as error:
            return RecipeUnsupported(f"pictures of {product} cannot be looked at here: {error}")
        except (Uninspectable, NotReady) as error:
            return error

    def _look(self, record: Record[ImageCaptured], way: "_Way | Uninspectable | NotReady") -> "_Look | Uninspectable":
        assert not isinstance(way, NotReady)  # noqa: S101 - `process` has raised
        if isinstance(way, Uninspectable):
            return way
        try:
            data = read_image(record.event, root=self._images.root, max_bytes=self._images.max_referenced_bytes)
            # Resized here, on the threads that decode: the one that judges has all the rest to do.
            picture = decode_as_stored(data, max_pixels=self._images.max_pixels)
            return _Look(way, picture.shape[0], picture.shape[1], at_input_sizes(picture, way.recipe))
        except Uninspectable as error:
            return error


@dataclass(frozen=True, slots=True)
class _Way:
    """How a product's pictures are looked at."""

    recipe: Recipe
    feature_space: str
    engine: Engine


@dataclass(frozen=True, slots=True)
class _Look:
    """A picture that is ready for the backbone."""

    way: _Way
    height: int
    """Of the original, pixels."""
    width: int
    sized: Sized


def _by_recipe(looks: Sequence[_Look | Uninspectable]) -> dict[tuple[Recipe, str], list[tuple[int, _Look]]]:
    """Positions and pictures of the chips that can be looked at, together by recipe and feature space."""
    groups: dict[tuple[Recipe, str], list[tuple[int, _Look]]] = {}
    for index, look in enumerate(looks):
        if not isinstance(look, Uninspectable):
            groups.setdefault((look.way.recipe, look.way.feature_space), []).append((index, look))
    return groups


def _pointer(source: Source, event: ImageCaptured | None) -> ImagePointer:
    return ImagePointer(
        topic=source.topic, partition=source.partition, offset=source.offset, sha256=event.sha256 if event else None
    )
