"""The paper's claims on a task, and what our runs say: CSV, Markdown, HTML, LaTeX."""

from ssc import matrix
from ssc.errors import logged
from ssc.results import claims, rendering

with logged(snakemake.log[0]):
    task = snakemake.wildcards.task
    rows = claims.judge(task, [matrix.Run.from_key(key) for key in snakemake.params.spec["runs"]])
    rows.to_csv(snakemake.output.csv, index=False, lineterminator="\n")
    rendering.write(snakemake.output, claims.page(task, rows))
