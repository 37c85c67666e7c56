"""The paper's claims on a task, and what our runs say: CSV, Markdown, HTML, LaTeX."""

from ssc import matrix
from ssc.jobs import job
from ssc.results import claims, rendering

with job(snakemake) as (_, made):
    task = snakemake.wildcards.task
    rows = claims.judge(task, [matrix.Run.from_key(key) for key in snakemake.params.spec["runs"]])
    rows.to_csv(made.csv, index=False, lineterminator="\n")
    rendering.write(made, claims.page(task, rows))
