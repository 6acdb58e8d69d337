"""A line's state as the event that keeps it outside of the process, and back."""

from services.router.rules import LineState, RoutedChip
from shared.events import LineObserved


def to_event(line_id: str, state: LineState) -> LineObserved:
    """What is written down of a line."""
    chip = state.latest
    return LineObserved(
        line_id=line_id,
        event_id=chip.event_id,
        chip_id=chip.chip_id,
        product=chip.product,
        verdict=chip.verdict,
        seen=state.seen,
        rejects=state.rejects.to_bytes((state.rejects.bit_length() + 7) // 8, "big"),
        streak=state.streak,
        burst_armed=state.burst_armed,
        streak_armed=state.streak_armed,
        silence_armed=state.silence_armed,
        seen_at=chip.seen_at,
    )


def from_event(event: LineObserved) -> LineState:
    """The line as it was written down; times are cut to milliseconds."""
    chip = RoutedChip(
        event_id=event.event_id,
        chip_id=event.chip_id,
        product=event.product,
        verdict=event.verdict,
        seen_at=event.seen_at,
    )
    return LineState(
        latest=chip,
        seen=event.seen,
        rejects=int.from_bytes(event.rejects, "big"),
        streak=event.streak,
        burst_armed=event.burst_armed,
        streak_armed=event.streak_armed,
        silence_armed=event.silence_armed,
    )
