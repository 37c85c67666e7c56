# Label maps in the scans' geometry, the scores of every case, and a picture of the median one.


localrules:
    overlay,


rule evaluate:
    input:
        weights=rules.train.output.weights,
        record=rules.train.output.record,
        settings=rules.settings.output,
        manifests=lambda w: case_manifests(run_of(w)),
        cases=lambda w: case_files(run_of(w)),
    output:
        scores="results/predictions/{key}/{part}/scores.csv",
        label_maps=made_folder("results/predictions/{key}/{part}/label_maps"),
    log:
        "logs/evaluate/{key}/{part}.log",
    benchmark:
        "logs/evaluate/{key}/{part}.tsv"
    conda:
        "../envs/environment.yaml"
    threads: job_threads
    resources:
        gpu=GPUS_A_JOB,
        real_threads=real_threads,
    params:
        home=home,
        unpack=unpack,
        pack=pack,
        spec=evaluation,
    message:
        "Segment and score {wildcards.key}, {wildcards.part} part"
    shell:
        "(cd {params.home} && {params.unpack}python -m ssc evaluate results/runs/{wildcards.key} --part {wildcards.part}"
        " --overlap {params.spec[overlap]} --threads {resources.real_threads}{params.pack}) > {log} 2>&1"


rule overlay:
    input:
        scores="results/predictions/{key}/test/scores.csv",
        label_maps=ancient(folder("results/predictions/{key}/test/label_maps")),
        manifests=lambda w: raw_manifests(run_of(w)),
        raw=lambda w: raw_of_tasks([run_of(w).task], run_of(w).data),
    output:
        png="results/predictions/{key}/test/overlay.png",
        pdf="results/predictions/{key}/test/overlay.pdf",
    log:
        "logs/overlay/{key}.log",
    conda:
        "../envs/environment.yaml"
    params:
        spec=lambda w: {"runs": {run_of(w).task: [w.key]}, "code": drawn_by(run_of(w).task)},
        raw=lambda w, input: raw_of([run_of(w).task], run_of(w).data),
    message:
        "Median case of {wildcards.key}"
    script:
        "../workflow_scripts/figure4.py"
