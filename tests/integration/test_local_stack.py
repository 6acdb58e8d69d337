"""The local stack, started and stopped as users do."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from redis import Redis

from services.cli.local_stack import stack as local_stack
from services.cli.local_stack.kafka import broker_settings
from services.cli.local_stack.stack import Addresses
from shared.kafka import create_topics
from shared.settings import KafkaSettings
from shared.topics import Topics, load_topics

COMMAND = [sys.executable, "-c", "from services.cli.local_stack.cli import app; app()"]
PROMPT_S = 60.0


def local(*arguments: str | Path) -> Any:
    """What `chipsieve local … --json` prints."""
    done = subprocess.run([*COMMAND, *map(str, arguments), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def processes_of(directory: Path) -> list[psutil.Process]:
    """Every process that has the directory on its command line."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if any(str(directory) in part for part in process.info["cmdline"] or [])
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PROMPT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} took more than {PROMPT_S} s"
        time.sleep(0.005)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory for a stack of the test's own."""
    own = tmp_path / "Prüfstand, eigener"  # with all that a home directory may have in its name
    yield own
    local_stack.down(own, purge=True)


def test_the_stack_listens_on_loopback_alone(stack: Addresses) -> None:
    ports = {int(address.split(":")[-1].split("/")[0]) for address in stack.env().values()}
    listening = [
        connection.laddr
        for connection in psutil.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port in ports
    ]
    assert {address.port for address in listening} == ports
    assert {address.ip for address in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_a_test_gets_its_own_topics_with_schemas(stack: Addresses, topics: Topics) -> None:
    present = AdminClient({"bootstrap.servers": stack.kafka}).list_topics(timeout=10).topics
    for topic in topics.by_name.values():
        assert len(present[topic.name].partitions) == topic.partitions
        with urllib.request.urlopen(f"{stack.registry}/subjects/{topic.subject}/versions") as answer:
            assert answer.status == 200


def test_the_broker_runs_with_the_declared_settings(stack: Addresses) -> None:
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    resource = ConfigResource(ResourceType.BROKER, "1")
    described = admin.describe_configs([resource])[resource].result(timeout=10)
    declared = broker_settings(load_topics())
    assert {name: described[name].value for name in declared} == declared


def test_data_survive_down_and_up_on_other_ports(directory: Path) -> None:
    first = local("up", "--dir", directory)
    topics = load_topics()
    create_topics(KafkaSettings(bootstrap_servers=first["kafka"]), topics)
    producer = Producer({"bootstrap.servers": first["kafka"]})
    producer.produce("images", b"a picture", partition=0)
    assert producer.flush(10) == 0
    with Redis.from_url(first["redis"]) as client:
        client.set("bank", "what is normal")
    register = urllib.request.Request(
        f"{first['registry']}/subjects/images-value/versions",
        data=json.dumps({"schema": '"string"'}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(register) as answer:
        assert answer.status == 200

    # A second `up` changes nothing; a server that died is the only one it starts.
    pids = {server["name"]: server["pid"] for server in local("status", "--dir", directory)["servers"]}
    os.kill(pids["redis"], signal.SIGKILL)
    assert local("up", "--dir", directory) == first
    again = {server["name"]: server["pid"] for server in local("status", "--dir", directory)["servers"]}
    assert again["redis"] != pids["redis"]
    assert again | {"redis": None} == pids | {"redis": None}
    with Redis.from_url(first["redis"]) as client:
        assert client.get("bank") == b"what is normal"

    assert set(local("down", "--dir", directory)["stopped"]) == {"kafka", "redis", "registry"}
    assert not processes_of(directory)
    with socket.create_server(("127.0.0.1", int(first["kafka"].split(":")[1]))):
        second = local("up", "--dir", directory)
    assert second["kafka"] != first["kafka"]
    assert second["redis"] == first["redis"]
    sourced = subprocess.run(
        ["bash", "-c", f'source "{directory}/env"; env'], capture_output=True, text=True, check=True, env={}
    ).stdout.splitlines()
    assert f"CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS={second['kafka']}" in sourced
    consumer = Consumer({"bootstrap.servers": second["kafka"], "group.id": "reader", "auto.offset.reset": "earliest"})
    consumer.subscribe(["images"])
    record = consumer.poll(30)
    assert record is not None
    assert record.value() == b"a picture"
    consumer.close()
    with Redis.from_url(second["redis"]) as client:
        assert client.get("bank") == b"what is normal"
    with urllib.request.urlopen(f"{second['registry']}/subjects") as answer:
        assert json.load(answer) == ["images-value"]


@pytest.mark.parametrize(
    "moment",
    ["lock", "kafka/data.unfinished", "run/redis.json", "run/registry.json", "run/kafka.json"],
)
def test_down_cleans_up_after_an_up_that_was_killed(directory: Path, moment: str) -> None:
    with subprocess.Popen([*COMMAND, "up", "--dir", str(directory)], start_new_session=True) as starting:
        wait_until((directory / moment).exists, f"{moment} of {directory}")
        starting.kill()
    local("down", "--dir", directory)
    assert not processes_of(directory)
    local("down", "--dir", directory, "--purge")
    assert not directory.exists()


def test_down_leaves_alone_what_it_did_not_start(directory: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", str(directory)])
    try:
        (directory / "run").mkdir(parents=True)
        (directory / "lock").touch()
        # A record of a server that ended long ago, whose pid the bystander has now.
        (directory / "run" / "kafka.json").write_text(json.dumps({"pid": bystander.pid, "started": 1.0}))
        assert local("down", "--dir", directory)["stopped"] == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_taken_port_is_named_with_its_holder_and_nothing_is_left_running(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "up", "--dir", str(directory), "--registry-port", str(port)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert f"port {port}" in done.stderr
    assert f"pid {os.getpid()}" in done.stderr
    assert not processes_of(directory)
