import re
from pathlib import Path

import pytest

from services.cli.dead_letters import replay_group
from services.extractor.step import ExtractorStep
from services.matcher.step import MatcherStep
from services.router.step import RouterStep
from shared.access import AccessRule, Principal, kafka_rules, load_access, redis_rules, registry_rights
from shared.errors import ConfigurationError
from shared.events import ChipsSettled, DeadLetter
from shared.settings import Settings
from shared.stream.step import Step
from shared.topics import SCHEMAS, load_topics

TOPICS = load_topics()
ACCESS = load_access(TOPICS)


def test_the_file_explains_whatever_may_stand_in_it() -> None:
    introduction = (SCHEMAS / "access.yaml").read_text().partition("principals:")[0]
    assert Principal.model_fields.keys() - set(re.findall(r"\w+", introduction)) == set()


@pytest.mark.parametrize("step", [ExtractorStep, MatcherStep, RouterStep])
def test_a_stage_may_read_and_write_what_its_step_declares_and_nothing_else(step: type[Step]) -> None:
    own = [event for event in (step.recalls, ChipsSettled if step.takes_each_chip_once else None) if event]
    principal = ACCESS[step.name]
    assert set(principal.reads) == {TOPICS.topic_of(event).declared_as for event in [step.consumes, *own]}
    written = {TOPICS.topic_of(event).declared_as for event in [*step.produces, *own, DeadLetter]}
    assert set(principal.writes) == written


def test_only_the_replay_of_dead_letters_writes_what_a_stage_writes() -> None:
    for topic in ("images", "features", "inspections", "rejects", "alerts", "lines"):
        services = [name for name, principal in ACCESS.items() if principal.service and topic in principal.writes]
        others = {name for name, principal in ACCESS.items() if not principal.service and topic in principal.writes}
        assert len(services) == 1, topic
        assert others <= {"operator"}


def test_who_reads_rejects_reads_nothing_else() -> None:
    assert kafka_rules(ACCESS["reject-gate"], TOPICS) == [
        AccessRule("group", "reject-gate", "prefixed", "Read"),
        AccessRule("topic", "rejects", "literal", "Read"),
    ]
    assert redis_rules(ACCESS["reject-gate"]) is None


def test_a_worker_slot_is_one_of_its_stages_transactional_ids() -> None:
    rules = kafka_rules(ACCESS["matcher"], TOPICS)
    assert AccessRule("transactional_id", "chipsieve-matcher-", "prefixed", "Write") in rules
    assert AccessRule("group", "chipsieve-matcher", "literal", "Read") in rules


def test_the_operator_may_replay() -> None:
    rules = kafka_rules(ACCESS["operator"], TOPICS)
    name = replay_group(Settings())
    assert AccessRule("group", name, "literal", "Read") in rules
    assert AccessRule("transactional_id", name, "literal", "Write") in rules


def test_who_manages_topics_may_make_and_look_at_each_of_them_and_no_more() -> None:
    of_topics = {
        AccessRule("topic", topic.name, "literal", operation)
        for topic in TOPICS.by_name.values()
        for operation in ("Create", "Describe", "DescribeConfigs")
    }
    of_cluster = AccessRule("cluster", "kafka-cluster", "literal", "DescribeConfigs")
    assert set(kafka_rules(Principal(manages_topics=True), TOPICS)) == {*of_topics, of_cluster}


def test_who_watches_may_describe_and_no_more() -> None:
    watcher = Principal(describes=("images",), watches_groups=("chipsieve-*",))
    assert kafka_rules(watcher, TOPICS) == [
        AccessRule("group", "chipsieve-", "prefixed", "Describe"),
        AccessRule("topic", "images", "literal", "Describe"),
    ]


def test_only_who_publishes_banks_may_change_them() -> None:
    assert {name for name, principal in ACCESS.items() if principal.banks == "write"} == {"trainer"}
    rules = redis_rules(ACCESS["matcher"])
    assert rules is not None
    assert "%R~chipsieve:bank:*" in rules
    assert "+hset" not in rules


def test_a_topic_that_is_not_declared_is_named(tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    path.write_text("principals: {spy: {reads: [secrets]}}")
    with pytest.raises(ConfigurationError, match="spy names secrets"):
        load_access(TOPICS, path)


def test_a_right_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    path.write_text("principals: {spy: {raeds: [images]}}")
    with pytest.raises(ConfigurationError, match="raeds"):
        load_access(TOPICS, path)


def test_who_uses_kafka_in_no_way_needs_no_user_there() -> None:
    assert not ACCESS["trainer"].uses_kafka
    assert Principal(watches_groups=("g",), describes=("images",)).uses_kafka


def test_the_registry_lets_the_operator_register_and_those_read_who_have_records() -> None:
    rights = registry_rights(ACCESS, TOPICS)
    roles = {
        name.rpartition(".")[2]: value
        for name, value in rights.items()
        if name.startswith("quarkus.security.users.embedded.roles.")
    }
    assert [name for name, given in roles.items() if "writer" in given] == ["operator"]
    assert roles.keys() == ACCESS.keys() - {"trainer", "autoscaler"}
    assert rights["quarkus.http.auth.permission.all.policy"] == "writers"
    assert "subjects/rejects-value" in rights["quarkus.http.auth.permission.lookup.paths"]
