"""One page of tables as Markdown, HTML and LaTeX. Knows texts only; ``**text**`` in a cell is bold in all three."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ssc.jobs import Files

BOLD = re.compile(r"\*\*(.+?)\*\*")


@dataclass(frozen=True)
class Section:
    """A frame of texts under a heading. ``prose``: the columns whose texts are sentences, and may be broken."""

    heading: str
    frame: pd.DataFrame
    prose: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """What a rendered table says: title, the line of warning, how to read it, the tables."""

    title: str
    warning: str
    caption: str
    sections: tuple[Section, ...]


def write(output: Files, page: Page) -> None:
    """As ``output.markdown``, ``output.html`` and ``output.latex``."""
    for kind, render in (("markdown", markdown), ("html", html_page), ("latex", latex)):
        Path(getattr(output, kind)).write_text(render(page), encoding="utf-8")


def number(value: float, digits: int, sign: bool = False) -> str:
    """A number as text; ``sign``: a difference, which has its plus. What rounds to zero has no sign; no number: –."""
    if value != value:
        return "–"
    rounded = round(value, digits)
    return f"{rounded or 0.0:{'+' if sign and rounded else ''}.{digits}f}"


def markdown(page: Page) -> str:
    """As Markdown."""
    parts = [f"# {page.title}", page.warning and f"**{page.warning}**", page.caption]
    for section in page.sections:
        columns = section.frame.columns
        lines = [columns, ["---"] * len(columns)]
        for row in section.frame.to_numpy():  # what is no prose stays on one line
            lines.append(
                [t if c in section.prose else t.replace(" ", "\xa0") for c, t in zip(columns, row, strict=True)]
            )
        parts += [section.heading and f"## {section.heading}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join(filter(None, parts)) + "\n"


def html_page(page: Page) -> str:
    """As one HTML page that needs nothing else."""
    parts = []
    for section in page.sections:
        parts.append(section.heading and f"<h2>{html.escape(section.heading, quote=False)}</h2>")
        kind = "prose" if section.prose else "numbers"
        parts.append(BOLD.sub(r"<b>\1</b>", section.frame.to_html(index=False, border=0, classes=kind)))
    texts = {name: html.escape(getattr(page, name), quote=False) for name in ("title", "warning", "caption")}
    return _PAGE.format(**texts, body="\n".join(filter(None, parts)))


def latex(page: Page) -> str:
    """As LaTeX (booktabs), a tabular a section; all fit on a landscape A4 page."""
    parts = ["% needs \\usepackage{booktabs}; for a landscape A4 page"]
    notes = " ".join(filter(None, [page.warning, page.caption]))
    for section in page.sections:
        frame = section.frame.map(_latex_text).rename(columns=_latex_text)
        layout = "".join("p{6cm}" if column in section.prose else "l" for column in section.frame.columns)
        caption = ". ".join(filter(None, [page.title, section.heading])) + (f". {notes}" if notes else "")
        text = frame.style.hide(axis="index").to_latex(
            hrules=True, column_format=layout, caption=_latex_text(caption), position="htbp"
        )
        parts.append(text)
        notes = ""  # once is enough
    return "\n".join(parts) + "\n"


LATEX = {
    "{": r"\{", "}": r"\}",  # before those that bring braces of their own
    "%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "±": r"$\pm$", "†": r"$^\dagger$", "–": "--", "…": r"\ldots{}",
    "×": r"$\times$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "τ": r"$\tau$", "−": "$-$",
}  # fmt: skip


def _latex_text(text: str) -> str:
    for character, command in LATEX.items():
        text = text.replace(character, command)
    return BOLD.sub(r"\\textbf{\1}", text)


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head><body>
<style>
.ssc {{ font: 15px/1.45 "Times New Roman", Georgia, serif; margin: 1.5em; max-width: 60em; }}
.ssc, .ssc table {{ color: #111; background: #fff; }}
.ssc table {{ border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; font: inherit; }}
.ssc th, .ssc td {{ padding: .2em .6em; text-align: left; vertical-align: top; border: 0; background: none; }}
.ssc table.numbers th, .ssc table.numbers td {{ white-space: nowrap; }}
.ssc thead th {{ border-bottom: 1px solid; }}
.ssc h2 {{ font-size: 1.1em; margin: 1.8em 0 .4em; }}
.ssc .warning {{ background: #fff3cd; border: 1px solid #d9b44a; padding: .5em .8em; font-weight: bold; }}
.ssc .warning:empty {{ display: none; }}
</style>
<main class="ssc">
<h1>{title}</h1>
<p class="warning">{warning}</p>
<p>{caption}</p>
{body}
</main>
</body></html>
"""
