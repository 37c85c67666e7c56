# The paper's tables, at the configured data, scale and seeds.


rule table:
    input:
        scores=lambda w: [f"{run.predictions('test')}/scores.csv" for run in table_runs(w.table)],
        records=lambda w: [f"{run.folder}/run.json" for run in table_runs(w.table)],
        published="ssc/results/published.csv",
    output:
        csv="results/tables/{table}.csv",
        markdown="results/tables/{table}.md",
        html="results/tables/{table}.html",
        latex="results/tables/{table}.tex",
    log:
        "logs/tables/{table}.log",
    conda:
        "../envs/environment.yaml"
    params:
        spec=lambda w: {
            "data": settings.data,
            "scale": settings.scale,
            "runs": [run.key for run in table_runs(w.table)],
            "table": str(matrix.tables()[w.table]),
            "code": fingerprint("ssc/results", "ssc/statistics.py", "config/matrix.yaml"),
        },
    message:
        "{wildcards.table}"
    script:
        "../workflow_scripts/table.py"
