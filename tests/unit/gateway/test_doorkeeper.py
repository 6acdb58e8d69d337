import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from services.gateway.doorkeeper import LINES_REMEMBERED, LOOK_AGAIN_S, Doorkeeper
from services.gateway.errors import RateLimited, Unauthorized
from services.gateway.http import application
from services.gateway.settings import DoorSettings
from shared.errors import ConfigurationError
from tests.bad_pictures import encoded, noise
from tests.unit.gateway.doubles import FakeProducer

PICTURE = encoded(noise(), "JPEG")
CHIP = {"line": "line-1", "product": "qfn32", "chip": "c1"}


def record(token: str, *lines: str) -> str:
    return f"{hashlib.sha256(token.encode()).hexdigest()} {' '.join(lines)}  # of a camera\n"


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text("# cameras\n\n" + record("one", "line-1") + record("two", "line-2", "line-3") + record("all", "*"))
    return file


@pytest.fixture
def producer() -> FakeProducer:
    return FakeProducer()


@pytest.fixture
def door(producer: FakeProducer, tokens: Path) -> Iterator[TestClient]:
    with TestClient(application(producer, DoorSettings(tokens_file=tokens)), raise_server_exceptions=False) as client:
        yield client


def post(door: TestClient, token: str | None, **query: str):
    headers = {"authorization": token} if token is not None else {}
    return door.post("/v1/images", params=CHIP | query, content=PICTURE, headers=headers)


@pytest.mark.parametrize(
    ("token", "line"), [("one", "line-1"), ("two", "line-2"), ("two", "line-3"), ("all", "line-9")]
)
def test_a_token_is_good_for_its_lines(door: TestClient, producer: FakeProducer, token: str, line: str) -> None:
    assert post(door, f"Bearer {token}", line=line).status_code == 201
    assert producer.published[0].line_id == line


def test_a_token_is_good_for_no_other_line(door: TestClient, producer: FakeProducer) -> None:
    answer = post(door, "Bearer one", line="line-2")
    assert (answer.status_code, answer.json()["reason"]) == (403, "FORBIDDEN_LINE")
    assert producer.published == []


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic one", "one", "Bearer a b"])
def test_without_a_known_token_nothing_is_taken_and_nothing_told(
    door: TestClient, producer: FakeProducer, header: str | None
) -> None:
    for query in ({}, {"no_such": "parameter"}):  # not even what is wrong with the request
        answer = post(door, header, **query)
        assert (answer.status_code, answer.json()["reason"]) == (401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert producer.published == []


def test_a_token_is_repeated_in_no_answer(door: TestClient) -> None:
    assert "s3cret" not in post(door, "Bearer s3cret").text


def test_the_hash_of_a_token_is_no_token(door: TestClient) -> None:
    assert post(door, f"Bearer {hashlib.sha256(b'one').hexdigest()}").status_code == 401


def test_a_line_that_sends_too_much_is_told_when_to_come_again(producer: FakeProducer) -> None:
    settings = DoorSettings(rate_limit=0.01, rate_burst=2)
    with TestClient(application(producer, settings), raise_server_exceptions=False) as door:
        answers = [post(door, None) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        assert answers[2].json()["reason"] == "RATE_LIMITED"
        assert 0 < int(answers[2].headers["retry-after"]) <= 100
        assert post(door, None, line="line-2").status_code == 201, "another line has its own"
    assert len(producer.published) == 3


def test_a_line_may_send_at_its_rate_for_ever() -> None:
    now = [0.0]
    keeper = Doorkeeper(None, rate=10.0, burst=5, clock=lambda: now[0])
    allowed = keeper.authenticate(None)
    for _ in range(1000):
        keeper.admit("line-1", allowed)
        now[0] += 0.1
    for _ in range(4):
        keeper.admit("line-1", allowed)
    with pytest.raises(RateLimited) as caught:
        keeper.admit("line-1", allowed)
    assert caught.value.retry_after_s <= 0.1


def test_a_sender_that_invents_lines_does_not_fill_the_memory() -> None:
    keeper = Doorkeeper(None, rate=1.0, burst=1, clock=lambda: 0.0)
    for number in range(LINES_REMEMBERED + 100):
        keeper.admit(f"line-{number}", frozenset({"*"}))
    assert len(keeper._buckets) == LINES_REMEMBERED
    with pytest.raises(RateLimited):  # those that sent last are remembered
        keeper.admit(f"line-{number}", frozenset({"*"}))


def test_a_token_that_is_added_or_taken_away_counts_without_a_restart(tokens: Path) -> None:
    now = [0.0]
    keeper = Doorkeeper(tokens, clock=lambda: now[0])
    assert keeper.authenticate("Bearer one") == {"line-1"}
    tokens.write_text(record("new", "line-1"))
    os.utime(tokens, ns=(1, 1))
    now[0] += LOOK_AGAIN_S
    assert keeper.authenticate("Bearer new") == {"line-1"}
    with pytest.raises(Unauthorized):
        keeper.authenticate("Bearer one")


def test_a_file_that_broke_leaves_the_tokens_that_were_known(tokens: Path) -> None:
    now = [0.0]
    keeper = Doorkeeper(tokens, clock=lambda: now[0])
    tokens.write_text("half a li")
    os.utime(tokens, ns=(1, 1))
    now[0] += LOOK_AGAIN_S
    assert keeper.authenticate("Bearer one") == {"line-1"}


def test_a_gateway_whose_tokens_cannot_be_read_does_not_open(tmp_path: Path, producer: FakeProducer) -> None:
    with pytest.raises(ConfigurationError, match="CHIPSIEVE_GATEWAY__TOKENS_FILE"):
        application(producer, DoorSettings(tokens_file=tmp_path / "missing"))
