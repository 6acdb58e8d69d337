"""Where a chip's millisecond goes in extractor and matcher: the workers' whole work on real events, no broker."""

import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks.pictures import PRODUCT, write_chips
from benchmarks.registry import MemoryRegistry
from benchmarks.table import Table, command
from services.extractor.engines import EngineCache
from services.extractor.settings import EngineSettings, ImageSettings
from services.extractor.step import ExtractorStep
from services.gateway.capture import capture, identify
from services.matcher.step import MatcherStep
from services.trainer.train import train
from shared.bank.bundle_folder import read_bundle
from shared.events import FeaturesExtracted
from shared.identity import ChipEvent, identity_of, to_headers
from shared.stream.judgement import Judge
from shared.stream.record import Received
from shared.stream.step import Source, Step
from shared.topics import load_topics
from shared.vision.bank import Bank
from shared.vision.engines.precision import best_precision
from shared.vision.recipe import DEFAULT_RECIPE, Recipe
from shared.wire.codec import Codec

CHIPS, BATCH, ROUNDS = 64, 16, 4
SHOWN = 6  # functions a stage
MAX_IMAGE_BYTES = 8 * 1024 * 1024
TOPICS = load_topics()


class OneBank:
    """Stands for what a stage holds of the published banks: one, for every product."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    def recipe(self, _product: str) -> tuple[Recipe, str]:
        """As `RecipeCache.recipe`."""
        return self._bank.recipe, self._bank.feature_space

    def published(self) -> list[Recipe]:
        """As `RecipeCache.published`."""
        return [self._bank.recipe]

    def get(self, _product: str, _feature_space: str) -> Bank:
        """As `BankCache.get`."""
        return self._bank

    def preload(self) -> None:
        """As `BankCache.preload`."""

    def close(self) -> None:
        """As `BankCache.close`."""


def measure() -> Table:
    """CPU milliseconds a chip of extractor and matcher, and the functions of their workers that take most."""
    codec = Codec(MemoryRegistry(), TOPICS)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="chipsieve-stages-") as work, threadpool_limits(1):
        folder = write_chips(Path(work) / "normal", CHIPS)
        precision = best_precision("openvino")
        train(product=PRODUCT, normal=folder, out=Path(work) / "bundle", recipe=DEFAULT_RECIPE, precision=precision)
        bank: Any = OneBank(read_bundle(Path(work) / "bundle").bank)
        images = [_captured(index, path.read_bytes()) for index, path in enumerate(sorted(folder.iterdir()))]
        extractor = ExtractorStep(bank, EngineCache(EngineSettings(), lambda _recipe: None), ImageSettings())
        matcher = MatcherStep(bank)
        features: list[FeaturesExtracted] = []
        for step, events in ((extractor, images), (matcher, features)):
            step.open()
            received = [_received(codec, index, event) for index, event in enumerate(events)]
            values = _drive(step, codec, received)  # warms up
            if step is extractor:
                features += [codec.decode(value, FeaturesExtracted) for value in values]
            rows += _profile(step.name, partial(_drive, step, codec, received))
        extractor.close()
    return Table(
        f"Stages without a broker, {precision}, chips of 320 px, batches of {BATCH}",
        rows,
        ["`all threads` is the process's CPU time; the functions are the worker thread's own time."],
    )


def _captured(index: int, data: bytes) -> ChipEvent:
    now = datetime.now(UTC)
    identity = identify(line_id="line-0", product=PRODUCT, chip_id=str(index), captured_at=now, deadline_ms=None)
    return capture(identity, data, max_image_bytes=MAX_IMAGE_BYTES)


def _received(codec: Codec, index: int, event: ChipEvent) -> Received:
    headers = tuple(to_headers(identity_of(event)))
    return Received(Source("benchmark", 0, index), b"line-0", codec.encode(event), headers, datetime.now(UTC))


def _drive(step: Step[Any], codec: Codec, received: Sequence[Received]) -> list[bytes]:
    """One chip after the other through the step; the values of what it produced about them."""
    judge = Judge(step, codec, TOPICS)
    values: list[bytes] = []
    for start in range(0, len(received), BATCH):
        settled = judge.judge(received[start : start + BATCH]).settled
        values += [output.value for record in settled for output in record.outputs]
    return values


def _profile(stage: str, drive: Callable[[], object]) -> list[dict[str, Any]]:
    best = float("inf"), float("inf")
    for _ in range(ROUNDS):
        process, thread = time.process_time(), time.thread_time()
        drive()
        best = min(best, (time.process_time() - process, time.thread_time() - thread))
    profile = cProfile.Profile(time.thread_time)
    profile.runcall(drive)
    # Documented, but not known to the type checker.
    found: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    functions = sorted(((times[2], place) for place, times in found.items()), reverse=True)[:SHOWN]
    rows = [("all threads", best[0]), ("the worker's thread", best[1])]
    rows += [(f"… {Path(file).stem}.{name}".replace("~.", ""), seconds) for seconds, (file, _, name) in functions]
    return [{"stage": stage, "what": what, "ms a chip": round(seconds / CHIPS * 1000, 3)} for what, seconds in rows]


if __name__ == "__main__":
    command(measure)
