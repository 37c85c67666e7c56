"""Training curves of all variants of a task, on its first split."""

from ssc import matrix
from ssc.results.figures import save, training_curves

spec = snakemake.params.spec
runs = [matrix.Run.from_key(key) for key in spec["runs"]]
first = [run for run in runs if (run.split, run.seed) == (runs[0].split, runs[0].seed)]
save(training_curves(first, f"{spec['data']} data, {spec['scale']} scale"), snakemake.output)
