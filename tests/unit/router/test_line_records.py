from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.router.line_records import from_event, to_event
from services.router.rules import LONGEST_WINDOW, LineState, RoutedChip
from shared.events import LineObserved, Verdict
from shared.topics import load_topics
from shared.wire.codec import Codec
from tests.registry_double import RegistryInMemory

CODEC = Codec(RegistryInMemory(), load_topics())

CHIPS = st.builds(
    RoutedChip,
    event_id=st.text(),
    chip_id=st.text(),
    product=st.text(),
    verdict=st.sampled_from(Verdict),
    seen_at=st.integers(0, 2**41).map(lambda ms: datetime.fromtimestamp(ms / 1000, UTC)),
)
STATES = st.builds(
    LineState,
    latest=CHIPS,
    seen=st.integers(0, LONGEST_WINDOW),
    rejects=st.integers(0, 2**LONGEST_WINDOW - 1),
    streak=st.integers(0, 2**31 - 1),
    burst_armed=st.booleans(),
    streak_armed=st.booleans(),
    silence_armed=st.booleans(),
)


@given(STATES)
def test_a_line_is_the_same_after_it_was_written_down_and_read_back(state: LineState):
    assert from_event(CODEC.decode(CODEC.encode(to_event("line-1", state)), LineObserved)) == state
