"""The contrasts of a table and their verdicts: CSV, Markdown, HTML, LaTeX."""

from ssc import matrix
from ssc.jobs import job
from ssc.results import contrasting, rendering

with job(snakemake) as (_, made):
    table = matrix.tables()[snakemake.wildcards.table]
    rows = contrasting.judge(table, [matrix.Run.from_key(key) for key in snakemake.params.spec["runs"]])
    rows.to_csv(made.csv, index=False, lineterminator="\n")
    rendering.write(made, contrasting.page(table, rows))
