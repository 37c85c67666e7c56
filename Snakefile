from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/notebooks.smk"
include: "rules/browser.smk"


if Path("results/figures/front.html").is_file():

    report: "rules/captions/workflow.rst"


rule all:
    default_target: True
    input:
        TABLES,
        "results/metrics.json",
        "results/tables/table3.html",
        "results/tables/published_audit.csv",
        expand("results/tables/claims_{task}.html", task=["heart", "abdomen"]),
        expand("results/figures/figure{number}.pdf", number=[1, 2, 3, 4, 5]),
        expand("results/figures/{kind}_{task}.pdf", kind=["curves", "learned"], task=["heart", "abdomen"]),
        "results/figures/front.html",
        expand("results/notebooks/{name}.ipynb", name=["abdomen", "heart", "method"]),
