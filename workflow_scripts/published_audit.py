"""The printed cells that contradict each other."""

import pandas as pd

from ssc.jobs import job
from ssc.results.audit import audit

with job(snakemake) as (given, made):
    found = audit(pd.read_csv(given.published, dtype={"table": str}))
    found.to_csv(made[0], index=False, lineterminator="\n")
