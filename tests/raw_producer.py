"""Records that Python's Kafka client does not let through, sent by the C library within it: other clients do."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import confluent_kafka

# What rd_kafka_producev takes: pairs of one of these and its value, ended by END.
END, TOPIC, PARTITION, VALUE, FLAGS, TIMESTAMP, HEADERS = 0, 1, 3, 4, 7, 8, 10
COPY = 2  # the value is the caller's
PATIENCE_MS = 30_000
PRODUCER = 0  # the type of a handle

_pointer = ctypes.c_void_p


def send_raw(
    servers: str, topic: str, value: bytes, *, headers: Sequence[tuple[bytes, bytes]] = (), timestamp: int | None = None
) -> None:
    """Produce a record to partition 0, with any bytes for names of headers and any number for a time (ms)."""
    (path,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*.so*")
    library = ctypes.CDLL(str(path))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(library, name).restype = _pointer
    error = ctypes.create_string_buffer(512)
    config = _pointer(library.rd_kafka_conf_new())
    assert library.rd_kafka_conf_set(config, b"bootstrap.servers", servers.encode(), error, 512) == 0, error.value
    producer = _pointer(library.rd_kafka_new(PRODUCER, config, error, ctypes.c_size_t(512)))
    assert producer, error.value
    given = _pointer(library.rd_kafka_headers_new(ctypes.c_size_t(len(headers))))
    for name, content in headers:
        size = ctypes.c_ssize_t
        library.rd_kafka_header_add(given, name, size(len(name)), content, size(len(content)))
    record = [
        (TOPIC, ctypes.c_char_p(topic.encode())),
        (PARTITION, ctypes.c_int32(0)),
        (VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
        (FLAGS, ctypes.c_int(COPY)),
        (HEADERS, given),
    ]
    if timestamp is not None:
        record.append((TIMESTAMP, ctypes.c_int64(timestamp)))
    arguments = [part for kind, *parts in record for part in (ctypes.c_int(kind), *parts)]
    assert library.rd_kafka_producev(producer, *arguments, ctypes.c_int(END)) == 0
    library.rd_kafka_flush(producer, PATIENCE_MS)
    assert library.rd_kafka_outq_len(producer) == 0
    library.rd_kafka_destroy(producer)
