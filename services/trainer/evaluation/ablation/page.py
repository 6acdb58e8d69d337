"""The study as one HTML page, whole in itself, to be filed and printed."""

from collections.abc import Iterable, Sequence
from html import escape

from services.trainer.evaluation.ablation.explained import about, definitions, facts
from services.trainer.evaluation.ablation.report import Report
from services.trainer.evaluation.ablation.table import HEADINGS, cells, paper_cells

_STYLE = """
body { font: 15px/1.5 sans-serif; color: #222; max-width: 1240px; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .45rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child, .wide th:last-child, td.note, .facts td { text-align: left }
th:first-child, td:first-child, td.note, .facts td { white-space: normal }
th:first-child { min-width: 9rem } td.note { min-width: 11rem } td.note, .facts td { color: #555 }
.facts td, li { overflow-wrap: anywhere } .wide { overflow-x: auto }
tr.paper td { border-top: 2px solid #222; font-style: italic }
h2 { margin-top: 2.5rem } svg { max-width: 100%; height: auto } .warn { color: #a33 }
@media print {
  @page { size: landscape } body { max-width: none } .wide { overflow: visible } h2 { break-after: avoid }
  svg, tr { break-inside: avoid } .wide table { font-size: 10px } .wide th, .wide td { padding: .15rem .3rem }
  th:first-child, td.note { min-width: 0 }
}
"""


def page(report: Report, plots: Iterable[str]) -> str:
    """The whole page.

    Args:
        report: what it shows.
        plots: SVG each; nothing stands for one that could not be drawn.
    """
    head = "".join(f"<th>{escape(heading)}</th>" for heading in HEADINGS)
    body = "".join(_row(cells(line)) for line in report.lines) + _row(paper_cells(), "paper")
    about_it = "".join(
        f"<tr><th>{escape(what)}</th><td>{escape(said)}</td></tr>" for what, said in facts(report).items()
    )
    drawn = "".join(plot or "<p class=warn>A plot could not be drawn.</p>" for plot in plots)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Ablation study</title>'
        f"<style>{_STYLE}</style></head><body><h1>Ablation study</h1>"
        "<p>Ways of telling good pictures from defective ones, learnt and tested on the same splits.</p>"
        f'<table class="facts">{about_it}</table>'
        f"<h2>Figures</h2><ul>{_items(about(report))}</ul>"
        '<div class="wide" role="region" aria-label="Figures" tabindex="0">'  # keys reach what must be scrolled to
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f"<h2>What the figures mean</h2><ul>{_items(definitions(report))}</ul>"
        "<h2>Plots</h2><p>Dots are means; bars reach a standard deviation to either side, within 0 and 1. "
        f"Times are on a logarithmic axis.</p>{drawn}"
        f"{_unreadable(report)}</body></html>\n"
    )


def _items(sentences: Sequence[str]) -> str:
    return "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)


def _unreadable(report: Report) -> str:
    if not report.unreadable:
        return ""
    return f"<h2>Files that could not be read</h2><ul>{_items([f'{x.name}: {x.why}' for x in report.unreadable])}</ul>"


def _row(texts: tuple[str, ...], kind: str = "") -> str:
    *figures, note = texts
    inner = "".join(f"<td>{escape(text)}</td>" for text in figures) + f'<td class="note">{escape(note)}</td>'
    return f'<tr class="{kind}">{inner}</tr>' if kind else f"<tr>{inner}</tr>"
