"""Banks come, go and are damaged while chips keep coming: a verdict can be made again with the bank that it names."""

import dataclasses
import itertools
import json
import os
import urllib.error
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from services.cli.explain.agreement import compare
from services.cli.explain.recomputation import judge, recompute
from services.cli.line import DIRECT, Line, RunningService
from services.extractor.settings import ExtractorSettings
from services.matcher.step import MatcherStep
from shared.bank.bank_cache import BankCache
from shared.bank.bundle import Bundle, make_bundle
from shared.bank.bundle_folder import read_bundle
from shared.bank.errors import CorruptBundle
from shared.bank.store import BankStore
from shared.events import ChipInspected, ImageCaptured, Verdict
from shared.settings import RedisSettings
from shared.topics import Topics
from tests.events_of_chips import record_of
from tests.integration.line.conftest import PATIENCE_SECONDS, RunningLine, captured, eventually, good_chip
from tests.kafka_records import Records

CHIPS = (good_chip(1), good_chip(2))
LINES = 4
PRODUCTS = 50
HELD = 8
"""Banks that the running line's matchers may hold (`CHIPSIEVE_MATCHING__MAX_BANKS`, in conftest.py)."""
NEVER = 3600.0  # seconds between polls of a cache that a test refreshes itself


@pytest.fixture
def trained(bundle: Path) -> Bundle:
    return read_bundle(bundle)


@pytest.fixture
def store(line: RunningLine) -> Iterator[BankStore]:
    """The running line's banks."""
    opened = BankStore(line.settings.redis)
    yield opened
    opened.close()


@pytest.fixture
def product() -> str:
    """A product of the test's own."""
    return f"product-{uuid.uuid4().hex[:8]}"


def variant(trained: Bundle, product: str, *, minute: int = 0, other_space: bool = False) -> Bundle:
    """The trained bundle as another product's, with another threshold each minute; its layers may be turned round,
    which is another feature space of the same graphs.
    """
    bank, order = trained.bank, slice(None, None, -1 if other_space else 1)
    recipe = dataclasses.replace(bank.recipe, layers=bank.recipe.layers[order])
    weights = trained.manifest.weights_sha256
    changed = dataclasses.replace(
        bank,
        product=product,
        feature_space=recipe.feature_space(weights),
        recipe=recipe,
        layers=bank.layers[order],
        calibration=dataclasses.replace(bank.calibration, layers=bank.calibration.layers[order]),
        threshold=bank.threshold + 100 + minute,  # so far up that every good chip passes
    )
    created = datetime(2026, 11, 24, tzinfo=UTC) + timedelta(minutes=minute)
    return make_bundle(changed, weights_sha256=weights, training={}, created_at=created)


@dataclass
class Traffic:
    """Chips of a product on several lines, sent as long as something is waited for."""

    line: RunningLine
    product: str
    lines: list[str] = field(default_factory=lambda: [f"line-{uuid.uuid4().hex[:8]}" for _ in range(LINES)])
    sent: list[ImageCaptured] = field(default_factory=list)
    rounds: int = 0

    def until(self, condition: Callable[[], bool]) -> None:
        """Send on, two rounds ahead of the verdicts, until the condition holds."""
        for _ in range(PATIENCE_SECONDS * 10):
            chips = [captured(each, CHIPS[self.rounds % len(CHIPS)], product=self.product) for each in self.lines]
            self.line.send_all(chips)
            self.sent += chips
            self.rounds += 1
            for each in self.lines:
                self.line.verdicts(each, self.rounds - 2)
            if condition():
                return
        pytest.fail("the condition never held")

    def until_judged_by(self, bundle: Bundle) -> None:
        """Send on until every line's latest verdict names the bundle."""
        self.until(lambda: all(self._latest(each) == bundle.manifest.version for each in self.lines))

    def verdicts(self) -> list[ChipInspected]:
        """All, line by line, in order."""
        return list(itertools.chain(*(self.line.verdicts(each, self.rounds) for each in self.lines)))

    def versions(self, line_id: str) -> list[str | None]:
        """The versions that judged a line, one after the other."""
        return [version for version, _ in itertools.groupby(v.bank_version for v in self.line.verdicts(line_id, 1))]

    def _latest(self, line_id: str) -> str | None:
        return self.line.verdicts(line_id, 1)[-1].bank_version


def answer(service: RunningService, path: str) -> str:
    """What a service's admin port says, whatever its status."""
    try:
        with DIRECT.open(f"http://127.0.0.1:{service.admin_port}{path}", timeout=10) as answered:
            return answered.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


def metric(service: RunningService, name: str, **labels: str) -> float:
    """The value of one of a service's metrics."""
    for family in text_string_to_metric_families(answer(service, "/metrics")):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return 0.0


def assert_reproducible(
    verdicts: list[ChipInspected], sent: list[ImageCaptured], bundles: list[Bundle], topics: Topics
) -> None:
    """Each verdict, to the last bit, from the picture that was sent and the bank that it names."""
    chips = {chip.event_id: chip for chip in sent}
    versions = {bundle.manifest.version: bundle for bundle in bundles}
    features = {}
    for verdict in verdicts:
        chip = chips[verdict.event_id]
        key = chip.sha256, verdict.feature_space
        if key not in features:
            features[key] = recompute(verdict, chip, versions[verdict.bank_version], ExtractorSettings()).features
        ours = dataclasses.replace(features[key], event_id=verdict.event_id)
        differing = [
            each for each in compare(verdict, judge(ours, versions[verdict.bank_version].bank)) if not each.same
        ]
        assert not differing, (verdict.bank_version, differing)


def test_banks_change_under_load_and_every_verdict_can_be_made_again(
    line: RunningLine, store: BankStore, product: str, trained: Bundle
) -> None:
    first, second, third = (variant(trained, product, minute=minute) for minute in range(3))
    elsewhere = variant(trained, product, minute=3, other_space=True)
    name, redis = f"chipsieve:bank:arrays:{product}:{third.manifest.version}", Redis.from_url(line.settings.redis.url)
    colleague = line.services.start("matcher", worker="colleague")
    try:
        line.services.wait_until_ready()
        matchers = [service for service in line.services.services if service.name == "matcher"]
        store.publish(first)
        traffic = Traffic(line, product)
        traffic.until_judged_by(first)
        store.publish(second)
        traffic.until_judged_by(second)
        assert store.rollback(product) == first.manifest.version
        traffic.until_judged_by(first)
        store.publish(elsewhere)
        traffic.until_judged_by(elsewhere)

        # Damaged in Redis: nobody can activate it, and a careless hand that does so anyway is not followed.
        store.publish(third, activate=False)
        redis.hset(name, "layer0.values.npy:0", b"damaged")
        with pytest.raises(CorruptBundle):
            store.activate(product, third.manifest.version)
        assert store.active(product) == elsewhere.manifest.version
        redis.hset("chipsieve:bank:active", product, third.manifest.version)
        asked = {"holds": "banks", "trouble": "refused"}
        traffic.until(lambda: any(metric(each, "chipsieve_bank_trouble", **asked) for each in matchers))
        assert any("is not used" in (json.loads(answer(each, "/readyz"))["degraded"] or "") for each in matchers)

        # The pointer is gone: those that hold the bank go on with it, and say so.
        redis.hdel("chipsieve:bank:active", product)
        asked = {"holds": "banks", "trouble": "lost"}
        traffic.until(lambda: any(metric(each, "chipsieve_bank_trouble", **asked) for each in matchers))
        told = [json.loads(answer(each, "/readyz")) for each in matchers]
        assert all(each["ready"] for each in told)
        assert any("lost the active bank" in (each["degraded"] or "") for each in told)
        # Back to the first space, to what judged there last: an extractor that is ahead of a matcher cannot show.
        store.activate(product, first.manifest.version)
        traffic.until_judged_by(first)

        verdicts = traffic.verdicts()
        swaps = [bundle.manifest.version for bundle in (first, second, first, elsewhere, first)]
        for each in traffic.lines:
            assert traffic.versions(each) == swaps
        assert len(verdicts) == len(traffic.sent)
        assert {verdict.verdict for verdict in verdicts} == {Verdict.PASS}
        assert_reproducible(verdicts, traffic.sent, [first, second, elsewhere], line.topics)
    finally:
        redis.close()
        colleague.process.terminate()
        colleague.process.wait(PATIENCE_SECONDS)
        line.services.services.remove(colleague)


def test_fifty_products_at_once_are_judged_by_their_own_banks_in_the_memory_of_a_few(
    line: RunningLine, store: BankStore, product: str, trained: Bundle
) -> None:
    bundles = {f"{product}-{number}": variant(trained, f"{product}-{number}") for number in range(PRODUCTS)}
    for bundle in bundles.values():
        store.publish(bundle)
    (matcher,) = (service for service in line.services.services if service.name == "matcher")
    before = metric(matcher, "process_resident_memory_bytes")
    line_id = f"line-{uuid.uuid4().hex[:8]}"
    chips = [captured(line_id, CHIPS[0], product=each) for each in [*bundles, *reversed(bundles)]]
    line.send_all(chips)
    verdicts = line.verdicts(line_id, len(chips))
    assert [verdict.event_id for verdict in verdicts] == [chip.event_id for chip in chips]
    assert [verdict.bank_version for verdict in verdicts] == [bundles[chip.product].manifest.version for chip in chips]
    assert len({verdict.score for verdict in verdicts}) == 1
    eventually(lambda: 0 < metric(matcher, "chipsieve_banks_held", holds="banks") <= HELD)
    # All fifty at once would take this much; a few, and the noise of an allocator, do not take half of it.
    all_at_once = sum(5 * bundle.manifest.size for bundle in bundles.values())
    assert metric(matcher, "process_resident_memory_bytes") - before < all_at_once / 2


def test_two_matchers_at_different_moments_of_a_swap_each_name_the_bank_they_judged_with(
    line: RunningLine, store: BankStore, product: str, trained: Bundle
) -> None:
    old, new = variant(trained, product), variant(trained, product, minute=1)
    store.publish(old)
    chip = captured(f"line-{uuid.uuid4().hex[:8]}", CHIPS[1], product=product)
    line.send(chip)
    (features,) = line.features(chip.line_id, 1)
    caches = [BankCache(BankStore(line.settings.redis), poll_seconds=NEVER) for _ in range(2)]
    early, late = (MatcherStep(cache) for cache in caches)
    try:
        for step in (early, late):
            step.process([record_of(features)])
        store.publish(new)
        caches[0].refresh()
        verdicts = [step.process([record_of(features)])[0][0] for step in (early, late)]
    finally:
        early.close()
        late.close()
    assert [verdict.bank_version for verdict in verdicts] == [new.manifest.version, old.manifest.version]
    assert_reproducible(verdicts, [chip], [old, new], line.topics)


def test_without_any_bank_nobody_is_ready_and_chips_wait_for_one(
    stack, topics: Topics, trained: Bundle, product: str, tmp_path: Path
) -> None:
    settings = RedisSettings(url=stack.redis.removesuffix("/0") + "/1")  # a database that nothing was published to
    with Redis.from_url(settings.url) as redis:
        redis.flushdb()
    store = BankStore(settings)
    env = {name: value for name, value in os.environ.items() if name.startswith("CHIPSIEVE_")}
    records = Records(topics)
    chip = captured("line-1", CHIPS[0], product=product)
    with Line(env | {"CHIPSIEVE_REDIS__URL": settings.url}, tmp_path / "logs", services=()) as services:
        started = [services.start(stage) for stage in ("extractor", "matcher")]
        for service in started:
            eventually(lambda service=service: "no active bank of any product" in _readyz(services, service))
            assert not service.is_ready()
        records.send([chip])
        store.publish(variant(trained, product))
        services.wait_until_ready()
        (verdict,) = records.wait_for("inspections", 1)
    store.close()
    assert (verdict.event_id, verdict.verdict) == (chip.event_id, Verdict.PASS)


def _readyz(services: Line, service: RunningService) -> str:
    services.check()
    try:
        return answer(service, "/readyz")
    except OSError:  # not open yet
        return ""
