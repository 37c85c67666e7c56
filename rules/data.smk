# From nothing, or from the user's folders, to verified raw scans and preprocessed cases.


localrules:
    phantom_code,
    download_chaos,
    download_swin_tiny,


# A file, so that phantoms and all that comes of them follow its content: `ancient` folders would stop that.
rule phantom_code:
    output:
        "data/manifests/phantom/code",
    log:
        "logs/phantoms/code.log",
    conda:
        "../envs/environment.yaml"
    params:
        code=PHANTOM_CODE,
    shell:
        "printf '%s\\n' {params.code} > {output} 2> {log}"


rule phantoms:
    input:
        "data/manifests/phantom/code",
    output:
        made_folder("data/phantom/{source}"),
    log:
        "logs/phantoms/{source}.log",
    conda:
        "../envs/environment.yaml"
    threads: job_threads
    resources:
        real_threads=real_threads,
    params:
        home=home,
        pack=pack,
    message:
        "Phantoms in the layout of {wildcards.source}"
    shell:
        "(cd {params.home} && python -m ssc phantoms {wildcards.source} data/phantom/{wildcards.source}"
        " --threads {resources.real_threads}{params.pack}) > {log} 2>&1"


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
        raw=lambda w: raw_input(w.data, w.source),
        code=lambda w: ["data/manifests/phantom/code"] if w.data == "phantom" else [],
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
        home=home,
        unpack=unpack,
        state=raw_state,
        folder=lambda w, input: shlex.quote(raw_folder(w.data, w.source)),
    message:
        "Verify the raw scans of {wildcards.source} in {params.folder}"
    shell:
        "(cd {params.home} && {params.unpack}python -m ssc manifest {wildcards.source} {params.folder}"
        " data/manifests/{wildcards.data}/{wildcards.source}.json --threads {resources.real_threads}) > {log} 2>&1"


rule preprocess:
    input:
        lambda w: f"data/manifests/{w.data}/{tasks()[w.task].source(w.modality)}.json",
        raw=lambda w: raw_inputs(w.data, tasks()[w.task].source(w.modality)),
    output:
        manifest="results/cases/{data}/{scale}/{task}/{modality}/manifest.json",
        files=made_folder("results/cases/{data}/{scale}/{task}/{modality}/files"),
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
        home=home,
        unpack=unpack,
        pack=pack,
        need=lambda w: source_cases(tasks()[w.task].source(w.modality)),
    message:
        "Preprocess {wildcards.modality} ({wildcards.data}, {wildcards.scale})"
    shell:
        "(cd {params.home} && {params.unpack}python -m ssc preprocess {params.source} {params.folder}"
        " results/cases/{wildcards.data}/{wildcards.scale}/{wildcards.task}/{wildcards.modality}"
        " --settings {params.settings:q} --need {params.need:q} --threads {resources.real_threads}{params.pack}) > {log} 2>&1"
