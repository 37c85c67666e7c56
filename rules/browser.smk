# One page to look at whatever results are here. It trains nothing: no result is its input.


localrules:
    browser,


rule browser:
    output:
        page="results/browser/index.html",
        files=directory("results/browser/files"),
    log:
        "logs/browser.log",
    conda:
        "../envs/environment.yaml"
    params:
        scans=settings.browser.scans,
        found=browser_state,
        code=RESULTS_CODE,
    message:
        "A page of all results"
    script:
        "../workflow_scripts/browser.py"
