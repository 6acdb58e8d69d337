"""What a threshold guarantees, and how surely."""

from dataclasses import dataclass
from typing import Literal

Subject = Literal["rejects", "masks", "escapes"]

_HAPPENS: dict[Subject, tuple[str, str, str]] = {
    "rejects": ("good pictures", "are rejected", "a false-reject rate"),
    "masks": ("good pictures", "show a mask", "a rate of good pictures with a mask"),
    "escapes": ("defective pictures", "are passed", "an escape rate"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """With `confidence`, at most `promised_rate` of new pictures like the held-out ones are on the threshold's wrong
    side: normals that are rejected or that show a mask, or defective ones that are passed."""

    subject: Subject = "rejects"
    asked_rate: float
    promised_rate: float
    """What the threshold keeps: the asked rate, or a higher one where that cannot be kept."""
    confidence: float
    pictures: int
    """Held-out pictures the threshold was taken from."""
    tolerated: int
    """How many of those lie on the wrong side."""
    groups: int | None = None
    """Groups those pictures come in; None where each stands for itself."""
    effective: float | None = None
    """Independent pictures that are worth as much as these, which resemble others of their group."""
    lowest_rate: float | None = None
    """The lowest rate that could be promised with these pictures; None where the asked one is. No higher than that
    where only another threshold could keep it."""
    needed: int | None = None
    """Groups (without groups, pictures) like these from which the asked rate could be promised."""

    @property
    def kept(self) -> bool:
        """Whether what was asked can be promised."""
        return self.promised_rate <= self.asked_rate

    @property
    def grounds(self) -> str:
        """What it rests on."""
        pictures = f"{self.pictures} {_HAPPENS[self.subject][0]}"
        if self.groups is None or self.effective is None:
            return pictures
        return f"{pictures} in {self.groups} groups, worth {self.effective:.0f} independent ones"

    @property
    def complaint(self) -> str:
        """Why what was asked cannot be promised, and what could be."""
        lowest = self.promised_rate if self.lowest_rate is None else self.lowest_rate
        _, happens, rate = _HAPPENS[self.subject]
        asked = f"to promise {rate} of {self.asked_rate:.3%} with {in_percent(self.confidence)} confidence"
        if lowest <= self.asked_rate:
            return f"{self.tolerated} of {self.grounds} {happens} by this threshold, too many {asked}"
        return (
            f"{self.grounds} are too few {asked}: {lowest:.3%} at best; about {self.needed} "
            f"{'pictures' if self.groups is None else 'groups'} would do"
        )

    def __str__(self) -> str:
        whose, happens, _ = _HAPPENS[self.subject]
        sure = f"with {in_percent(self.confidence)} confidence"
        promised = f"{sure} at most {self.promised_rate:.3%} of {whose} {happens}"
        return f"{promised} (from {self.grounds})" if self.kept else f"{self.complaint}. As it is, {promised}"


def in_percent(share: float) -> str:
    """As exactly as it was asked for: 0.975 is 97.5%, and 98% would be more than was promised."""
    return f"{100 * share:.6g}%"
