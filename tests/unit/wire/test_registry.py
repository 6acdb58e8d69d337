"""The registry's answers, good and bad, from a small server that plays one."""

import base64
import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from confluent_kafka.schema_registry.error import SchemaRegistryError

from shared.errors import ConfigurationError
from shared.settings import RegistrySettings
from shared.topics import load_topics
from shared.wire.errors import IncompatibleSchema, RegistryUnavailable, SchemaNotRegistered
from shared.wire.registry import SchemaRegistry, schema_source

IMAGES = load_topics().by_name["images"]


class Played:
    """Answers by method and path, and what was asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.users: list[str] = []
        """Name and password of each question that had them."""
        self.url = ""


@pytest.fixture
def played() -> Iterator[Played]:
    script = Played()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            path = self.path.partition("?")[0]
            script.asked.append((self.command, path, body))
            if given := self.headers.get("Authorization"):
                script.users.append(base64.b64decode(given.removeprefix("Basic ")).decode())
            status, answer = script.answers.get((self.command, path), (404, "<html>no such page</html>"))
            data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 (the names that http.server calls)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield script
        server.shutdown()
        thread.join()


@pytest.fixture
def registry(played: Played) -> Iterator[SchemaRegistry]:
    with SchemaRegistry(RegistrySettings(url=played.url)) as registry:
        yield registry


def test_a_schema_is_looked_up_under_the_topics_subject(played: Played, registry: SchemaRegistry):
    found = {"subject": "images-value", "id": 42, "version": 1, "schema": schema_source(IMAGES.event)}
    played.answers["POST", "/subjects/images-value"] = (200, found)

    assert registry.id_of(IMAGES) == 42


def test_a_schema_that_was_never_registered_says_how_to_register_it(played: Played, registry: SchemaRegistry):
    played.answers["POST", "/subjects/images-value"] = (404, {"error_code": 40401, "message": "Subject not found"})

    with pytest.raises(SchemaNotRegistered, match="chipsieve topics create"):
        registry.id_of(IMAGES)


def test_a_schema_id_is_resolved(played: Played, registry: SchemaRegistry):
    played.answers["GET", "/schemas/ids/7"] = (200, {"schema": '{"type": "string"}'})

    assert registry.schema_of(7) == {"type": "string"}


@pytest.mark.parametrize(
    "answer",
    [
        {"schemaType": "PROTOBUF", "schema": 'syntax = "proto3"; message Chip {}'},
        {"schemaType": "JSON", "schema": '{"type": "object", "name": "ImageCaptured"}'},
        {"schema": 'syntax = "proto3"; message Chip {}'},
        {"schema": "[" * 100_000},
    ],
    ids=["Protobuf", "JSON", "another's, not named", "nested without end"],
)
def test_a_schema_that_is_none_of_avro_is_none(played: Played, registry: SchemaRegistry, answer: dict[str, str]):
    played.answers["GET", "/schemas/ids/7"] = (200, answer)

    assert registry.schema_of(7) is None


def test_an_unknown_schema_id_is_none(played: Played, registry: SchemaRegistry):
    played.answers["GET", "/schemas/ids/7"] = (404, {"error_code": 40403, "message": "Schema not found"})

    assert registry.schema_of(7) is None


@pytest.mark.parametrize("answer", [(500, {"error_code": 50001, "message": "store"}), (404, "<html>nginx</html>")])
def test_a_server_that_answers_as_no_registry_would_is_not_mistaken_for_one_without_the_schema(
    played: Played, registry: SchemaRegistry, answer: tuple[int, Any]
):
    played.answers["GET", "/schemas/ids/7"] = answer

    with pytest.raises(RegistryUnavailable, match="CHIPSIEVE_REGISTRY__URL"):
        registry.schema_of(7)


@pytest.mark.parametrize("answer", ["", [], "null", {}])
def test_an_answer_that_a_proxy_makes_up_is_not_mistaken_for_an_unknown_schema(
    played: Played, registry: SchemaRegistry, answer: Any
):
    played.answers["GET", "/schemas/ids/7"] = (200, answer)
    with pytest.raises(RegistryUnavailable, match=re.escape(played.url)):
        registry.schema_of(7)


def test_a_registry_that_cannot_be_reached_is_named():
    with (
        SchemaRegistry(RegistrySettings(url="http://127.0.0.1:9")) as registry,
        pytest.raises(RegistryUnavailable, match=r"http://127\.0\.0\.1:9"),
    ):
        registry.schema_of(7)


@pytest.mark.parametrize("answer", [(401, {"error_code": 40101}), (500, {"error_code": 50001}), (404, "<html>"), None])
def test_a_password_in_the_url_is_used_and_never_told(played: Played, answer: tuple[int, Any] | None):
    address = played.url.removeprefix("http://") if answer else "127.0.0.1:9"
    if answer:
        played.answers["GET", "/schemas/ids/7"] = answer
    with (
        SchemaRegistry(RegistrySettings(url=f"http://gateway:open%2Fsesame@{address}")) as registry,
        pytest.raises(RegistryUnavailable, match=f"http://{address}") as caught,
    ):
        registry.schema_of(7)
    assert "sesame" not in str(caught.value)
    assert bool(answer) == bool(played.asked)
    assert set(played.users) == ({"gateway:open/sesame"} if answer else set())


def test_a_schema_that_is_missing_is_told_without_the_urls_password(played: Played):
    played.answers["POST", "/subjects/images-value"] = (404, {"error_code": 40401, "message": "Subject not found"})
    url = played.url.replace("://", "://gateway:sesame@")
    with SchemaRegistry(RegistrySettings(url=url)) as registry, pytest.raises(SchemaNotRegistered) as caught:
        registry.id_of(IMAGES)
    assert f"at {played.url};" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "gateway:sesame@127.0.0.1:1",
        "ftp://gateway:sesame@127.0.0.1:1",
        "http://gateway:sesame/@127.0.0.1:1",
        "http://gateway:sesame@[::1",
    ],
)
def test_an_address_that_is_none_is_refused_by_its_variable_without_the_password(url: str):
    with pytest.raises(ConfigurationError, match="CHIPSIEVE_REGISTRY__URL is no address like") as caught:
        SchemaRegistry(RegistrySettings(url=url))
    assert "sesame" not in str(caught.value)


def test_the_compatibility_is_set_before_the_schema_is_registered(played: Played, registry: SchemaRegistry):
    played.answers["PUT", "/config/images-value"] = (200, {"compatibility": "FULL_TRANSITIVE"})
    played.answers["POST", "/subjects/images-value/versions"] = (200, {"id": 42})

    assert registry.register(IMAGES) == 42
    assert [(method, path) for method, path, _ in played.asked] == [
        ("PUT", "/config/images-value"),
        ("POST", "/subjects/images-value/versions"),
    ]
    assert played.asked[0][2]["compatibility"] == "FULL_TRANSITIVE"
    assert json.loads(played.asked[1][2]["schema"]) == json.loads(schema_source(IMAGES.event))


def test_a_compatibility_that_another_sets_at_the_same_moment_is_set_again(
    played: Played, registry: SchemaRegistry, monkeypatch: pytest.MonkeyPatch
):
    played.answers["POST", "/subjects/images-value/versions"] = (200, {"id": 7})
    answers = [SchemaRegistryError(409, 0, "A rule named 'COMPATIBILITY' already exists."), None]

    def set_compatibility(*_: object) -> None:
        if refused := answers.pop(0):
            raise refused

    monkeypatch.setattr(registry._client, "set_compatibility", set_compatibility)

    assert registry.register(IMAGES) == 7
    assert answers == []


def test_a_refused_schema_is_incompatible_with_the_registrys_reason(played: Played, registry: SchemaRegistry):
    played.answers["PUT", "/config/images-value"] = (200, {"compatibility": "FULL_TRANSITIVE"})
    refusal = {"error_code": 409, "message": "READER_FIELD_MISSING_DEFAULT_VALUE at /fields/9"}
    played.answers["POST", "/subjects/images-value/versions"] = (409, refusal)

    with pytest.raises(IncompatibleSchema, match="READER_FIELD_MISSING_DEFAULT_VALUE"):
        registry.register(IMAGES)


def test_a_registry_whose_subjects_cannot_be_written_registers_nothing(played: Played, registry: SchemaRegistry):
    played.answers["PUT", "/config/images-value"] = (200, {"compatibility": "FULL_TRANSITIVE"})
    missing = {"error_code": 40401, "message": "Subject not found"}
    played.answers["POST", "/subjects/images-value/versions"] = (404, missing)

    with pytest.raises(RegistryUnavailable, match="subjects cannot be written there"):
        registry.register(IMAGES)


@pytest.mark.parametrize("status", [401, 403])
def test_a_user_that_the_registry_refuses_is_named(played: Played, status: int):
    played.answers["GET", "/schemas/ids/7"] = (status, {"error_code": 100 * status + 1, "message": "no"})
    settings = RegistrySettings(url=played.url, username="matcher", password="open")
    with SchemaRegistry(settings) as registry, pytest.raises(RegistryUnavailable, match="refuses the user matcher"):
        registry.schema_of(7)


def test_a_proxy_is_kept_out_of_the_way_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "plant.example")
    for url in ("http://127.0.0.1:1/apis", "http://registry.plant.example/apis", "http://127.0.0.1:2/apis"):
        SchemaRegistry(RegistrySettings(url=url))
    assert os.environ["no_proxy"] == "plant.example,127.0.0.1"
