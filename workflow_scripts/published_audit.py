"""The printed cells that contradict each other."""

import pandas as pd

from ssc.errors import logged
from ssc.results.audit import audit

with logged(snakemake.log[0]):
    found = audit(pd.read_csv(snakemake.input.published, dtype={"table": str}))
    found.to_csv(snakemake.output[0], index=False, lineterminator="\n")
