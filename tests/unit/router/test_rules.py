from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.router.rules import LineState, Observation, RoutedChip, Rules, observe, observe_silence
from shared.events import AlertKind, AlertRaised, Verdict
from shared.identity import UNKNOWN

START = datetime(2026, 1, 1, tzinfo=UTC)
VERDICTS = st.sampled_from(list(Verdict))


def rules(plain: dict[str, object]) -> Rules:
    return Rules.model_validate({"defaults": plain})


def chip(number: int, verdict: Verdict, product: str = "qfn32") -> RoutedChip:
    return RoutedChip(
        event_id=f"e{number}",
        chip_id=f"c{number}",
        product=product,
        verdict=verdict,
        seen_at=START + timedelta(seconds=number),
        heard=number,
    )


def alerts_after(verdicts: Sequence[Verdict], in_force: Rules) -> list[AlertRaised]:
    state: LineState | None = None
    raised: list[AlertRaised] = []
    for number, verdict in enumerate(verdicts):
        state, alerts = observe(state, "line-1", chip(number, verdict), in_force)
        raised += alerts
    return raised


def spelled(letters: str) -> list[Verdict]:
    return [{"p": Verdict.PASS, "r": Verdict.REJECT, "u": Verdict.UNINSPECTED}[letter] for letter in letters]


def fired_at(letters: str, plain: dict[str, object]) -> list[str | None]:
    return [alert.event_id for alert in alerts_after(spelled(letters), rules(plain))]


BURST = {"reject_burst": {"rejects": 2, "chips": 4}}
STREAK = {"uninspected_streak": {"chips": 2}}
SILENCE = {"line_silent": {"seconds": 10}}


def test_a_burst_fires_with_the_reject_that_fills_it() -> None:
    assert fired_at("prppr", BURST) == ["e4"]


def test_rejects_further_apart_than_the_window_are_no_burst() -> None:
    assert fired_at("rppprpppr", BURST) == []


def test_a_burst_fires_before_the_window_is_full() -> None:
    assert fired_at("rr", BURST) == ["e1"]


def test_a_burst_that_goes_on_fires_once() -> None:
    assert fired_at("rrrrrrrr", BURST) == ["e1"]


def test_a_burst_fires_again_after_the_window_has_cleared() -> None:
    assert fired_at("rr" + "ppp" + "r", BURST) == ["e1"]  # one reject is left in the window, then two never meet
    assert fired_at("rr" + "ppp" + "rr", BURST) == ["e1", "e6"]


def test_uninspected_chips_count_as_rejects_in_a_burst() -> None:
    assert fired_at("ru", BURST) == ["e1"]


def test_a_streak_fires_once_however_long_it_gets() -> None:
    assert fired_at("uuuuu", STREAK) == ["e1"]


def test_every_streak_fires() -> None:
    assert fired_at("uupuu", STREAK) == ["e1", "e4"]


def test_a_reject_ends_a_streak() -> None:
    assert fired_at("uru", STREAK) == []


def test_an_alert_says_what_it_counted_and_by_which_rule() -> None:
    (alert,) = alerts_after(spelled("rpr"), rules(BURST))
    assert alert.kind is AlertKind.REJECT_BURST
    assert alert.rule == "defaults.reject_burst"
    assert (alert.count, alert.window, alert.product) == (2, 4, None)
    assert alert.message == "2 of the last 3 chips of line line-1 were rejected, c2 (qfn32) last"
    assert alert.raised_at == START + timedelta(seconds=2)


def test_a_streak_says_what_it_counted_and_by_which_rule() -> None:
    (alert,) = alerts_after(spelled("puu"), rules(STREAK))
    assert alert.kind is AlertKind.UNINSPECTED_STREAK
    assert alert.rule == "defaults.uninspected_streak"
    assert (alert.count, alert.window, alert.product) == (2, 2, None)
    assert alert.message == "2 chips of line line-1 in a row could not be inspected, c2 (qfn32) last"
    assert alert.raised_at == START + timedelta(seconds=2)


def test_an_alert_of_a_products_rule_names_the_product() -> None:
    in_force = Rules.model_validate({"products": {"qfn32": BURST | STREAK | SILENCE}})
    raised = alerts_after(spelled("uu"), in_force)
    state, _ = observe(None, "line-1", chip(0, Verdict.PASS), in_force)
    _, silent = silence(state, "line-1", 10, in_force)
    assert {(alert.kind, alert.product, alert.rule) for alert in (*raised, *silent)} == {
        (AlertKind.REJECT_BURST, "qfn32", "products.qfn32.reject_burst"),
        (AlertKind.UNINSPECTED_STREAK, "qfn32", "products.qfn32.uninspected_streak"),
        (AlertKind.LINE_SILENT, "qfn32", "products.qfn32.line_silent"),
    }


def test_the_same_situation_gives_the_same_alert_id() -> None:
    once, again = alerts_after(spelled("rr"), rules(BURST)), alerts_after(spelled("rr"), rules(BURST))
    assert once == again
    assert once[0].alert_id == "REJECT_BURST:line-1:e1"


def test_a_rule_that_is_switched_off_never_fires() -> None:
    assert fired_at("rrrruuuu", {"reject_burst": None}) == []


def silence(state: LineState, line_id: str, seconds: float, in_force: Rules) -> Observation:
    """What so many seconds after `START` lead to."""
    return observe_silence(state, line_id, START + timedelta(seconds=seconds), in_force, steady=seconds)


def silences(plain: dict[str, object], seconds: Sequence[float], line_id: str = "line-1") -> list[AlertRaised]:
    state, _ = observe(None, line_id, chip(0, Verdict.PASS), rules(plain))
    raised: list[AlertRaised] = []
    for second in seconds:
        state, alerts = silence(state, line_id, second, rules(plain))
        raised += alerts
    return raised


def test_a_line_is_silent_when_the_time_is_up() -> None:
    assert silences(SILENCE, [9.9]) == []
    (alert,) = silences(SILENCE, [10.0])
    assert alert.kind is AlertKind.LINE_SILENT
    assert (alert.event_id, alert.window) == (None, 10)
    assert alert.message == "no chip from line line-1 for 10 s; the last was c0 (qfn32)"


def test_a_silence_fires_once() -> None:
    assert len(silences(SILENCE, [10, 11, 12, 1000])) == 1


def test_the_next_chip_ends_a_silence_and_the_next_silence_fires_again() -> None:
    in_force = rules(SILENCE)
    state, _ = observe(None, "line-1", chip(0, Verdict.PASS), in_force)
    state, first = silence(state, "line-1", 20, in_force)
    state, _ = observe(state, "line-1", chip(30, Verdict.PASS), in_force)
    state, quiet = silence(state, "line-1", 39, in_force)
    _, second = silence(state, "line-1", 40, in_force)
    assert [len(first), len(quiet), len(second)] == [1, 0, 1]
    assert first[0].alert_id != second[0].alert_id


def test_chips_of_no_known_line_make_no_line_that_could_fall_silent() -> None:
    assert silences(SILENCE, [1000], line_id=UNKNOWN) == []


def test_a_line_overrides_a_product_and_a_product_the_defaults() -> None:
    in_force = Rules.model_validate(
        {
            "defaults": {"reject_burst": {"rejects": 3, "chips": 9}, "uninspected_streak": {"chips": 9}},
            "products": {"qfn32": {"reject_burst": {"rejects": 2, "chips": 9}, "uninspected_streak": {"chips": 8}}},
            "lines": {"line-1": {"reject_burst": {"rejects": 1, "chips": 9}}},
        }
    )

    def burst(line_id: str, product: str) -> tuple[int, str, str | None]:
        rule, origin = in_force.reject_burst(line_id, product)
        assert rule is not None
        return rule.rejects, origin.name, origin.product

    assert burst("line-1", "qfn32") == (1, "lines.line-1.reject_burst", None)
    assert burst("line-2", "qfn32") == (2, "products.qfn32.reject_burst", "qfn32")
    assert burst("line-2", "soic8") == (3, "defaults.reject_burst", None)
    streak, origin = in_force.uninspected_streak("line-1", "qfn32")
    assert streak is not None
    assert (streak.chips, origin.name) == (8, "products.qfn32.uninspected_streak")


def test_a_rule_set_to_null_is_off_where_one_left_out_is_inherited() -> None:
    in_force = Rules.model_validate({"defaults": SILENCE | BURST, "lines": {"line-1": {"line_silent": None}}})
    assert in_force.line_silent("line-1", "qfn32")[0] is None
    assert in_force.reject_burst("line-1", "qfn32")[0] is not None


def test_the_window_goes_on_over_a_change_of_product() -> None:
    in_force = Rules.model_validate(
        {"defaults": {"reject_burst": {"rejects": 9, "chips": 9}}, "products": {"soic8": BURST}}
    )
    state, before = observe(None, "line-1", chip(0, Verdict.REJECT, "qfn32"), in_force)
    _, after = observe(state, "line-1", chip(1, Verdict.REJECT, "soic8"), in_force)
    assert before == ()
    assert [(alert.event_id, alert.product) for alert in after] == [("e1", "soic8")]


@given(st.lists(VERDICTS, max_size=60), st.integers(1, 12), st.integers(1, 12))
def test_bursts_are_those_of_counting_anew_after_every_chip(verdicts: list[Verdict], one: int, other: int) -> None:
    rejects, chips = min(one, other), max(one, other)
    expected, armed = [], True
    for number in range(len(verdicts)):
        latest = verdicts[max(0, number + 1 - chips) : number + 1]
        full = len([verdict for verdict in latest if verdict != Verdict.PASS]) >= rejects
        if full and armed:
            expected.append(f"e{number}")
        armed = not full
    in_force = rules({"reject_burst": {"rejects": rejects, "chips": chips}})
    assert [alert.event_id for alert in alerts_after(verdicts, in_force)] == expected


@given(st.lists(VERDICTS, max_size=60), st.integers(1, 5))
def test_streaks_are_those_of_splitting_the_line_at_every_inspected_chip(verdicts: list[Verdict], chips: int) -> None:
    spelling = "".join("u" if verdict is Verdict.UNINSPECTED else "-" for verdict in verdicts)
    expected, start = [], 0
    for streak in spelling.split("-"):
        if len(streak) >= chips:
            expected.append(f"e{start + chips - 1}")
        start += len(streak) + 1
    in_force = rules({"uninspected_streak": {"chips": chips}})
    assert [alert.event_id for alert in alerts_after(verdicts, in_force)] == expected


@given(st.lists(VERDICTS, max_size=80))
def test_a_state_stays_small(verdicts: list[Verdict]) -> None:
    state: LineState | None = None
    for number, verdict in enumerate(verdicts):
        state, _ = observe(state, "line-1", chip(number, verdict), rules(BURST))
        assert state.seen <= 4
        assert state.rejects < 2**4
