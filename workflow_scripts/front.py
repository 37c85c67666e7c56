"""The first page of Snakemake's report: headline tables and figures."""

from pathlib import Path

from ssc.jobs import job
from ssc.results.front import front

with job(snakemake) as (given, made):
    Path(made[0]).write_text(front([Path(path).stem for path in given.tables]), "utf-8")
