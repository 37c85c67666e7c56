# The paper's tables, at the configured data, scale and seeds.


localrules:
    claims,
    contrasts,
    describe,
    front,
    table3,
    metrics,
    published_audit,
    rates,
    table,


rule describe:
    output:
        "results/tables/table3.csv",
    log:
        "logs/tables/describe.log",
    conda:
        "../envs/environment.yaml"
    params:
        settings=settings.model_dump_json(include={"data", "scale", "tasks"}),
        presets=lambda w: [
            str(settings.task(task.name).preset(settings.data, settings.scale))
            for task in tasks().values()
            if task.published_as
        ],
        code=fingerprint("ssc/describe.py", "ssc/runs.py", "ssc/models", "config/matrix.yaml"),
    message:
        "The backbones, as they are built"
    shell:
        "python -m ssc describe {output} --settings {params.settings:q} > {log} 2>&1"


rule table3:
    input:
        "results/tables/table3.csv",
    output:
        markdown="results/tables/table3.md",
        html=report(
            "results/tables/table3.html",
            caption="captions/table3.rst",
            category="Tables",
            labels={"table": "table3"},
        ),
        latex="results/tables/table3.tex",
    log:
        "logs/tables/table3.log",
    conda:
        "../envs/environment.yaml"
    params:
        code=RESULTS_CODE,
    message:
        "table3"
    script:
        "../workflow_scripts/table3.py"


rule claims:
    input:
        scores=lambda w: scores_of(claims_runs(w.task)),
        records=lambda w: [f"{run.folder}/run.json" for run in claims_runs(w.task)],
        published=local("ssc/results/published.csv"),
    output:
        csv="results/tables/claims_{task}.csv",
        markdown="results/tables/claims_{task}.md",
        html=report(
            "results/tables/claims_{task}.html",
            caption="captions/claims.rst",
            category="Tables",
            labels={"table": "claims_{task}"},
        ),
        latex="results/tables/claims_{task}.tex",
    log:
        "logs/tables/claims_{task}.log",
    wildcard_constraints:
        task="|".join(task for task in tasks() if matrix.claims(task)),
    conda:
        "../envs/environment.yaml"
    params:
        spec=lambda w: {
            "data": settings.data,
            "scale": settings.scale,
            "runs": [run.key for run in claims_runs(w.task)],
            "claims": str(matrix.claims(w.task)),
            "code": RESULTS_CODE,
        },
    message:
        "The paper's claims on the task {wildcards.task}"
    script:
        "../workflow_scripts/claims.py"


rule metrics:
    input:
        TABLES,
    output:
        "results/metrics.json",
    log:
        "logs/metrics.log",
    conda:
        "../envs/environment.yaml"
    params:
        code=fingerprint("workflow_scripts/metrics.py"),
    message:
        "Overall means for `dvc metrics`"
    script:
        "../workflow_scripts/metrics.py"


rule published_audit:
    input:
        published=local("ssc/results/published.csv"),
    output:
        "results/tables/published_audit.csv",
    log:
        "logs/tables/published_audit.log",
    conda:
        "../envs/environment.yaml"
    params:
        code=fingerprint("ssc/results/audit.py", "config/matrix.yaml"),
    message:
        "Contradictions inside the printed tables"
    script:
        "../workflow_scripts/published_audit.py"


rule table:
    input:
        scores=lambda w: scores_of(table_runs(w.table)),
        records=lambda w: [f"{run.folder}/run.json" for run in table_runs(w.table)],
        settings=lambda w: [f"{run.folder}/settings.json" for run in table_runs(w.table) if not run.external],
        published=local("ssc/results/published.csv"),
    output:
        csv="results/tables/{table}.csv",
        markdown="results/tables/{table}.md",
        html=report(
            "results/tables/{table}.html", caption="captions/table.rst", category="Tables", labels={"table": "{table}"}
        ),
        latex="results/tables/{table}.tex",
    log:
        "logs/tables/{table}.log",
    conda:
        "../envs/environment.yaml"
    params:
        spec=table_spec,
    message:
        "{wildcards.table}"
    script:
        "../workflow_scripts/table.py"


rule contrasts:
    input:
        scores=lambda w: scores_of(table_runs(w.table)),
        records=lambda w: [f"{run.folder}/run.json" for run in table_runs(w.table)],
    output:
        csv="results/tables/contrasts_{table}.csv",
        markdown="results/tables/contrasts_{table}.md",
        html=report(
            "results/tables/contrasts_{table}.html",
            caption="captions/contrasts.rst",
            category="Tables",
            labels={"table": "contrasts_{table}"},
        ),
        latex="results/tables/contrasts_{table}.tex",
    log:
        "logs/tables/contrasts_{table}.log",
    wildcard_constraints:
        table="|".join(table.name for table in matrix.tables().values() if table.contrasts),
    conda:
        "../envs/environment.yaml"
    params:
        spec=table_spec,
    message:
        "Contrasts of {wildcards.table}, and their verdicts"
    script:
        "../workflow_scripts/contrasts.py"


rule rates:
    input:
        scores=lambda w: [f"{run.predictions('validation')}/scores.csv" for run in rates_runs(w.task)],
        records=lambda w: [f"{run.folder}/run.json" for run in rates_runs(w.task)],
    output:
        csv="results/tables/rates_{task}.csv",
        markdown="results/tables/rates_{task}.md",
        html=report(
            "results/tables/rates_{task}.html",
            caption="captions/rates.rst",
            category="Tables",
            labels={"table": "rates"},
        ),
        latex="results/tables/rates_{task}.tex",
    log:
        "logs/tables/rates_{task}.log",
    wildcard_constraints:
        task="|".join(matrix.rates()),
    conda:
        "../envs/environment.yaml"
    params:
        spec=lambda w: {
            "runs": [run.key for run in rates_runs(w.task)],
            "methods": matrix.rates()[w.task],
            "code": drawn_by(w.task),
        },
    message:
        "Learning rates, chosen on the development split of the task {wildcards.task}"
    script:
        "../workflow_scripts/rates.py"


rule front:
    input:
        tables=[f"results/tables/{tasks()[name].main_table}.csv" for name in ("abdomen", "heart")],
        figures=[f"results/figures/means_{tasks()[name].main_table}.png" for name in ("abdomen", "heart")],
    output:
        "results/figures/front.html",
    log:
        "logs/tables/front.log",
    conda:
        "../envs/environment.yaml"
    params:
        code=RESULTS_CODE,
    message:
        "The report's first page"
    script:
        "../workflow_scripts/front.py"
