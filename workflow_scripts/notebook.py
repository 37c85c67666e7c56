"""The notebook of the abdominal task, executed."""

from pathlib import Path

from ssc import matrix
from ssc.results.notebooks import abdomen, execute

runs = [matrix.Run.from_key(key) for key in snakemake.params.spec["runs"]]
execute(abdomen(runs), Path(snakemake.output[0]))
