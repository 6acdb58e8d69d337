from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from services.cli.local_stack.kafka import broker_settings
from shared.errors import ConfigurationError
from shared.events import ChipInspected, Event, ImageCaptured
from shared.topics import SCHEMAS, load_topics


def changed(tmp_path: Path, *path: str, to: Any) -> Path:
    """A copy of the declaration with one value changed."""
    declaration = yaml.safe_load((SCHEMAS / "topics.yaml").read_text())
    inner = declaration
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    copy = tmp_path / "topics.yaml"
    copy.write_text(yaml.safe_dump(declaration))
    return copy


def test_every_event_has_its_topic():
    topics = load_topics()

    assert [topics.topic_of(event).event for event in get_args(Event)] == list(get_args(Event))
    assert topics.topic_of(ImageCaptured).name == "images"
    assert topics.topic_of(ChipInspected).subject == "inspections-value"


def test_a_prefix_is_put_before_names_and_subjects_but_not_before_what_topics_are_called_here():
    images = load_topics(prefix="plant-7-").by_name["images"]

    assert (images.declared_as, images.name, images.subject) == ("images", "plant-7-images", "plant-7-images-value")


def test_a_topics_settings_are_kafkas():
    assert load_topics().by_name["images"].config() == {
        "cleanup.policy": "delete",
        "retention.ms": "86400000",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": "8454144",
    }


def test_the_brokers_keep_offsets_far_longer_than_any_record():
    minutes = int(broker_settings(load_topics())["offsets.retention.minutes"])

    assert minutes > 2 * 60 * load_topics().longest_retention_hours


def test_a_compacted_topic_keeps_the_latest_record_of_each_key_in_small_segments():
    lines = load_topics().by_name["lines"]

    assert (lines.retention_hours, lines.config()["cleanup.policy"]) == (None, "compact")
    assert "retention.ms" not in lines.config()
    assert int(lines.config()["segment.bytes"]) < 10_000_000


def test_the_largest_record_is_that_of_the_largest_topic():
    topics = load_topics()

    assert topics.max_message_bytes == topics.by_name["dead-letters"].max_message_bytes


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("topics", "images", "max_message_bytes"), 8388608, "max_image_bytes with its record_overhead_bytes needs"),
        (("max_image_bytes",), 9_000_000, "max_image_bytes with its record_overhead_bytes needs"),
        (("topics", "dead-letters", "max_message_bytes"), 8454144, "the largest record"),
        (("topics", "features", "max_message_bytes"), 9_000_000, "the largest record"),
        (("topics", "images", "event"), "ChipInspected", "needs exactly one topic"),
        (("topics", "images", "event"), "ChipPolished", "needs exactly one topic"),
        (("topics", "images", "partitions"), 0, "partitions"),
        (("topics", "images", "compatibility"), "NONE", "compatibility"),
        (("topics", "settled", "compatibility"), "BACKWARD_TRANSITIVE", "compatibility"),
        (("topics", "images", "retention_hrs"), 3, "retention_hrs"),
        (("topics", "images", "partitions"), 7, "need the same number"),
        (("topics", "images", "cleanup"), "compact", "either retention_hours, or cleanup"),
        (("topics", "lines", "cleanup"), "delete", "either retention_hours, or cleanup"),
        (("topics",), {}, "needs exactly one topic"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(
    tmp_path: Path, path: tuple[str, ...], value: object, message: str
):
    with pytest.raises(ConfigurationError, match=message):
        load_topics(changed(tmp_path, *path, to=value))


def test_a_missing_file_and_one_that_is_no_yaml_are_named(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_topics(tmp_path / "nowhere.yaml")
    (tmp_path / "topics.yaml").write_text("topics: [")
    with pytest.raises(ConfigurationError, match=r"topics\.yaml"):
        load_topics(tmp_path / "topics.yaml")
