"""Every patient's difference in every contrast of a table."""

from ssc import matrix
from ssc.jobs import job
from ssc.results.figures import patients_differences, save
from ssc.results.tables import read_scores

with job(snakemake) as (_, made):
    spec = snakemake.params.spec
    scores = read_scores([matrix.Run.from_key(key) for key in spec["runs"]]).query("grid == 'native'")
    table = matrix.tables()[snakemake.wildcards.table]
    save(patients_differences(table, scores, f"{spec['data']} data, {spec['scale']} scale"), made)
