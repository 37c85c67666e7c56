# The paper's figures, at the configured data, scale and seeds.


rule figure4:
    input:
        scores=lambda w: [f"{run.predictions('test')}/scores.csv" for run in table_runs("table6")],
        manifests=[f"data/{settings.data}/{source}.json" for source in matrix.tasks()["abdomen"].modalities.values()],
    output:
        pdf="results/figures/figure4_abdomen.pdf",
        png="results/figures/figure4_abdomen.png",
    log:
        "logs/figures/figure4_abdomen.log",
    conda:
        "../envs/environment.yaml"
    params:
        spec={
            "data": settings.data,
            "scale": settings.scale,
            "runs": [run.key for run in table_runs("table6")],
            "code": fingerprint("ssc/results", "ssc/statistics.py", "config/matrix.yaml"),
        },
        raw=lambda w, input: {m: raw_folder(settings.data, s) for m, s in matrix.tasks()["abdomen"].modalities.items()},
    message:
        "Figure 4, abdominal half"
    script:
        "../workflow_scripts/figure4.py"
