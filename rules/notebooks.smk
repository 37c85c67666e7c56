# Notebooks, generated and executed; they read the results by relative path.


localrules:
    task_notebook,
    contrasts_notebook,
    method_notebook,


rule task_notebook:
    input:
        table=lambda w: f"results/tables/{tasks()[w.task].main_table}.csv",
        page=lambda w: f"results/tables/{tasks()[w.task].main_table}.html",
        figure="results/figures/figure4_{task}.png",
        histories=lambda w: [f"{run.folder}/history.csv" for run in main_runs(w.task)],
        scores=lambda w: [f"{run.predictions('test')}/scores.csv" for run in main_runs(w.task)],
    output:
        "results/notebooks/{task}.ipynb",
    log:
        "logs/notebooks/{task}.log",
    conda:
        "../envs/environment.yaml"
    params:
        spec=lambda w: {
            "data": settings.data,
            "scale": settings.scale,
            "code": fingerprint(
                "ssc/results/notebooks.py", "ssc/results/tables.py", "ssc/results/rendering.py", "config/matrix.yaml"
            ),
            "runs": [run.key for run in main_runs(w.task)],
        },
    message:
        "Notebook of the task {wildcards.task}"
    script:
        "../workflow_scripts/notebook.py"


rule contrasts_notebook:
    input:
        scores=lambda w: scores_of(table_runs(w.table)),
        records=lambda w: [f"{run.folder}/run.json" for run in table_runs(w.table)],
        table="results/tables/{table}.html",
        contrasts=expand("results/tables/contrasts_{{table}}.{kind}", kind=["csv", "html"]),
    output:
        "results/notebooks/contrasts_{table}.ipynb",
    log:
        "logs/notebooks/contrasts_{table}.log",
    wildcard_constraints:
        table="|".join(table.name for table in matrix.tables().values() if table.contrasts),
    conda:
        "../envs/environment.yaml"
    params:
        spec=lambda w: {
            **table_spec(w),
            "seeds": settings.seeds,
            "folds": settings.folds,
        },
    message:
        "Notebook of the contrasts of {wildcards.table}"
    script:
        "../workflow_scripts/contrasts_notebook.py"


rule method_notebook:
    input:
        expand("results/figures/figure{number}.png", number=[1, 2, 3, 5]),
        expand("results/figures/learned_{task}.png", task=["abdomen", "heart"]),
        lambda w: [f"results/learned/{first_of_ours(task).key}.npz" for task in tasks_of("")],
        lambda w: [f"{first_of_ours(task).folder}/history.csv" for task in tasks_of("")],
        "results/tables/table3.csv",
        "results/tables/published_audit.csv",
    output:
        "results/notebooks/method.ipynb",
    log:
        "logs/notebooks/method.log",
    conda:
        "../envs/environment.yaml"
    params:
        spec=lambda w: {
            "data": settings.data,
            "scale": settings.scale,
            "code": fingerprint(
                "ssc/results/notebooks.py", "ssc/results/tables.py", "ssc/results/rendering.py", "config/matrix.yaml"
            ),
            "runs": [first_of_ours(task).key for task in tasks_of("")],
        },
    message:
        "Notebook of the method"
    script:
        "../workflow_scripts/notebook.py"
