"""Whatever comes from outside leads to a result or to an error of ours, by name. More inputs: `make fuzz`."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

EXAMPLES = {"picture": 250, "codec": 400, "rle": 400, "bundle": 250, "settings": 150, "gateway": 120}


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_from_outside_raises_what_was_not_declared(name: str) -> None:
    # Long inputs too: each choice a target takes of them costs two bytes.
    @settings(max_examples=EXAMPLES[name], suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=160))
    def everything(data: bytes) -> None:
        TARGETS[name](data)

    everything()
