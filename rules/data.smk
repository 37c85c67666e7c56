# From nothing, or from the user's folders, to verified raw scans and preprocessed cases.


localrules:
    download_chaos,
    download_swin_tiny,


rule phantoms:
    output:
        directory("data/phantom/{source}"),
    log:
        "logs/phantoms/{source}.log",
    conda:
        "../envs/environment.yaml"
    threads: job_threads
    resources:
        real_threads=real_threads,
    params:
        code=PHANTOM_CODE,
    message:
        "Phantoms in the layout of {wildcards.source}"
    shell:
        "python -m ssc phantoms {wildcards.source} {output} --threads {resources.real_threads} > {log} 2>&1"


rule download_chaos:
    output:
        folder=directory("data/real/chaos"),
    log:
        "logs/download_chaos.log",
    conda:
        "../envs/environment.yaml"
    message:
        "CHAOS from zenodo.org (0.9 GB; goes on where it was stopped)"
    shell:
        "python -m ssc download chaos {output.folder} > {log} 2>&1"


rule download_swin_tiny:
    output:
        "data/weights/swin_tiny.pth",
    log:
        "logs/download_swin_tiny.log",
    conda:
        "../envs/environment.yaml"
    message:
        "ImageNet weights of Swin-T from github.com (0.1 GB; goes on where it was stopped)"
    shell:
        "python -m ssc download swin_tiny {output} > {log} 2>&1"


rule verify:
    input:
        lambda w: raw_input(w),
    output:
        "data/manifests/{data}/{source}.json",
    log:
        "logs/verify/{data}/{source}.log",
    conda:
        "../envs/environment.yaml"
    threads: job_threads
    resources:
        real_threads=real_threads,
    params:
        state=raw_state,
        folder=lambda w, input: shlex.quote(raw_folder(w.data, w.source)),
    message:
        "Verify the raw scans of {wildcards.source} in {params.folder}"
    shell:
        "python -m ssc manifest {wildcards.source} {params.folder} {output} --threads {resources.real_threads} > {log} 2>&1"


rule preprocess:
    input:
        lambda w: f"data/manifests/{w.data}/{tasks()[w.task].source(w.modality)}.json",
    output:
        "results/cases/{data}/{scale}/{task}/{modality}/manifest.json",
    log:
        "logs/preprocess/{data}/{scale}/{task}/{modality}.log",
    benchmark:
        "logs/preprocess/{data}/{scale}/{task}/{modality}.tsv"
    conda:
        "../envs/environment.yaml"
    threads: job_threads
    resources:
        real_threads=real_threads,
    params:
        settings=case_settings,
        source=lambda w: tasks()[w.task].source(w.modality),
        folder=lambda w, input: shlex.quote(raw_folder(w.data, tasks()[w.task].source(w.modality))),
        cases=lambda w, output: os.path.dirname(output[0]),
        need=lambda w: source_cases(tasks()[w.task].source(w.modality)),
    message:
        "Preprocess {wildcards.modality} ({wildcards.data}, {wildcards.scale})"
    shell:
        "python -m ssc preprocess {params.source} {params.folder} {params.cases}"
        " --settings {params.settings:q} --need {params.need:q} --threads {resources.real_threads} > {log} 2>&1"
