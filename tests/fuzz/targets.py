"""What is fuzzed: everything that reads bytes from outside. Each target takes any bytes, and raises only where the code
behind it raised something that it does not declare, or returned what cannot be.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import numpy as np
from PIL import Image
from starlette.types import Message, Scope

from services.extractor.settings import ExtractorSettings
from services.gateway.http import application
from services.gateway.settings import DoorSettings, GatewaySettings
from services.matcher.settings import MatcherSettings
from services.router.settings import RouterSettings
from shared.bank.array_file import npy
from shared.bank.bundle import Bundle, decode, encode, make_bundle
from shared.bank.errors import CorruptBundle
from shared.bank.manifest import Manifest, content_hash
from shared.errors import ConfigurationError
from shared.events import Mask
from shared.topics import EVENTS, load_topics
from shared.vision import mask as masks
from shared.vision import picture as pictures
from shared.vision.errors import BadRecipe, PictureError, UnusableFeatures, UnusableMask
from shared.vision.features import quantise
from shared.vision.inspection import inspect
from shared.vision.recipe import DEFAULT_RECIPE, Layer, Recipe
from shared.wire.codec import Codec
from shared.wire.errors import MalformedRecord
from tests.bad_pictures import bad_pictures, encoded, noise
from tests.banks import EPOCH, UPKEEP_FIGURES, WEIGHTS, make_bank, make_head, make_patch_head, make_upkeep
from tests.contract.examples import EXAMPLES
from tests.fuzz.draw import Draw
from tests.registry_double import RegistryInMemory
from tests.unit.gateway.doubles import FakeProducer

Target = Callable[[bytes], None]

MAX_PIXELS = 1 << 20  # decoded, three megabytes: a picture that is larger by its header must not be
MAX_MASK_PIXELS = 1 << 20
ANSWERS = {200, 201, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 503}


def picture(data: bytes) -> None:
    """An encoded picture, or one after accidents, is decoded or refused by name."""
    draw = Draw(data)
    given = draw.rest() if draw.integer(4) == 0 else draw.mutated(draw.choice(_pictures()))
    try:
        found = pictures.decode(given, max_pixels=MAX_PIXELS)
    except PictureError:
        return
    assert found.dtype == np.uint8
    assert found.ndim == 3
    assert found.shape[0] * found.shape[1] <= MAX_PIXELS
    assert pictures.resize(found, 32).shape == (32, 32, 3)


def codec(data: bytes) -> None:
    """A record is the event that was expected, or malformed; and what was read can be written."""
    draw = Draw(data)
    name = draw.choice(sorted(EVENTS))
    value = draw.rest() if draw.integer(4) == 0 else draw.mutated(_records()[name])
    try:
        event = _codec().decode(value, EVENTS[name])
    except MalformedRecord:
        return
    written = _codec().encode(event)  # compared as bytes: a number in it that is none, is not equal to itself
    assert _codec().encode(_codec().decode(written, EVENTS[name])) == written


def rle(data: bytes) -> None:
    """Runs of a mask are as many pixels as its size says, or no mask."""
    draw = Draw(data)
    height, width = 1 + draw.integer(70), 1 + draw.integer(70)
    pixels = (np.frombuffer(draw.some(40).ljust(height * width, b"\1")[: height * width], np.uint8) % 2).reshape(
        height, width
    )
    whole = masks.encode(pixels)
    assert np.array_equal(masks.decode(whole), pixels)
    counts = draw.rest() if draw.integer(4) == 0 else draw.mutated(whole.counts.encode())
    sides = (height, width, 0, -1, 1 << 15, 1 << 31, 1 << 40)
    changed = Mask(height=draw.choice(sides), width=draw.choice(sides), counts=counts.decode("latin-1"))
    try:
        found = masks.decode(changed, max_pixels=MAX_MASK_PIXELS)
    except UnusableMask:
        return
    assert found.shape == (changed.height, changed.width)
    assert found.size <= MAX_MASK_PIXELS
    assert found.max(initial=0) <= 1


def bundle(data: bytes) -> None:
    """A bundle after accidents is corrupt, or judges; also where whoever changed it wrote the checksums anew."""
    draw = Draw(data)
    sound, files = _bundle()
    if draw.integer(8) == 0:
        text = draw.rest() if draw.integer(2) else draw.mutated(sound.manifest.to_json().encode())
        try:
            Manifest.from_json(text)
        except CorruptBundle:
            return
    document = json.loads(sound.manifest.to_json())
    blobs = dict(files)
    for _ in range(draw.integer(4)):
        _change(document, draw)
    if draw.integer(2):
        name = draw.choice(sorted(blobs))
        if draw.integer(2):
            blobs[name] = draw.mutated(blobs[name])
        else:
            shape = [1 + draw.integer(4) for _ in range(draw.integer(4))]
            with np.errstate(all="ignore"):  # no number becomes a whole one
                array = np.full(shape, draw.choice((0, 1, -1, np.nan, np.inf))).astype(draw.choice(DTYPES))
            blobs[name] = npy(array)
            _list_array(document, name, {"dtype": array.dtype.str, "shape": shape})
        _sign_array(document, name, blobs[name])
    if draw.integer(8):
        _sign(document)
    try:
        manifest = Manifest.from_json(json.dumps(document))
        changed = decode(manifest, blobs, "the fuzzed bundle")
    except CorruptBundle:
        return
    recipe = changed.bank.recipe
    grids = tuple(
        quantise(layer.name, np.ones((2, 2, changed.bank.layers[0].channels), np.float32)) for layer in recipe.layers
    )
    with np.errstate(all="ignore"):
        try:
            inspect([grids], [(32, 32)], changed.bank)
        except UnusableFeatures:
            return


def settings(data: bytes) -> None:
    """Any environment gives settings, or says which variable is wrong."""
    draw = Draw(data)
    environment = {}
    for _ in range(1 + draw.integer(3)):
        name = draw.choice(_variables())
        environment[name] = draw.choice(VALUES) if draw.integer(2) else draw.text().replace("\0", "")
    kind = draw.choice((ExtractorSettings, GatewaySettings, MatcherSettings, RouterSettings))
    with patch.dict(os.environ, environment):
        try:
            made = kind()
            made.kafka.client_config()
            made.registry.client_config()
            made.redis.credentials()
        except ConfigurationError:
            return


def gateway(data: bytes) -> None:
    """Any request is answered by the gateway's own words, and a picture is stored exactly where it says so."""
    draw = Draw(data)
    producer = FakeProducer(max_image_bytes=20_000)
    names = ("line", "product", "chip", "captured_at", "verdict_by", "deadline_ms", "event_id", "sha256", "more")
    query = "line=l&product=p&chip=c" if draw.integer(2) else ""
    for _ in range(draw.integer(4)):
        value = draw.choice(VALUES) if draw.integer(2) else draw.text()
        query += f"&{draw.choice(names)}={quote(value) if draw.integer(2) else value}"
    if draw.integer(8) == 0:
        query = draw.text(200)
    headers = [
        (draw.choice((b"content-type", b"content-length", b"content-encoding", b"authorization")), draw.some(20))
        for _ in range(draw.integer(3))
    ]
    method = draw.choice(("POST", "POST", "POST", "GET", "PUT", "HEAD"))
    body = draw.mutated(draw.choice(_pictures())) if draw.integer(4) else draw.rest()
    cut = draw.integer(len(body) + 1)
    ends = draw.integer(8) > 0
    status, answer = asyncio.run(_ask(producer, method, query.encode(), headers, [body[:cut], body[cut:]], ends=ends))
    assert status in ANSWERS, (status, answer)
    assert len(producer.published) == (status == 201)
    if method != "HEAD":
        assert {"event_id", "detail"} & json.loads(answer).keys()


TARGETS: Mapping[str, Target] = {
    "picture": picture,
    "codec": codec,
    "rle": rle,
    "bundle": bundle,
    "settings": settings,
    "gateway": gateway,
}

VALUES = (
    "",
    "-1",
    "0",
    "1",
    "65536",
    "1e400",
    "nan",
    "inf",
    "9" * 400,
    "null",
    "true",
    "{}",
    '{"a":',
    "[" * 2000,
    "SASL_SSL",
    "redis://",
    "http://[",
    "/dev/null",
    "\ud7ff",
    "١٢٣",
    "2026-05-01T08:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "253402300800000",
)
"""What people and machines really put where something else belongs."""


@cache
def _pictures() -> tuple[bytes, ...]:
    sound = [encoded(noise(mode), kind) for mode in ("RGB", "L") for kind in pictures.FORMATS]
    compact = [encoded(Image.new("RGB", (64, 48), (9, 99, 199)), kind) for kind in pictures.FORMATS]
    bad = [data for data, _ in bad_pictures().values() if len(data) < 100_000]
    return (*sound, *compact, *bad)


@cache
def _codec() -> Codec:
    return Codec(RegistryInMemory(), load_topics())


@cache
def _records() -> dict[str, bytes]:
    return {name: _codec().encode(example) for name, example in EXAMPLES.items()}


@cache
def _bundle() -> tuple[Bundle, dict[str, bytes]]:
    learnt = Layer(tap="b10", metric="learnt")
    recipe = replace(DEFAULT_RECIPE, layers=(*DEFAULT_RECIPE.layers, learnt))
    bank = make_bank(recipe=recipe, head=make_head(18), patch_head=make_patch_head(9))
    patches = make_upkeep().layers[0]
    upkeep = make_upkeep(
        figures=replace(UPKEEP_FIGURES, grids=((4, 4), (4, 4), (4, 4))), layers=(patches, patches, patches)
    )
    made = make_bundle(bank, weights_sha256=WEIGHTS, training={}, upkeep=upkeep, created_at=EPOCH)
    return made, encode(made)


@cache
def _variables() -> tuple[str, ...]:
    names = []
    for kind in (ExtractorSettings, GatewaySettings, MatcherSettings, RouterSettings):
        for group, field in kind.model_fields.items():
            names.append(f"CHIPSIEVE_{group.upper()}")
            inner = getattr(field.annotation, "model_fields", {})
            names += [f"CHIPSIEVE_{group.upper()}__{name.upper()}" for name in inner]
    return tuple(dict.fromkeys(names))


JSON_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2,
    1 << 31,
    1 << 70,
    -0.5,
    1e-300,
    1e300,
    "",
    "x",
    "\0",
    "l2",
    [],
    [0],
    {},
    {"a": 1},
    [[[[]]]],
)


DTYPES = ("|i1", "|u1", "|b1", "<i4", "<i8", "<f2", "<f4", ">f4", "<f8", "<c8", "<U1", "|S1")


def _change(document: dict[str, Any], draw: Draw) -> None:
    """Replace, remove or double something somewhere in a JSON document."""
    place: Any = document
    for _ in range(8):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = draw.choice(keys)
        inside = place[key]
        if isinstance(inside, dict | list) and inside and draw.integer(4):
            place = inside
            continue
        match draw.integer(4):
            case 0:
                del place[key]
            case 1 if isinstance(place, list):
                place.append(deepcopy(inside))
            case _:
                place[key] = deepcopy(draw.choice(JSON_VALUES))
        return


def _sign_array(document: dict[str, Any], name: str, blob: bytes) -> None:
    _list_array(document, name, {"sha256": hashlib.sha256(blob).hexdigest(), "size": len(blob)})


def _list_array(document: dict[str, Any], name: str, changes: dict[str, Any]) -> None:
    entries = document.get("arrays")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("file") == name:
            entry.update(changes)


def _sign(document: dict[str, Any]) -> None:
    """Write version and feature space as they follow from the rest."""
    try:
        recipe = Recipe.from_json(document["recipe"])
        document["feature_space"] = recipe.feature_space(document["weights_sha256"])
    except (KeyError, TypeError, AttributeError, BadRecipe):
        pass  # a document that is no longer far enough from garbage to have one
    when = str(document.get("version", ""))[:15]
    document["version"] = f"{when}-{content_hash(document)[:8]}"


async def _ask(
    producer: FakeProducer,
    method: str,
    query: bytes,
    headers: list[tuple[bytes, bytes]],
    chunks: list[bytes],
    *,
    ends: bool,
) -> tuple[int, bytes]:
    """Status and body of the gateway's answer to a request as a server would hand it on; `ends` or the sender goes."""
    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": "/v1/images",
        "raw_path": b"/v1/images",
        "root_path": "",
        "query_string": query,
        "headers": headers,
    }
    events: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    events.append({"type": "http.request", "body": b"", "more_body": False} if ends else {"type": "http.disconnect"})
    incoming = iter(events)
    sent: list[Message] = []

    async def receive() -> Message:
        return next(incoming, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    await application(producer, DoorSettings(max_pixels=MAX_PIXELS))(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return next(message["status"] for message in sent if message["type"] == "http.response.start"), body
