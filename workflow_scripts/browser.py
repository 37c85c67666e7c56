"""The results browser: a page of all results that are here."""

from pathlib import Path

from ssc.jobs import job
from ssc.results.browser import write_browser

with job(snakemake) as (_, made):
    write_browser(Path(made.page), Path(made.files), snakemake.params.scans)
