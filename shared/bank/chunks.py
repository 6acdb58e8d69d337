"""A version's files in Redis: one hash, of which each field is a chunk of a file."""

from collections.abc import Mapping, Sequence
from typing import Final

from shared.bank.connection import Connection
from shared.bank.errors import CorruptBundle

CHUNK_BYTES: Final = 1 << 20  # no single value blocks Redis or a slow network for long
CHUNKS_AT_ONCE: Final = 4  # a round trip, which has to fit shared.bank.connection.REPLY_SECONDS
STAGING_SECONDS: Final = 600  # renewed with every round trip: far above the longest pause of a publish that lives


def upload(connection: Connection, key: str, blobs: Mapping[str, bytes]) -> int:
    """Write files, by name, to a key that expires by itself where nobody makes it last; how many chunks they are.

    Raises:
        BankUnavailable: Redis cannot be reached or refuses.
    """
    chunks = [
        (field, blob[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES])
        for file, blob in blobs.items()
        for number, field in enumerate(_fields(file, len(blob)))
    ]
    for start in range(0, len(chunks), CHUNKS_AT_ONCE):
        with connection.answering() as redis:
            # A transaction, so that no moment sees the key without its expiry.
            pipe = redis.pipeline(transaction=True)
            pipe.hset(key, mapping=dict(chunks[start : start + CHUNKS_AT_ONCE]))
            pipe.expire(key, STAGING_SECONDS)
            pipe.execute()
    return len(chunks)


def download(connection: Connection, key: str, file: str, size: int) -> bytes:
    """One file of so many bytes.

    Raises:
        BankUnavailable: Redis cannot be reached or refuses.
        CorruptBundle: a chunk of it is gone.
    """
    fields = _fields(file, size)
    parts: list[bytes] = []
    for start in range(0, len(fields), CHUNKS_AT_ONCE):
        wanted = fields[start : start + CHUNKS_AT_ONCE]
        with connection.answering() as redis:
            found = redis.hmget(key, wanted)
        missing = [field for field, part in zip(wanted, found, strict=True) if part is None]
        if missing:
            raise CorruptBundle(
                f"Redis at {connection.address} has no {missing[0]} of {key}: set its maxmemory-policy to noeviction "
                "and publish the bundle again"
            )
        parts.extend(found)
    return b"".join(parts)


def _fields(file: str, size: int) -> Sequence[str]:
    return [f"{file}:{number}" for number in range(-(-size // CHUNK_BYTES))]
