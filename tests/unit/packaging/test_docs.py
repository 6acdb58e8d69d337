"""What the documents name is there: files, sections, decisions, commands, options, settings, metrics, targets."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client import REGISTRY
from pydantic.fields import FieldInfo

from services.cli.commands import app
from services.extractor.settings import ExtractorSettings
from services.gateway.errors import GatewayBusy, GatewayStopping, RateLimited, Unauthorized, reason_of
from services.gateway.http import STATUS
from services.gateway.settings import GatewaySettings
from services.matcher.settings import MatcherSettings
from services.router.settings import RouterSettings
from shared import metrics
from shared.kafka import BrokerUnavailable
from shared.wire.errors import RegistryUnavailable, SchemaNotRegistered

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}
SERVICES = (GatewaySettings, ExtractorSettings, MatcherSettings, RouterSettings)
OF_NO_SERVICE = {"CHIPSIEVE_CACHE_DIR", "CHIPSIEVE_TEST_STACK"}

each_page = pytest.mark.parametrize("page", PAGES, ids=list(TEXTS))


def anchors(text: str) -> set[str]:
    """The sections of a page, as links name them."""
    headings = re.findall(r"^#+ (.*)", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith("http"):
            place, _, anchor = link.partition("#")
            target = page.parent / place if place else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text()), link


def test_every_page_can_be_reached_from_the_first() -> None:
    reached, next_ones = set[Path](), {ROOT / "README.md"}
    while next_ones:
        page = next_ones.pop()
        reached.add(page)
        linked = {(page.parent / link).resolve() for link in re.findall(r"\]\(([^)\s#]+\.md)", page.read_text())}
        next_ones |= {each for each in linked if each.exists()} - reached
    assert set(PAGES) - reached == set()


@each_page
def test_lines_are_short_enough_to_be_read_and_compared(page: Path) -> None:
    lines = [line for line in page.read_text().splitlines() if not line.startswith("|")]  # a row cannot be broken
    assert [line for line in lines if len(line) > 160] == []


@each_page
def test_files_and_decisions_that_are_named_are_there(page: Path) -> None:
    text = page.read_text()
    for path in re.findall(r"`((?:services|shared|schemas|tests|ops|k8s|benchmarks|docs|requirements)/[^`\s]*)`", text):
        assert list(ROOT.glob(path.rstrip("/"))) or path.startswith("services/scrap"), path  # an example's
    for number in re.findall(r"(?:decision|ADR) (\d+)", text):
        assert list((ROOT / "docs" / "decisions").glob(f"{int(number):04}-*")), number


def test_every_decision_is_listed_with_its_number_and_title() -> None:
    decisions = ROOT / "docs" / "decisions"
    for page in sorted(decisions.glob("0*.md")):
        title = page.read_text().partition("\n")[0].removeprefix("# ")
        number, _, about = title.partition(". ")
        assert int(number) == int(page.name[:4])
        assert f"- {number}. [{about}]({page.name})" in (decisions / "README.md").read_text()


def settings() -> Iterator[tuple[str, FieldInfo]]:
    """Every variable that sets something in a service."""
    for service in SERVICES:
        for group, field in service.model_fields.items():
            for name, each in getattr(field.annotation, "model_fields", {"": field}).items():
                yield f"CHIPSIEVE_{group}{'__' * bool(name)}{name}".upper(), each


SETTINGS = dict(settings())


def test_settings_that_are_named_set_something() -> None:
    named = {name for text in TEXTS.values() for name in re.findall(r"CHIPSIEVE_[A-Z][A-Z_]*", text)}
    assert named - SETTINGS.keys() - OF_NO_SERVICE == set()
    shortened = {name for text in TEXTS.values() for name in re.findall(r"…([A-Z][A-Z_]*)", text)}
    assert {name for name in shortened if not any(each.endswith(f"__{name}") for each in SETTINGS)} == set()


def test_defaults_that_are_named_are_the_services_own() -> None:
    told: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| (`CHIPSIEVE_[^|]*) \| (`[^|]*|none[^|]*) \|", TEXTS["README.md"], re.M):
        first, *others = re.findall(r"`…?(\w+)`", names)
        group = first.partition("__")[0]
        told |= zip([first, *(f"{group}__{other}" for other in others)], defaults.split(", "), strict=False)
    told.pop("CHIPSIEVE_ADMIN__PORT")  # "any free one"
    known = {name: default.strip("`") for name, default in told.items() if name in SETTINGS}
    assert len(known) > 15
    assert known == {name: str(SETTINGS[name].default or "none") for name in known}


def test_every_setting_says_what_it_means() -> None:
    assert {name for name, each in SETTINGS.items() if not each.description} == set()


def test_metrics_that_are_named_are_exported() -> None:
    assert metrics.CHIPS  # they register themselves
    exported = {metric.name for metric in REGISTRY.collect()}
    endings = ("_total", "_bucket", "_sum", "_count", "_info")
    named = {name for text in TEXTS.values() for name in re.findall(r"\bchipsieve_[a-z_]+", text)}
    assert "chipsieve_ready" in named
    unknown = {name for name in named - exported if not any(name.removesuffix(end) in exported for end in endings)}
    assert unknown == set()


def test_whatever_a_picture_may_be_refused_for_is_explained_to_whoever_is_called() -> None:
    kinds = {*STATUS, Unauthorized, RateLimited, GatewayBusy, GatewayStopping, BrokerUnavailable}
    kinds |= {RegistryUnavailable, SchemaNotRegistered}
    explained = set(re.findall(r"`([A-Z_]+)`", TEXTS["docs/operations.md"].partition("### PicturesRefused")[2]))
    assert {reason_of(kind.__new__(kind)) for kind in kinds} - explained == set()


def test_whatever_the_gateway_may_answer_is_told_to_whoever_connects_a_camera() -> None:
    answers = TEXTS["docs/integration.md"].partition("| answer |")[2].partition("\n\n")[0]
    told = {int(number) for row in re.findall(r"^\| ([^|]*)", answers, re.M) for number in re.findall(r"\d{3}", row)}
    assert {200, 201, 401, 404, 405, 429, 500, 503, *STATUS.values()} - told == set()
    assert set(re.findall(r"`([A-Z]+_[A-Z_]+)`", answers)) <= {reason_of(kind.__new__(kind)) for kind in STATUS}


def every_command(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command by its words."""
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from every_command(below, (*words, name))


COMMANDS = dict(every_command(typer.main.get_command(app)))


def test_every_command_and_option_says_what_it_is_for() -> None:
    for words, command in COMMANDS.items():
        for each in (command, *command.params):
            assert each.help, f"{' '.join(words)} {each.name}"


def options(command: Any) -> set[str]:
    return {"--help", *(name for option in command.params for name in (*option.opts, *option.secondary_opts))}


@each_page
def test_commands_that_are_named_have_the_options_that_they_are_given(page: Path) -> None:
    known = {words: options(command) for words, command in COMMANDS.items()}
    assert {(word,) for word in re.findall(r"`chipsieve ([a-z-]+)", page.read_text())} <= known.keys()
    for called in re.findall(r"chipsieve ((?:[a-z-]+ ?)+[^`\n;&]*)", page.read_text()):
        words: tuple[str, ...] = ()
        for word in called.split():
            if (*words, word) not in known:
                break
            words = (*words, word)
        if words:  # else a sentence about Chipsieve
            assert set(re.findall(r"(?<![\w-])--[a-z-]+", called)) <= known[words], called


def test_make_targets_that_are_named_are_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {name for text in TEXTS.values() for name in re.findall(r"`make ([a-z0-9-]+)", text)}
    assert "demo" in named
    assert named <= targets
