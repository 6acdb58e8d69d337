"""The same chips through the whole line twice: undisturbed, then under faults. What differs is what was lost."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from services.cli.line import STAGES
from shared.kafka import create_topics
from shared.settings import Settings
from shared.stream.errors import ExitStatus
from shared.topics import load_topics
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry
from tests.fault.whole_line.account import Account, account, read_outcome
from tests.fault.whole_line.chips import Chip, chips, with_repeats
from tests.fault.whole_line.faults import Faults
from tests.fault.whole_line.feed import Feed
from tests.fault.whole_line.processes import prepare
from tests.fault.whole_line.product import learn
from tests.fault.whole_line.progress import wait_for_end
from tests.fault.whole_line.replicas import BAD_ENDS, Replicas, left_behind
from tests.fault.whole_line.schedule import schedule
from tests.fault.whole_line.servers import Servers
from tests.fault.whole_line.telling import Tell

# Time is no promise's business here: what a line's silence leads to depends on it, so that rule is off.
RULES = """
defaults:
  reject_burst: {rejects: 5, chips: 12}
  uninspected_streak: {chips: 2}
  line_silent: null
"""
# A dead or frozen process keeps its partitions for so long: the default of 10 s would leave both replicas of a stage
# idle for most of the run. Longer than a process that is starting may be starved of its two cores by others.
SESSION_MS = 5000
SECONDS_BETWEEN_FAULTS = 2.5


@dataclass(frozen=True, slots=True)
class Report:
    """A run under faults."""

    seed: int
    account: Account
    repeated: int
    """Chips that were sent twice."""
    kills: int
    """Services killed by SIGKILL."""
    broker_restarts: int
    redis_restarts: int
    registry_restarts: int
    fenced: int
    """Processes that ended by themselves because another one had their slot."""
    zombies: int
    """Of these, how many were wanted."""
    exit_statuses: dict[int, int]
    """All ends but those by SIGKILL."""
    slowest_drain_s: float
    """From SIGTERM to the exit, under load and at the end."""
    orphans: list[str]
    """Processes that were left behind."""
    seconds: float
    """Of the run under faults."""

    @property
    def is_exact(self) -> bool:
        """Whether nothing was lost and nothing failed."""
        return (
            self.account.is_exact
            and not self.orphans
            and not BAD_ENDS & set(self.exit_statuses)
            and self.fenced >= self.zombies
        )

    def to_json(self) -> dict[str, object]:
        """As one flat document."""
        plain = asdict(self)
        return {"seed": plain.pop("seed"), **plain.pop("account"), **plain}


def run(seed: int, count: int, kills: int, directory: Path, tell: Tell) -> Report:
    """Send `count` chips through the line while services are killed `kills` times; everything has ended afterwards.

    Args:
        seed: of chips and faults.
        count: chips to send, in each of the two runs.
        kills: services to kill by SIGKILL.
        directory: gets data and logs; must not exist.
        tell: is told how things stand.
    """
    prepare()
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(Servers, directory / "stack")
        try:
            bundle, pictures = learn(directory / "product")
        except BaseException:
            starting.result().stop()
            raise
        servers = starting.result()
    (directory / "rules.yaml").write_text(RULES)
    made = chips(seed, count, pictures.passing, pictures.rejected)
    sent = with_repeats(seed, made)
    faults = schedule(seed, len(sent), kills)
    try:
        servers.publish(bundle)
        undisturbed = _Line(servers, directory, "undisturbed")
        with undisturbed.running(sent, per_second=None) as feed:
            feed.finish()
        baseline = read_outcome(undisturbed.settings, undisturbed.topics)
        tell(
            f"{len(baseline.verdicts)} verdicts, {len(baseline.rejects)} rejects and {len(baseline.alerts)} alerts "
            "without faults"
        )
        disturbed = _Line(servers, directory, "disturbed")
        injected = Faults(
            servers,
            disturbed.replicas,
            bundle,
            images=disturbed.topics.by_name["images"].name,
            frozen_s=SESSION_MS / 1000 + 2,
            tell=tell,
        )
        began = time.monotonic()
        pace = len(sent) / (len(faults) + 1) / SECONDS_BETWEEN_FAULTS
        # Also amid the last fault chips go on coming (no disk fills without them), and some are left for after it.
        amid_the_last = (faults[-1].after + len(sent)) // 2
        with disturbed.running(sent, per_second=pace) as feed:
            for number, fault in enumerate(faults):
                feed.allow(faults[number + 2].after if number + 2 < len(faults) else amid_the_last)
                feed.wait_until_sent(fault.after)
                injected.inject(fault)
            disturbed.replicas.wait_for_zombies()
            feed.finish()  # every partition gets some more chips, also a zombie's
        seconds = time.monotonic() - began
        outcome = read_outcome(disturbed.settings, disturbed.topics)
    finally:
        servers.stop()
    ended = disturbed.replicas.ended
    return Report(
        seed=seed,
        account=account(made, baseline, outcome),
        repeated=len(sent) - len(made),
        kills=ended.killed,
        broker_restarts=injected.restarts["kafka"],
        redis_restarts=injected.restarts["redis"],
        registry_restarts=injected.restarts["registry"],
        fenced=ended.statuses[ExitStatus.FENCED],
        zombies=injected.zombies,
        exit_statuses=dict(sorted(ended.statuses.items())),
        slowest_drain_s=round(ended.slowest_drain_s, 2),
        orphans=left_behind(str(directory)),
        seconds=round(seconds, 1),
    )


class _Line:
    """Topics and processes of one run."""

    def __init__(self, servers: Servers, directory: Path, name: str) -> None:
        addresses = servers.addresses
        self.settings = Settings(
            kafka={"bootstrap_servers": addresses.kafka},
            registry={"url": addresses.registry},
            redis={"url": addresses.redis},
            topic_prefix=f"{name}-",
        )
        env = addresses.env() | {
            "CHIPSIEVE_TOPIC_PREFIX": self.settings.topic_prefix,
            "CHIPSIEVE_ROUTER__RULES": str(directory / "rules.yaml"),
            "CHIPSIEVE_ENGINE__THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self.replicas = Replicas(env, directory / name)
        self.topics = load_topics(prefix=self.settings.topic_prefix)

    @contextmanager
    def running(self, sent: Sequence[Chip], *, per_second: float | None) -> Iterator[Feed]:
        """Everything ready, and the feed to tell how far to go; at the end every chip had its time for a verdict."""
        create_topics(self.settings.kafka, self.topics)
        registry = SchemaRegistry(self.settings.registry)
        registry.register_all(self.topics)
        self._shorten_sessions()
        codec = Codec(registry, self.topics)
        codec.encode(sent[0].event)  # learns the schema's id while the registry is there
        with (
            self.replicas.running(),
            Feed(self.settings, self.topics, codec, sent, per_second) as feed,
        ):
            yield feed
            wait_for_end(self.settings, self.topics, len({chip.event_id for chip in sent}))
            self.replicas.drain()

    def _shorten_sessions(self) -> None:
        admin = AdminClient(self.settings.kafka.client_config())
        entry = ConfigEntry("consumer.session.timeout.ms", str(SESSION_MS), incremental_operation=AlterConfigOpType.SET)
        groups = [
            ConfigResource(
                ResourceType.GROUP, f"{self.settings.topic_prefix}chipsieve-{stage}", incremental_configs=[entry]
            )
            for stage in STAGES
        ]
        for altered in admin.incremental_alter_configs(groups).values():
            altered.result(timeout=30)
