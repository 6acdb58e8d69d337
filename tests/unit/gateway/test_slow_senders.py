"""Senders whose bodies come slowly, or never: what they hold back from others."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from prometheus_client import REGISTRY
from starlette.types import Message

from services.gateway.body import LEAST_HELD
from services.gateway.http import MEBIBYTE, application
from services.gateway.settings import DoorSettings
from tests.bad_pictures import encoded, noise
from tests.unit.gateway.doubles import FakeProducer

PICTURE = encoded(noise(), "JPEG")
MANY = 300  # more than any limit lets in

Begin = Callable[..., "Sender"]


class Sender:
    """One request whose body comes when the test says so."""

    def __init__(self, app: Any, line: str) -> None:
        self._app = app
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._answer: list[Message] = []
        self._waits = asyncio.Event()
        query = urlencode({"line": line, "product": "qfn32", "chip": "c1"})
        self._scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/images",
            "query_string": query.encode(),
            "headers": [(b"content-length", b"30000")],
        }
        self._task = asyncio.ensure_future(self._run())

    async def send(self, part: bytes, *, more: bool = True) -> None:
        """A part of the body; returns once the gateway waits for the next, or has answered."""
        if self.is_answered:
            return
        self._waits.clear()
        await self._incoming.put({"type": "http.request", "body": part, "more_body": more})
        await self._waits.wait()

    async def begin(self) -> "Sender":
        """The head and a few bytes; returns once the gateway waits for more, or has answered."""
        await self.send(b"abc")
        return self

    async def leave(self) -> dict[str, Any]:
        """Go away amid the body; what the gateway says to nobody."""
        await self._incoming.put({"type": "http.disconnect"})
        return await self.answer()

    async def stop(self) -> dict[str, Any]:
        """What is answered where the gateway is told to stop amid the body, and has waited long enough."""
        self._task.cancel()
        return await self.answer()

    async def whole(self) -> dict[str, Any]:
        """Send a picture at once; the answer, with its status."""
        await self._incoming.put({"type": "http.request", "body": PICTURE, "more_body": False})
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        """The answer, with its status."""
        await self._task
        start, body = self._answer
        return {"status": start["status"], **json.loads(body["body"])}

    @property
    def is_answered(self) -> bool:
        return self._task.done()

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        finally:
            self._waits.set()

    async def _receive(self) -> Message:
        if self._incoming.empty():
            self._waits.set()
        return await self._incoming.get()

    async def _send(self, message: Message) -> None:
        self._answer.append(message)


def play(
    scene: Callable[[Begin], Awaitable[None]], settings: DoorSettings, producer: FakeProducer | None = None
) -> None:
    async def run() -> None:
        app = application(producer or FakeProducer(max_image_bytes=8 * MEBIBYTE), settings)
        await asyncio.wait_for(scene(lambda line: Sender(app, line)), 60)

    asyncio.run(run())


def test_bodies_that_do_not_come_keep_nobody_elses_picture_waiting() -> None:
    async def scene(sender: Begin) -> None:
        slow = [await sender("line-1").begin() for _ in range(MANY)]
        assert any(not each.is_answered for each in slow)
        assert (await sender("line-2").whole())["status"] == 201

    play(scene, DoorSettings(max_in_flight=2))


def test_the_bodies_of_one_line_that_do_not_come_are_bounded_and_the_line_is_told() -> None:
    async def scene(sender: Begin) -> None:
        slow = [await sender("line-1").begin() for _ in range(MANY)]
        refused = [await each.answer() for each in slow if each.is_answered]
        assert MANY - len(refused) == 32 * MEBIBYTE // LEAST_HELD // 2
        assert {(answer["status"], answer["reason"]) for answer in refused} == {(503, "GATEWAY_BUSY")}
        assert "line-1" in refused[0]["detail"]
        assert "CHIPSIEVE_GATEWAY__BODIES_MIB" in refused[0]["detail"]

    play(scene, DoorSettings(bodies_mib=32))


def test_unfinished_bodies_hold_no_more_memory_than_may_be() -> None:
    async def scene(sender: Begin) -> None:
        slow = [await sender(f"line-{number % 10}").begin() for number in range(100)]
        for _ in range(6):
            for each in slow:
                await each.send(bytes(MEBIBYTE))
        assert 2 <= sum(not each.is_answered for each in slow) <= 32 / 6

    play(scene, DoorSettings(bodies_mib=32))


def test_a_sender_that_goes_away_gives_its_room_back_and_is_counted_as_gone() -> None:
    def counted() -> float:
        labels = {"source": "http", "outcome": "SENDER_GONE"}
        return REGISTRY.get_sample_value("chipsieve_images_total", labels) or 0.0

    async def scene(sender: Begin) -> None:
        before = counted()
        for _ in range(MANY):
            left = await (await sender("line-1").begin()).leave()
            assert (left["status"], left["reason"]) == (400, "SENDER_GONE")
        assert counted() == before + MANY
        assert (await sender("line-1").whole())["status"] == 201

    play(scene, DoorSettings(bodies_mib=32))


def test_a_body_that_does_not_come_in_time_is_told_so_and_gives_its_room_back() -> None:
    async def scene(sender: Begin) -> None:
        for _ in range(40):
            answer = await (await sender("line-1").begin()).answer()
            assert (answer["status"], answer["reason"]) == (408, "SLOW_BODY")
        assert (await sender("line-1").whole())["status"] == 201

    play(scene, DoorSettings(bodies_mib=32, body_timeout_ms=1))


def test_a_sender_who_is_slower_than_a_stop_is_told_to_send_again() -> None:
    async def scene(sender: Begin) -> None:
        answer = await (await sender("line-1").begin()).stop()
        assert (answer["status"], answer["reason"]) == (503, "GATEWAY_STOPPING")
        assert (await sender("line-1").whole())["status"] == 201

    play(scene, DoorSettings())


@pytest.mark.parametrize("greedy", [1, 2, 5])
def test_lines_whose_pictures_wait_for_kafka_leave_room_for_another(greedy: int) -> None:
    producer = FakeProducer()
    producer.holding = []

    async def scene(sender: Begin) -> None:
        waiting = [sender(f"line-{number}") for number in range(greedy) for _ in range(64)]
        answers = [asyncio.ensure_future(each.whole()) for each in waiting]
        done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        assert {each.result()["reason"] for each in done} == {"GATEWAY_BUSY"}
        assert producer.holding is not None
        while len(producer.holding) < sum(not answer.done() for answer in answers):
            await asyncio.sleep(0)  # until those that were let in are all with Kafka
        other = asyncio.ensure_future(sender("another").whole())
        while producer.published[-1].line_id != "another":
            assert not other.done(), other.result()
            await asyncio.sleep(0)
        for future, stored in producer.holding:
            future.set_result(stored)
        assert (await other)["status"] == 201
        await asyncio.gather(*answers)

    play(scene, DoorSettings(max_in_flight=64), producer)
