# Notebooks, generated and executed; they read the results by relative path.


rule notebook:
    input:
        table="results/tables/table6.csv",
        figure="results/figures/figure4_abdomen.png",
        histories=[f"{run.folder}/history.csv" for run in table_runs("table6")],
        scores=[f"{run.predictions('test')}/scores.csv" for run in table_runs("table6")],
    output:
        "results/notebooks/abdomen.ipynb",
    log:
        "logs/notebooks/abdomen.log",
    conda:
        "../envs/environment.yaml"
    params:
        spec={
            "data": settings.data,
            "scale": settings.scale,
            "code": fingerprint("ssc/results/notebooks.py"),
            "runs": [run.key for run in table_runs("table6")],
        },
    message:
        "Notebook of the abdominal task"
    script:
        "../workflow_scripts/notebook.py"
