"""Freeze the schemas of `schemas/` as released: ``python -m tests.contract.freeze``.

Run it with a schema change that is meant: what was released before stays, and every version must go on reading every
other. A schema that has not changed since its last release is left alone.
"""

import json

from shared.topics import EVENTS, load_topics
from shared.wire.codec import Codec
from shared.wire.registry import schema_source
from tests.contract.examples import EXAMPLES
from tests.contract.frozen import FROZEN, GOLDEN, released
from tests.registry_double import RegistryInMemory


def main() -> None:
    codec = Codec(RegistryInMemory(), load_topics())
    for name, event in sorted(EVENTS.items()):
        schema = json.loads(schema_source(event))
        versions = released(name)
        if versions and versions[-1].schema == schema:
            continue
        number = len(versions) + 1
        (FROZEN / f"{name}.{number}.avsc").write_text(json.dumps(schema, indent=2) + "\n")
        payload = codec.encode(EXAMPLES[name])[5:]
        (GOLDEN / f"{name}.{number}.hex").write_text(payload.hex("\n", -40) + "\n")
        print(f"{name}: released as version {number}")


if __name__ == "__main__":
    main()
