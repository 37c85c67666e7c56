"""The abdominal half of Figure 4 as PDF and PNG."""

from ssc import matrix
from ssc.results.figures import figure4

runs = [matrix.Run.from_key(key) for key in snakemake.params.spec["runs"]]
figure = figure4(runs, matrix.tasks()["abdomen"], snakemake.params.raw)
figure.savefig(snakemake.output.pdf, metadata={"CreationDate": None})
figure.savefig(snakemake.output.png, dpi=150)
