"""The printed cells that contradict each other."""

import pandas as pd

from ssc.results.audit import audit

found = audit(pd.read_csv(snakemake.input.published, dtype={"table": str}))
found.to_csv(snakemake.output[0], index=False, lineterminator="\n")
