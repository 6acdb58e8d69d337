"""The engines a running extractor holds, one a feature space."""

import time
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import structlog

from services.extractor.errors import RecipeUnsupported
from services.extractor.settings import EngineSettings
from shared.bank.errors import UnknownFeatureSpace
from shared.vision.backbone_weights import backbone_weights_sha256
from shared.vision.engine import Engine
from shared.vision.engines.loading import load_engine
from shared.vision.errors import VisionConfigurationError
from shared.vision.int8_graphs import Int8Graphs
from shared.vision.recipe import Recipe

RETRY_S = 30.0  # finding out that a graph cannot be converted takes seconds of both cores, and all other chips wait

log = structlog.get_logger()


class EngineCache:
    """Engines by feature space, least recently used out first.

    Args:
        settings: which engine.
        graphs_of: finds the int8 graphs of a recipe, None for one in another precision.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: EngineSettings,
        graphs_of: Callable[[Recipe], Int8Graphs | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._graphs_of = graphs_of
        self._clock = clock
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._unsupported: dict[str, tuple[float, str]] = {}
        """Feature space → until when not to try it again, and why."""

    def engine(self, recipe: Recipe, feature_space: str) -> Engine:
        """The engine that makes features of this space; compiled where it is the first of its kind.

        Raises:
            UnknownFeatureSpace: the bundle was made with other weights, preprocessing or quantisation than ours.
            BankUnavailable: its int8 graphs cannot be read now.
            RecipeUnsupported: the engine, this CPU or this installation cannot compute it, or lacks its backbone.
        """
        ours = _space_of(recipe)
        if ours != feature_space:
            raise UnknownFeatureSpace(
                f"the active bundle was made in feature space {feature_space}, this extractor makes {ours}: "
                "train and publish the product again with this version"
            )
        if ours not in self._engines:
            self._engines[ours] = self._loaded(recipe, ours)
            self._make_room()
        self._engines.move_to_end(ours)
        return self._engines[ours]

    def _make_room(self) -> None:
        while len(self._engines) > self._settings.held:
            dropped, _ = self._engines.popitem(last=False)
            # Where all of them are needed in turns, every batch waits for one to be made.
            log.warning(
                "engine_dropped",
                feature_space=dropped,
                held=self._settings.held,
                remedy="raise CHIPSIEVE_ENGINE__HELD, and with it the memory that this process may have",
            )

    def _loaded(self, recipe: Recipe, feature_space: str) -> Engine:
        until, because = self._unsupported.get(feature_space, (0.0, ""))
        if self._clock() < until:
            raise RecipeUnsupported(because)
        try:
            return load_engine(
                self._settings.kind, recipe, threads=self._settings.threads, graphs=self._graphs_of(recipe)
            )
        except VisionConfigurationError as error:
            self._unsupported[feature_space] = (self._clock() + RETRY_S, str(error))
            raise RecipeUnsupported(str(error)) from error

    def warm_up(self, recipe: Recipe) -> None:
        """Compile the recipe's engine and run batches of all its sizes, so that no chip waits for that.

        Raises:
            BankUnavailable, RecipeUnsupported: as `engine`.
        """
        engine = self.engine(recipe, _space_of(recipe))
        for size in {layer.input_size for layer in recipe.layers}:
            for count in engine.batch_sizes:
                engine.features(np.zeros((count, size, size, 3), np.uint8), size)


def _space_of(recipe: Recipe) -> str:
    """The feature space of what is computed here by a recipe."""
    try:
        return recipe.feature_space(backbone_weights_sha256(recipe.backbone))
    except VisionConfigurationError as error:
        raise RecipeUnsupported(str(error)) from error
