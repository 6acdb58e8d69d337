"""A stage whose work on a picture is a sleep: ``python -m benchmarks.sleeping_stage``, a service like any other."""

import sys
import time
from collections.abc import Sequence

from typing_extensions import override

from shared.events import FeaturesExtracted, ImageCaptured, ImagePointer, Uninspected
from shared.identity import Identity
from shared.settings import ServiceSettings
from shared.stream.entry import enter
from shared.stream.service import run
from shared.stream.step import Outcome, Record, Source, Step

SECONDS = 0.02  # an image; several times what the runtime takes for it, so that four replicas fit on two cores


class SleepingStep(Step[ImageCaptured]):
    """Forwards every chip after a sleep."""

    name = "sleeper"
    consumes = ImageCaptured
    produces = (FeaturesExtracted,)
    takes_each_chip_once = True

    @override
    def process(self, records: Sequence[Record[ImageCaptured]]) -> Sequence[Outcome]:
        time.sleep(SECONDS * len(records))  # in place of arithmetic, which replicas on two cores would share
        return [[_forward(record.identity, record.source, None)] for record in records]

    @override
    def uninspected(
        self, identity: Identity, source: Source, cause: Uninspected, event: ImageCaptured | None
    ) -> Sequence[FeaturesExtracted]:
        return [_forward(identity, source, cause)]


def _forward(identity: Identity, source: Source, cause: Uninspected | None) -> FeaturesExtracted:
    pointer = ImagePointer(topic=source.topic, partition=source.partition, offset=source.offset)
    return FeaturesExtracted(**identity.fields(), image=pointer, uninspected=cause)


if __name__ == "__main__":
    sys.exit(enter(SleepingStep.name, ServiceSettings, lambda settings: run(SleepingStep(), settings)))
