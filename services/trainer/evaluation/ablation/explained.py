"""What a reader must know to read the table, in sentences."""

from services.trainer.evaluation.ablation.detectors import FALSE_REJECT_RATE
from services.trainer.evaluation.ablation.report import Report, legible

NAMED = 3  # unreadable files on the terminal; the page lists all


def facts(report: Report) -> dict[str, str]:
    """What was compared, by what, where and when."""
    first, last = (time.replace("T", " ").partition("+")[0] for time in report.measured)
    compared = f"{report.good} good and {report.defective} defective pictures"
    tested = report.lines[0].results[0].defective
    said = {
        "written": f"{report.origin.written_at:%Y-%m-%d %H:%M} UTC by Chipsieve {report.origin.chipsieve}",
        "measured": f"{first} to {last} UTC; what was measured before is not measured again",
        "written on": report.origin.machine,
        "good pictures": ", ".join(legible(folder.absolute()) for folder in report.normal),
        "defective pictures": legible(report.abnormal.absolute()),
        "groups": f"{report.groups}, by {legible(report.groups_file.absolute())}"
        if report.groups and report.groups_file
        else "none given",
        "compared": compared
        + (f", drawn from {report.found}" if report.found > report.good + report.defective else ""),
        "kinds of defect": ", ".join(f"{legible(kind)} {count}" for kind, count in report.kinds.items()),
        "left out": f"copies of other pictures: {report.left_out.copies}; unreadable files: {len(report.unreadable)}",
        "splits": f"{_splits(report)}, each tests {_tested(report)} (the first: {len(tested)} pictures, "
        f"{sum(tested)} of them defective); seed {report.seed}",
    }
    if "deep" in report.families:
        said["time for networks"] = f"until {report.minutes:g} minutes after the study's start"
    return said


def about(report: Report) -> tuple[str, ...]:
    """The least, for the terminal as well."""
    several = "Mean ± standard deviation" if max(report.splits.values()) > 1 else "Figures"
    said = [
        f"{report.good} good and {report.defective} defective pictures; positive means defective.",
        f"{several} over {_splits(report)}, {_tested(report)} of the pictures tested, seed {report.seed}.",
        "A random split may put pictures of one part on both sides, and flatters who remembers it.",
    ]
    if report.groups:
        said.append(
            f"A grouped split keeps each of {report.groups} groups on one side; defective pictures without a group "
            "join that of the good picture whose number is next to theirs, or, where folders are numbered each by "
            "itself, stand for themselves."
        )
    else:
        said.append("No groups were given: where a part was taken several times, give --groups to see what is left.")
    if "detector" in report.families:
        said.append("Detectors and Chipsieve learn from good pictures alone; all other rows from both.")
    if "deep" in report.families:
        said.append(
            "Networks train until their share of the time is over: the note says at what picture size and for how many "
            "epochs, and whether from ImageNet's weights or from scratch."
        )
    said.append("ms/image: one picture at a time, decoded; features by OpenVINO on one thread, networks by TensorFlow.")
    if report.quick:
        said.append(
            "A quick run, on some of the pictures where there are many: it shows that all works, not what is best."
        )
    said += [f"{sentence}." for sentence in report.warnings]
    if report.unreadable:
        names = ", ".join(each.name for each in report.unreadable[:NAMED])
        said.append(
            f"Files that could not be read and are in no figure: {len(report.unreadable)}, for instance {names}."
        )
    return tuple(said)


def definitions(report: Report) -> tuple[str, ...]:
    """What the columns and rows mean, for the page."""
    tested = sum(report.lines[0].results[0].defective)
    all_good = report.good / (report.good + report.defective)
    said = [
        f"Accuracy: right verdicts among all; to call every picture good would have about {all_good:.3f}.",
        "Precision: defective pictures among the rejected, 0 where nothing is rejected.",
        "Recall: rejected pictures among the defective; what it lacks of 1 escapes.",
        "F1: the harmonic mean of precision and recall.",
        "AUROC: the chance that a defective picture scores above a good one, whatever the threshold; 0.5 is guessing.",
        "False rejects: rejected pictures among the good.",
        "Parameters: numbers that must be kept to judge pictures, the backbone's among them.",
        f"The first split tests {tested} defective pictures: one verdict moves its recall by {1 / tested:.3f}.",
        "The splits share pictures: the deviation says how much the draw matters, and is no confidence interval.",
    ]
    if report.families - {"detector"}:
        said.append("Classical rows and networks reject what they hold for likelier defective than good.")
    if "detector" in report.families:
        kept = f"{1 - FALSE_REJECT_RATE:.0%} of the good training pictures"
        said.append(
            f"Detectors and Chipsieve reject what scores above {kept}, each scored by a model that has not seen it."
        )
        said.append(
            "PatchCore-like, PaDiM and Mahalanobis distance follow their papers' methods on EfficientNet-Lite0, not on "
            "their papers' backbones."
        )
        said.append(
            "The row of Chipsieve has two fixed layers and knows no defects: chipsieve train looks for the layers that "
            "fit a product, and learns from defects too."
        )
    said.append(
        "The table's last line is copied from the paper: its best model on its own pictures, which are private. It was "
        "not measured here, and other pictures are harder or easier."
    )
    return tuple(said)


def _tested(report: Report) -> str:
    """The share of the pictures that a split tests; with groups of many pictures it is not always a fifth."""
    counts = [len(result.defective) for line in report.lines for result in line.results]
    shares = [f"{count / (report.good + report.defective):.0%}" for count in (min(counts), max(counts))]
    return " to ".join(dict.fromkeys(shares))


def _splits(report: Report) -> str:
    said = " and ".join(f"{count} {kind}" for kind, count in report.splits.items())
    return f"{said} split{'s' * (sum(report.splits.values()) > 1)}"
