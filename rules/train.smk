# One settings file and one training a run of the matrix.


localrules:
    settings,


rule settings:
    output:
        "results/runs/{key}/settings.json",
    log:
        "logs/settings/{key}.log",
    conda:
        "../envs/environment.yaml"
    params:
        settings=lambda w: run_settings(settings, run_of(w)).model_dump_json(indent=1),
    shell:
        "printf '%s\\n' {params.settings:q} > {output} 2> {log}"


rule train:
    input:
        "results/runs/{key}/settings.json",
        lambda w: case_manifests(run_of(w)),
        lambda w: case_files(run_of(w)),
        imagenet=imagenet_file,
        loading=lambda w: (
            [] if run_settings(settings, run_of(w)).init == "random" else local("ssc/models/pretrained.py")
        ),
    output:
        weights="results/runs/{key}/weights.safetensors",
        history="results/runs/{key}/history.csv",
        record="results/runs/{key}/run.json",
    log:
        "logs/train/{key}.log",
    benchmark:
        "logs/train/{key}.tsv"
    conda:
        "../envs/environment.yaml"
    threads: job_threads
    resources:
        gpu=GPUS_A_JOB,
        real_threads=real_threads,
    params:
        home=home,
        unpack=unpack,
        imagenet=lambda w, input: (
            f" --imagenet {shlex.quote(os.path.abspath(input.imagenet))}" if input.imagenet else ""
        ),
        state=lambda w, input: shlex.quote(os.path.abspath(settings.state)),
    message:
        "Train {wildcards.key}"
    shell:
        "(cd {params.home} && {params.unpack}python -m ssc train results/runs/{wildcards.key}{params.imagenet}"
        " --state {params.state} --threads {resources.real_threads}) > {log} 2>&1"
