"""The local stack, started as users start it."""

import socket
import urllib.request

from confluent_kafka.admin import AdminClient
from redis import Redis

from services.cli.local_stack.stack import Addresses
from shared.topics import Topics


def test_the_stack_answers_on_loopback_alone(stack: Addresses) -> None:
    ports = [
        stack.kafka.split(":")[1],
        stack.redis.split(":")[2].split("/")[0],
        stack.registry.split(":")[2].split("/")[0],
    ]
    for port in ports:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=5):
            pass


def test_a_test_gets_its_own_topics_with_schemas(stack: Addresses, topics: Topics) -> None:
    present = AdminClient({"bootstrap.servers": stack.kafka}).list_topics(timeout=10).topics
    for topic in topics.by_name.values():
        assert len(present[topic.name].partitions) == topic.partitions
        with urllib.request.urlopen(f"{stack.registry}/subjects/{topic.subject}/versions") as answer:
            assert answer.status == 200
    with Redis.from_url(stack.redis) as client:
        assert client.ping()
