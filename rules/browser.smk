# One page to look at whatever results are here. It trains nothing: no result is its input.
import hashlib


localrules:
    browser,


def browser_state(wildcards):
    """A digest of every file that decides what the page shows, by size and time, so that a change draws it anew."""
    from ssc.results.browser import Found

    if STORED:
        raise WorkflowError("the browser shows results in this folder: fetch them from the storage first")
    states = {str(path): path.stat() for path in Found.below(Path("results")).files(Path("results"))}
    text = "".join(f"{path} {state.st_size} {state.st_mtime_ns}\n" for path, state in states.items())
    return hashlib.sha256(text.encode()).hexdigest()


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
