"""The first page of Snakemake's report: the headline tables and their figures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ssc import matrix
from ssc.results import rendering, tables


def front(names: Sequence[str], results: Path = Path("results")) -> str:
    """Of every table the means on the scans' own grid, and their figure, as HTML to be put into a page."""
    parts = []
    for name in names:
        table = matrix.tables()[name]
        page = tables.page(table, tables.read_table(results / f"tables/{name}.csv"))
        text = rendering.html_page(replace(page, sections=page.sections[:1]))
        picture = base64.b64encode((results / f"figures/means_{name}.png").read_bytes()).decode()
        parts.append(text.split("<body>")[1].split("</body>")[0])
        parts.append(f'<img alt="overall means of {name}" src="data:image/png;base64,{picture}">')
    return "\n".join(parts)


def trainings(results: Path = Path("results")) -> dict[str, int]:
    """How many trainings lie here, where a first page does: what Snakemake's report lists there, and opens it for."""
    if not (results / "figures/front.html").is_file():
        return {}
    return {"trainings in this folder": len(list(results.glob("runs/*/*/*/*/*/*/weights.safetensors")))}
