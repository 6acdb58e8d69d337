"""The demo: learn two products from rendered chips, start the whole line, inspect two lines, hold it to account."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import cv2
from rich.console import Console

from services.cli.demo.board import Board
from services.cli.demo.contact_sheet import RejectedChip, contact_sheet
from services.cli.demo.feeding import Camera, Deliver, DemoLine, by_http, by_kafka
from services.cli.demo.observing import Observatory
from services.cli.demo.pictures import belt, write_normals, write_test_set
from services.cli.demo.tally import SeenVerdict, Tally, tally
from services.cli.demo.watching import Watcher
from services.cli.line import STAGES, Line, free_port
from services.cli.local_stack import stack
from services.cli.local_stack.security import point_here
from services.gateway.producer import ImageProducer
from services.trainer.train import train
from shared.bank.bundle_folder import read_bundle
from shared.bank.store import BankStore
from shared.errors import ChipsieveError, NotReady
from shared.events import ChipInspected, Verdict
from shared.kafka import create_topics
from shared.settings import Settings
from shared.topics import Topics, load_topics
from shared.vision.engines.precision import best_precision
from shared.vision.picture import decode
from shared.vision.recipe import Layer, Recipe
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry

LINES = (DemoLine("line-1", "soic-8"), DemoLine("line-2", "qfp-32"))
NORMALS = 120  # pictures to learn a product from: an hour's worth of a slow line, and seconds to render
# Leads and letters are small beside the chip: earlier taps than the default's see them, and outline them more sharply,
# at about three times the cost of training and matching. A score of few patches finds a defect of few patches.
RECIPE = Recipe(layers=(Layer(tap="b7", top_fraction=0.01), Layer(tap="b10", top_fraction=0.01)))
NORMALS_SEED, BELT_SEED, TEST_SEED = 1, 2, 9
TEST_NORMALS, TEST_OF_EACH_KIND = 60, 8  # left in the folder, for `chipsieve evaluate`
CHIPS_PER_SECOND = 12.0  # of both lines together; rendering them fresh takes part of one core
SHOW_EVERY_SECONDS = 0.25
TOPIC_ATTEMPTS = 3  # each waits for the admin client's own timeout
PATIENCE_SECONDS = 60.0  # without a single new verdict; then the demo ends and says what is missing
SHEET_CHIPS = 8


class DemoFailed(ChipsieveError):
    """The demo could not run to its end."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo found."""

    tally: Tally
    sheet: Path


def run_demo(chips: int, directory: Path, console: Console, *, observe: bool = False) -> DemoResult:
    """Run the demo; everything it starts has ended when it returns or raises.

    Args:
        chips: how many chips both lines send together.
        directory: gets pictures, bundles, logs, the stack's data and the contact sheet.
        console: where it is told how things stand.
        observe: whether a Prometheus watches, and is asked at the end what it has seen.

    Raises:
        ChipsieveError: `directory` cannot be written, something could not be started, or a camera or service failed.
    """
    _open(directory)
    with ExitStack() as cleanup:
        # The stack starts while the products are learned: they do not need each other.
        starting = cleanup.enter_context(ThreadPoolExecutor(1)).submit(stack.up, directory / "stack")
        cleanup.callback(_down, directory / "stack", starting)
        _learn(directory, console)
        console.print("starting Kafka, Valkey and the schema registry …")
        addresses = starting.result()
        point_here(addresses.env())
        settings = Settings()
        topics = load_topics(prefix=settings.topic_prefix)
        _create_topics(settings, topics)
        registry = SchemaRegistry(settings.registry)
        registry.register_all(topics)
        store = BankStore(settings.redis)
        for line in LINES:
            store.publish(read_bundle(directory / "bundles" / line.product))
        console.print("starting gateway, extractor, matcher and router …")
        port = free_port()
        services = cleanup.enter_context(
            Line({"CHIPSIEVE_GATEWAY__PORT": str(port)}, directory / "logs", (*STAGES, "gateway"))
        )
        observatory = _observatory(cleanup, directory, services, console) if observe else None
        watcher = Watcher(settings, topics, Codec(registry, topics))
        cleanup.callback(watcher.close)
        with ImageProducer(settings, delivery_timeout_ms=30_000) as producer:
            deliveries = (by_http(LINES[0], f"http://127.0.0.1:{port}"), by_kafka(LINES[1], producer))
            with _cameras(chips, deliveries) as cameras:
                _watch(cameras, watcher, services, chips, console)
        if observatory:
            console.print("\n".join(observatory.account()), markup=False, soft_wrap=True)
        services.stop()
        verdicts = watcher.finish()
    sent = {event_id: chip for camera in cameras.values() for event_id, chip in camera.sent.items()}
    sheet = directory / "rejects.png"
    _save_sheet(sheet, cameras, [inspection for _, inspection in verdicts])
    return DemoResult(tally(sent, [verdict for verdict, _ in verdicts]), sheet)


def _open(directory: Path) -> None:
    """Make the folder, and write into it before there is anything to write: raises `DemoFailed`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=directory):
            pass
    except OSError as refused:
        raise DemoFailed(
            f"nothing can be kept in {directory} ({refused.strerror}): give a folder that can be written with --dir"
        ) from refused


def _observatory(cleanup: ExitStack, directory: Path, services: Line, console: Console) -> Observatory:
    targets = [(service.name, service.admin_port) for service in services.services]
    observatory = cleanup.enter_context(Observatory(directory / "prometheus", targets))
    console.print(f"Prometheus watches, with the alerts: {observatory.url}", soft_wrap=True)
    return observatory


def _learn(directory: Path, console: Console) -> None:
    for line in LINES:
        pictures = directory / "pictures" / line.product
        normals = pictures / "train" / "normal"
        console.print(f"{line.product}: rendering {NORMALS} good chips and learning from them …")
        write_normals(normals, line.product, NORMALS, NORMALS_SEED)
        manifest = train(
            product=line.product,
            normal=normals,
            out=directory / "bundles" / line.product,
            recipe=RECIPE,
            precision=best_precision("openvino"),
        )
        console.print(f"{line.product}: bank {manifest.version}, threshold {manifest.threshold:.2f}")
        write_test_set(
            pictures / "test", line.product, normals=TEST_NORMALS, of_each_kind=TEST_OF_EACH_KIND, seed=TEST_SEED
        )


def _create_topics(settings: Settings, topics: Topics) -> None:
    """Create the topics; a broker that has just started on a busy machine may not answer the first time."""
    for attempt in range(1, TOPIC_ATTEMPTS + 1):
        try:
            create_topics(settings.kafka, topics)
        except NotReady:
            if attempt == TOPIC_ATTEMPTS:
                raise
        else:
            return


@contextmanager
def _cameras(chips: int, deliveries: Sequence[Deliver]) -> Iterator[dict[str, Camera]]:
    """Both lines' cameras, running; told to stop where the block ends early."""
    stopping = threading.Event()
    share = [chips - chips // 2, chips // 2]
    cameras = {
        line.line_id: Camera(
            itertools.islice(belt(line.product, BELT_SEED + number), share[number]),
            deliver,
            len(LINES) / CHIPS_PER_SECOND,
            stopping,
        )
        for number, (line, deliver) in enumerate(zip(LINES, deliveries, strict=True))
    }
    for camera in cameras.values():
        camera.start()
    try:
        yield cameras
    finally:
        stopping.set()
        for camera in cameras.values():
            camera.join()


def _watch(cameras: dict[str, Camera], watcher: Watcher, services: Line, chips: int, console: Console) -> None:
    """Show the board until every chip has its verdict, or nothing comes any more."""
    last_news, judged = time.monotonic(), 0
    with Board(console, chips) as board:
        while True:
            services.check()
            for line_id, camera in cameras.items():
                if camera.error:
                    raise DemoFailed(f"the camera of {line_id} failed: {camera.error}") from camera.error
            seen = watcher.seen()
            board.show(_by_line(cameras, seen))
            if len(seen) > judged:
                last_news, judged = time.monotonic(), len(seen)
            running = any(camera.is_running for camera in cameras.values())
            waited = time.monotonic() - last_news
            if (not running and judged >= sum(len(camera.sent) for camera in cameras.values())) or (
                waited > PATIENCE_SECONDS
            ):
                return
            time.sleep(SHOW_EVERY_SECONDS)


def _by_line(cameras: dict[str, Camera], seen: Sequence[tuple[SeenVerdict, ChipInspected]]) -> dict[str, Tally]:
    return {
        # A copy: the camera goes on sending while we count.
        line_id: tally(dict(camera.sent), [verdict for verdict, each in seen if each.line_id == line_id])
        for line_id, camera in cameras.items()
    }


def _save_sheet(path: Path, cameras: dict[str, Camera], inspections: Sequence[ChipInspected]) -> None:
    rejects = []
    for inspection in inspections:
        chip = cameras[inspection.line_id].belt.get(inspection.event_id) if inspection.line_id in cameras else None
        if chip is None or inspection.verdict is Verdict.PASS:
            continue
        rejects.append(RejectedChip(decode(chip.data), inspection, str(chip.defect or "good")))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), contact_sheet(_mixed(rejects))[..., ::-1])


def _mixed(rejects: Sequence[RejectedChip]) -> list[RejectedChip]:
    """At most a sheet full: the plainest of every kind of defect, then the next of each; the lines take turns.

    Rejects that show where the defect lies go before those that do not.
    """
    by_kind: dict[str, list[RejectedChip]] = {}
    for reject in sorted(rejects, key=lambda each: each.inspection.score or 0.0, reverse=True):
        by_kind.setdefault(reject.truth, []).append(reject)
    for turn, kind in enumerate(sorted(by_kind)):
        first = LINES[turn % len(LINES)].line_id
        by_kind[kind].sort(key=lambda each: (each.inspection.mask is None, each.inspection.line_id != first))
    rounds = itertools.zip_longest(*(by_kind[kind] for kind in sorted(by_kind)))
    return [reject for each in rounds for reject in each if reject is not None][:SHEET_CHIPS]


def _down(directory: Path, starting: "Future[stack.Addresses]") -> None:
    """Stop the stack, however far its start is."""
    wait([starting])
    stack.down(directory)
