"""What the group's coordinator has for a worker, and joining the group anew, on a real broker."""

from threading import Event as Flag

import pytest
from confluent_kafka.admin import AdminClient

from shared.kafka import admin_config, create_topics
from shared.settings import Settings
from shared.stream.errors import ExitStatus
from shared.stream.input_topic import InputTopic
from shared.stream.membership import Coordinator, Given, Membership
from shared.topics import Topics
from tests.events_of_chips import image_captured
from tests.kafka_records import PATIENCE_S, Records, wait_for


def test_the_coordinator_tells_what_a_worker_has(start, topics: Topics):
    stage = start()
    stage.wait_until_it_owns(6)
    settings = Settings()
    group, topic = stage.service.group, topics.by_name["images"].name

    def new_admin() -> AdminClient:
        return AdminClient(admin_config(settings.kafka))

    admin = new_admin()  # its answers do not outlive it
    (member,) = admin.describe_consumer_groups([group])[group].result().members
    everything = frozenset(range(6))
    coordinator = Coordinator(new_admin, group=group, topic=topic)
    wait_for(lambda: coordinator.given(member.member_id) == Given(everything, everything), "all to be told of")
    assert coordinator.given("a stranger") is None


def test_a_worker_that_has_nothing_to_do_asks_for_what_it_has_all_the_same(
    start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its client waited for records, it told nobody by which id to ask."""
    monkeypatch.setattr("shared.stream.membership.CHECK_S", 0.1)
    answers: list[Given | None] = []
    given = Coordinator.given

    def note(coordinator: Coordinator, member_id: str | None) -> Given | None:
        answers.append(given(coordinator, member_id))
        return answers[-1]

    monkeypatch.setattr(Coordinator, "given", note)
    start().wait_until_it_owns(6)
    begun = len(answers)
    wait_for(lambda: len(answers) >= begun + 10, "ten answers", patience_s=15.0)
    everything = frozenset(range(6))
    assert answers[-1] == Given(everything, everything)


def test_a_worker_that_joins_its_group_anew_under_load_loses_and_repeats_nothing(
    start, records, monkeypatch: pytest.MonkeyPatch
):
    joins_left = [3]

    def out_of_touch(_membership: Membership, owned: set[int]) -> bool:
        if len(owned) < 6 or not joins_left[0] or not records.committed("features"):
            return False
        joins_left[0] -= 1
        return True

    monkeypatch.setattr(Membership, "is_out_of_touch", out_of_touch)
    stage = start(batch_size=4)
    sent = [image_captured(b"picture", number, line_id=f"line-{number % 12}") for number in range(300)]
    records.send(sent)
    forwarded = records.wait_for("features", len(sent))
    wait_for(lambda: joins_left == [0], "three joins")
    stage.wait_until_it_owns(6)
    assert stage.stop() == ExitStatus.DRAINED
    for line in range(12):
        of_line = [event.event_id for event in forwarded if event.line_id == f"line-{line}"]
        assert of_line == [event.event_id for event in sent if event.line_id == f"line-{line}"]
    assert len(records.committed("features")) == len(sent)


def test_a_stage_whose_topic_is_created_anew_ends_and_reads_the_new_one_when_it_is_started_again(
    start, records, topics: Topics, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It went on without a word and read nothing, where the leaders' epochs had been higher before."""
    monkeypatch.setattr("shared.stream.membership.CHECK_S", 0.2)
    asked, check = Flag(), InputTopic.check

    def check_and_tell(topic: InputTopic) -> bool:
        is_there = check(topic)
        asked.set()
        return is_there

    monkeypatch.setattr(InputTopic, "check", check_and_tell)
    stage = start()
    stage.wait_until_it_owns(6)
    assert asked.wait(PATIENCE_S)
    images, kafka = topics.by_name["images"].name, Settings().kafka
    admin = AdminClient(admin_config(kafka))  # its answers do not outlive it
    admin.delete_topics([images])[images].result(timeout=PATIENCE_S)
    wait_for(lambda: images in create_topics(kafka, topics).created, "the topic to be gone")
    assert stage.join() == ExitStatus.FAILED
    assert f"topic {images} was deleted and created anew" in "".join(capfd.readouterr())
    start(worker="0").wait_until_it_owns(6)
    Records(topics).send([image_captured(b"picture", 1)])
    records.wait_for("features", 1)
