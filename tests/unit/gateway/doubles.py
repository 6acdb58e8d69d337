"""A producer that keeps what it is given, and fails when told to."""

from concurrent.futures import Future

from services.gateway.producer import Stored
from shared.events import ImageCaptured


class FakeProducer:
    """Acknowledges at once, unless it `fails`, is `busy`, or holds acknowledgements back."""

    def __init__(self, max_image_bytes: int = 1_000_000) -> None:
        self.max_image_bytes = max_image_bytes
        self.published: list[ImageCaptured] = []
        self.fails: Exception | None = None
        self.busy: list[Exception] = []
        """Raised by the next calls, one each."""
        self.holding: list[tuple[Future[Stored], Stored]] | None = None

    def publish(self, event: ImageCaptured) -> Future[Stored]:
        if self.busy:
            raise self.busy.pop()
        future: Future[Stored] = Future()
        if self.fails is not None:
            future.set_exception(self.fails)
            return future
        stored = Stored(event.event_id, "images", 0, len(self.published))
        self.published.append(event)
        if self.holding is None:
            future.set_result(stored)
        else:
            self.holding.append((future, stored))
        return future
