# The paper's figures, at the configured data, scale and seeds.


localrules:
    diagram,
    figure4,
    figure5,
    means,
    patients_differences,
    pictured_cases,
    curves,
    learned_figure,


rule diagram:
    input:
        table3="results/tables/table3.csv",
    output:
        pdf="results/figures/figure{number}.pdf",
        png=report(
            "results/figures/figure{number}.png",
            caption="captions/diagram.rst",
            category="Figures",
            labels={"figure": "Figure {number}"},
        ),
    log:
        "logs/figures/figure{number}.log",
    wildcard_constraints:
        number="[123]",
    conda:
        "../envs/environment.yaml"
    params:
        code=RESULTS_CODE,
    message:
        "Figure {wildcards.number}"
    script:
        "../workflow_scripts/diagram.py"


rule figure4:
    input:
        scores=lambda w: [f"{r.predictions('test')}/scores.csv" for t in tasks_of(w.half) for r in main_runs(t)],
        label_maps=lambda w: [
            ancient(folder(f"{r.predictions('test')}/label_maps")) for t in tasks_of(w.half) for r in main_runs(t)
        ],
        manifests=lambda w: [m for t in tasks_of(w.half) for r in main_runs(t) for m in raw_manifests(r)],
        raw=lambda w: raw_of_tasks(tasks_of(w.half)),
    output:
        pdf="results/figures/figure4{half}.pdf",
        png=report(
            "results/figures/figure4{half}.png",
            caption="captions/figure4.rst",
            category="Figures",
            labels=lambda w: {"figure": f"Figure 4{w.half.replace('_', ', ')}"},
        ),
    log:
        "logs/figures/figure4{half}.log",
    wildcard_constraints:
        half="|".join(["", *(f"_{task}" for task in tasks())]),
    conda:
        "../envs/environment.yaml"
    params:
        spec=figure4_spec,
        raw=lambda w, input: raw_of(tasks_of(w.half)),
    message:
        "Figure 4{wildcards.half}"
    script:
        "../workflow_scripts/figure4.py"


rule figure5:
    input:
        table="results/tables/tau.csv",
        scores=lambda w: [f"{run.predictions('test')}/scores.csv" for run in table_runs("tau")],
    output:
        pdf="results/figures/figure5.pdf",
        png=report(
            "results/figures/figure5.png",
            caption="captions/figure5.rst",
            category="Figures",
            labels={"figure": "Figure 5"},
        ),
    log:
        "logs/figures/figure5.log",
    conda:
        "../envs/environment.yaml"
    params:
        spec=lambda w: {
            "data": settings.data,
            "scale": settings.scale,
            "tau": settings.losses.tau,
            "runs": [run.key for run in table_runs("tau")],
            "code": RESULTS_CODE,
        },
    message:
        "Figure 5"
    script:
        "../workflow_scripts/figure5.py"


rule means:
    input:
        lambda w: [f"results/tables/{table}.csv" for table in w.tables.split("+")],
    output:
        pdf="results/figures/means_{tables}.pdf",
        png=report(
            "results/figures/means_{tables}.png",
            caption="captions/means.rst",
            category="Figures",
            labels={"figure": "overall means, {tables}"},
        ),
    log:
        "logs/figures/means_{tables}.log",
    wildcard_constraints:
        tables=r"\w+(\+\w+)*",
    conda:
        "../envs/environment.yaml"
    params:
        code=RESULTS_CODE,
    message:
        "Overall means of {wildcards.tables}"
    script:
        "../workflow_scripts/means.py"


rule patients_differences:
    input:
        lambda w: scores_of(table_runs(w.table)),
    output:
        pdf="results/figures/contrasts_{table}.pdf",
        png=report(
            "results/figures/contrasts_{table}.png",
            caption="captions/patients_differences.rst",
            category="Figures",
            labels={"figure": "contrasts of {table}"},
        ),
    log:
        "logs/figures/contrasts_{table}.log",
    wildcard_constraints:
        table="|".join(table.name for table in matrix.tables().values() if table.contrasts),
    conda:
        "../envs/environment.yaml"
    params:
        spec=table_spec,
    message:
        "Every patient's difference in every contrast of {wildcards.table}"
    script:
        "../workflow_scripts/patients_differences.py"


rule pictured_cases:
    input:
        scores=lambda w: scores_of(table_runs(w.table)),
        label_maps=lambda w: [
            ancient(folder(f"{run.predictions('test')}/label_maps")) for run in table_runs(w.table) if not run.external
        ],
        manifests=lambda w: sorted({m for run in table_runs(w.table) for m in raw_manifests(run)}),
        raw=lambda w: raw_of_tasks([matrix.tables()[w.table].task]),
    output:
        pdf="results/figures/cases_{table}.pdf",
        png=report(
            "results/figures/cases_{table}.png",
            caption="captions/pictured_cases.rst",
            category="Figures",
            labels={"figure": "cases of {table}"},
        ),
    log:
        "logs/figures/cases_{table}.log",
    wildcard_constraints:
        table="|".join(table.name for table in matrix.tables().values() if table.pictured),
    conda:
        "../envs/environment.yaml"
    params:
        spec=table_spec,
        raw=lambda w, input: raw_of([matrix.tables()[w.table].task]),
    message:
        "Cases of {wildcards.table}, one by one"
    script:
        "../workflow_scripts/pictured_cases.py"


rule curves:
    input:
        lambda w: [f"{run.folder}/history.csv" for run in main_runs(w.task)],
    output:
        csv="results/figures/curves_{task}.csv",
        pdf="results/figures/curves_{task}.pdf",
        png=report(
            "results/figures/curves_{task}.png",
            caption="captions/curves.rst",
            category="Figures",
            labels={"figure": "training curves, {task}"},
        ),
    log:
        "logs/figures/curves_{task}.log",
    conda:
        "../envs/environment.yaml"
    params:
        spec=lambda w: {
            "data": settings.data_of(w.task),
            "scale": settings.scale,
            "runs": [run.key for run in main_runs(w.task)],
            "code": RESULTS_CODE,
        },
    message:
        "Training curves of {wildcards.task}"
    script:
        "../workflow_scripts/curves.py"


rule learned:
    input:
        weights="results/runs/{key}/weights.safetensors",
        record="results/runs/{key}/run.json",
        settings="results/runs/{key}/settings.json",
        manifests=lambda w: case_manifests(run_of(w)),
        cases=lambda w: case_files(run_of(w)),
    output:
        "results/learned/{key}.npz",
    log:
        "logs/learned/{key}.log",
    conda:
        "../envs/environment.yaml"
    threads: job_threads
    resources:
        real_threads=real_threads,
    params:
        home=home,
        unpack=unpack,
        code=fingerprint("ssc/learned.py"),
    message:
        "What {wildcards.key} has learned"
    shell:
        "(cd {params.home} && {params.unpack}python -m ssc learned results/runs/{wildcards.key} results/learned/{wildcards.key}.npz"
        " --threads {resources.real_threads}) > {log} 2>&1"


rule learned_figure:
    input:
        arrays=lambda w: f"results/learned/{first_of_ours(w.task).key}.npz",
        history=lambda w: f"{first_of_ours(w.task).folder}/history.csv",
        record=lambda w: f"{first_of_ours(w.task).folder}/run.json",
    output:
        pdf="results/figures/learned_{task}.pdf",
        png=report(
            "results/figures/learned_{task}.png",
            caption="captions/learned.rst",
            category="Figures",
            labels={"figure": "what Ours has learned, {task}"},
        ),
    log:
        "logs/figures/learned_{task}.log",
    conda:
        "../envs/environment.yaml"
    params:
        spec=lambda w: {
            "data": settings.data,
            "scale": settings.scale,
            "run": first_of_ours(w.task).key,
            "code": RESULTS_CODE,
        },
    message:
        "What Ours has learned of {wildcards.task}"
    script:
        "../workflow_scripts/learned.py"
