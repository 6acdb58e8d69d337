"""What makes an alert: windows over the chips of one line, fed one chip at a time.

Pure: a line's past is a small immutable `LineState`, and every function returns the next one, so that a state can be
kept, compared, written down, and gone back to. `services/router/rules.yaml` explains the rules to people.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.events import AlertKind, AlertRaised, Verdict
from shared.identity import UNKNOWN

# 1.25 KB of bits, copied for every chip; a line of 10 chips a second fills it in a quarter of an hour.
LONGEST_WINDOW = 10_000

# A line that has been silent for so long is forgotten: longer than a night and a shift, after which its windows say
# nothing any more. Names that somebody made up, or mistyped, would else be kept for ever.
REMEMBERED = timedelta(hours=24)


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RejectBurst(_Rule):
    """Too many rejects among the latest chips."""

    rejects: int = Field(ge=1)
    chips: int = Field(ge=1, le=LONGEST_WINDOW)

    @model_validator(mode="after")
    def _can_fire(self) -> Self:
        if self.rejects > self.chips:
            raise ValueError(f"{self.rejects} rejects among {self.chips} chips can never be: lower rejects")
        return self


class UninspectedStreak(_Rule):
    """Too many uninspected chips in a row."""

    chips: int = Field(ge=1)


class LineSilent(_Rule):
    """No chip for too long."""

    seconds: int = Field(ge=1)


class RuleGroup(_Rule):
    """The rules of one group in the rules file; what it leaves out is inherited, what it sets to null is off."""

    reject_burst: RejectBurst | None = None
    uninspected_streak: UninspectedStreak | None = None
    line_silent: LineSilent | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in the rules file a rule stands."""

    name: str
    """Its path, for instance ``products.qfn32.reject_burst``."""
    product: str | None
    """The product, where the rule is about one."""


class Rules(_Rule):
    """All rules: defaults, and what differs for single lines and products."""

    defaults: RuleGroup = RuleGroup()
    lines: dict[str, RuleGroup] = {}
    products: dict[str, RuleGroup] = {}

    def reject_burst(self, line_id: str, product: str) -> tuple[RejectBurst | None, Origin]:
        """The burst rule for a chip of the product on the line."""
        group, origin = self._group_of("reject_burst", line_id, product)
        return group.reject_burst, origin

    def uninspected_streak(self, line_id: str, product: str) -> tuple[UninspectedStreak | None, Origin]:
        """The streak rule for a chip of the product on the line."""
        group, origin = self._group_of("uninspected_streak", line_id, product)
        return group.uninspected_streak, origin

    def line_silent(self, line_id: str, product: str) -> tuple[LineSilent | None, Origin]:
        """The silence rule for the line while it makes the product."""
        group, origin = self._group_of("line_silent", line_id, product)
        return group.line_silent, origin

    def window_of(self, line_id: str) -> int:
        """How many chips of the line must be remembered so that every rule which may apply to it can be told."""
        groups = [self.defaults, *self.products.values(), self.lines.get(line_id, RuleGroup())]
        return max(group.reject_burst.chips if group.reject_burst else 0 for group in groups)

    def _group_of(self, kind: str, line_id: str, product: str) -> tuple[RuleGroup, Origin]:
        of_line = self.lines.get(line_id)
        if of_line is not None and kind in of_line.model_fields_set:
            return of_line, Origin(f"lines.{line_id}.{kind}", None)
        of_product = self.products.get(product)
        if of_product is not None and kind in of_product.model_fields_set:
            return of_product, Origin(f"products.{product}.{kind}", product)
        return self.defaults, Origin(f"defaults.{kind}", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedChip:
    """What the rules see of a chip."""

    event_id: str
    chip_id: str
    product: str
    verdict: Verdict
    seen_at: datetime
    """When the router saw it: a backlog that is being worked off is not a silence."""
    heard: float = 0.0
    """The same in seconds by a clock that never jumps: of this process alone, and not written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineState:
    """What the rules keep of a line. A rule is armed until it fires, and again when its situation is over."""

    latest: RoutedChip
    """The chip seen last."""
    seen: int = 0
    """How many chips `rejects` holds."""
    rejects: int = 0
    """Which of the latest chips were rejects: one bit a chip, the latest lowest."""
    streak: int = 0
    """Uninspected chips in a row, up to now."""
    burst_armed: bool = True
    """Again when the window holds fewer rejects than the rule allows: one long burst is one alert."""
    streak_armed: bool = True
    """Again when a chip could be inspected."""
    silence_armed: bool = True
    """Again when a chip comes."""


Observation = tuple[LineState, tuple[AlertRaised, ...]]
"""A line's next state, and the alerts that are due."""


def observe(before: LineState | None, line_id: str, chip: RoutedChip, rules: Rules) -> Observation:
    """What a chip leads to on a line whose state was `before` (None: its first chip)."""
    before = before or LineState(latest=chip)
    window = rules.window_of(line_id)
    counted = LineState(
        latest=chip,
        seen=min(before.seen + 1, window),
        rejects=_last(window, before.rejects << 1 | (chip.verdict is not Verdict.PASS)),
        streak=before.streak + 1 if chip.verdict is Verdict.UNINSPECTED else 0,
        burst_armed=before.burst_armed,
        streak_armed=before.streak_armed,
    )
    after_burst, bursts = _watch_burst(counted, line_id, rules)
    after_streak, streaks = _watch_streak(after_burst, line_id, rules)
    return after_streak, bursts + streaks


def observe_silence(before: LineState, line_id: str, now: datetime, rules: Rules, *, steady: float) -> Observation:
    """What the time leads to on a line from which no chip came since `before`; `steady` is `now` as of `heard`."""
    chip = before.latest
    rule, origin = rules.line_silent(line_id, chip.product)
    if rule is None or not is_awaited(before, line_id, rules):
        return before, ()
    if steady - chip.heard < rule.seconds:
        return before, ()
    alert = AlertRaised(
        alert_id=_alert_id(AlertKind.LINE_SILENT, line_id, chip),
        line_id=line_id,
        product=origin.product,
        kind=AlertKind.LINE_SILENT,
        rule=origin.name,
        message=f"no chip from line {line_id} for {rule.seconds} s; the last was {chip.chip_id} ({chip.product})",
        window=rule.seconds,
        raised_at=now,
    )
    return replace(before, silence_armed=False), (alert,)


def is_over(state: LineState, line_id: str, now: datetime, rules: Rules) -> bool:
    """Whether nothing need be known of a line any more: it has been silent for long, and people were told."""
    return not is_awaited(state, line_id, rules) and now - state.latest.seen_at >= REMEMBERED


def is_awaited(state: LineState, line_id: str, rules: Rules) -> bool:
    """Whether a line's silence would be told of, and was not yet."""
    rule, _ = rules.line_silent(line_id, state.latest.product)
    # Chips whose line cannot be known share a name, but no line that could fall silent.
    return rule is not None and state.silence_armed and line_id != UNKNOWN


def _watch_burst(state: LineState, line_id: str, rules: Rules) -> Observation:
    chip = state.latest
    rule, origin = rules.reject_burst(line_id, chip.product)
    if rule is None:
        return state, ()
    rejects = _last(rule.chips, state.rejects).bit_count()
    if rejects < rule.rejects:
        return replace(state, burst_armed=True), ()
    if not state.burst_armed:
        return state, ()
    alert = AlertRaised(
        alert_id=_alert_id(AlertKind.REJECT_BURST, line_id, chip),
        line_id=line_id,
        product=origin.product,
        kind=AlertKind.REJECT_BURST,
        rule=origin.name,
        message=f"{rejects} of the last {min(state.seen, rule.chips)} chips of line {line_id} were rejected, "
        f"{chip.chip_id} ({chip.product}) last",
        event_id=chip.event_id,
        count=rejects,
        window=rule.chips,
        raised_at=chip.seen_at,
    )
    return replace(state, burst_armed=False), (alert,)


def _watch_streak(state: LineState, line_id: str, rules: Rules) -> Observation:
    chip = state.latest
    rule, origin = rules.uninspected_streak(line_id, chip.product)
    if state.streak == 0:
        return replace(state, streak_armed=True), ()
    if rule is None or state.streak < rule.chips or not state.streak_armed:
        return state, ()
    alert = AlertRaised(
        alert_id=_alert_id(AlertKind.UNINSPECTED_STREAK, line_id, chip),
        line_id=line_id,
        product=origin.product,
        kind=AlertKind.UNINSPECTED_STREAK,
        rule=origin.name,
        message=f"{state.streak} chips of line {line_id} in a row could not be inspected, {chip.chip_id} "
        f"({chip.product}) last",
        event_id=chip.event_id,
        count=state.streak,
        window=rule.chips,
        raised_at=chip.seen_at,
    )
    return replace(state, streak_armed=False), (alert,)


def _last(chips: int, rejects: int) -> int:
    return rejects & ((1 << chips) - 1)


def _alert_id(kind: AlertKind, line_id: str, chip: RoutedChip) -> str:
    """The same for the same situation, however often the router comes upon it."""
    return f"{kind.value}:{line_id}:{chip.event_id}"
