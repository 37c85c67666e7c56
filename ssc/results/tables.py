"""The paper's tables: a tidy CSV, and the page that readers see. No torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ssc import matrix
from ssc.errors import RunError
from ssc.results.rendering import Page, Section, number
from ssc.statistics import (
    METRICS,
    add_difference_intervals,
    add_differences,
    add_first_shares,
    add_intervals,
    add_lowest,
    add_seed_spread,
    add_verdicts,
    summarise,
)
from ssc.tasks import Task, tasks

PUBLISHED = Path(__file__).with_name("published.csv")
ARROWS = {"dice": "Dice (%) ↑", "asd": "Average symmetric surface distance (mm) ↓"}
DIGITS = {"dice": 1, "asd": 2}
MORE_DIGITS = {
    "nsd2": ("NSD 2 mm (%)", 1), "nsd3": ("NSD 3 mm (%)", 1), "hd95": ("HD95 (mm)", 1),
    "volume": ("Volume − truth's (ml)", 1), "volume_abs": ("its size (ml)", 1), "precision": ("Precision (%)", 1),
    "recall": ("Recall (%)", 1),
}  # fmt: skip
TRAINING = ["parameters", "steps", "seconds_a_step", "learning_rate"]
GRIDS = {"native": "each scan's own grid", "preprocessed": "the preprocessed grid"}
BOXES = {
    "image": "Test cases are cut out around the scan's centre; the label map takes no part. ",
    "paper": "Test cases are cut out around their label maps, as the paper's predecessors did. ",
}


def warning(data: str, *tasks: Task) -> str:
    """The line that stands above everything that shows results of these tasks."""
    if data == "phantom":
        return "PHANTOM DATA: synthetic scans. These numbers test the software and say nothing about patients."
    scans = ", ".join(task.source(modality) for task in tasks for modality in task.modalities)
    return f"Real scans: {scans}. Not for clinical use."


def read_table(path: Path) -> pd.DataFrame:
    """A table's CSV; what looks like a number and is none stays text."""
    return pd.read_csv(path, dtype=dict.fromkeys(["seed", "commit", "worst_case"], str))


def read_scores(
    runs: Sequence[matrix.Run], results: Path = Path("results"), part: Literal["test", "validation"] = "test"
) -> pd.DataFrame:
    """The scores of all runs, with method, split and configured seed. ``results``: the folder of predictions/.

    Raises RunError for a file without one of its run's modalities.
    """
    frames = []
    for run in runs:
        path = results / run.predictions(part).relative_to("results") / "scores.csv"
        own = pd.read_csv(path, dtype={"case": str})
        if absent := set(run.modalities) - set(own["modality"]):
            raise RunError(f"{path}: no scores of {', '.join(sorted(absent))}; expected those of every modality")
        frames.append(own.assign(method=run.variant, split=run.split, seed=run.configured_seed))
    scores, patients = pd.concat(frames, ignore_index=True), tasks()[runs[0].task].patients
    return scores.assign(patient=scores["case"].map(lambda case: patients.get(case, case)))


def tidy(table: matrix.Table, runs: Sequence[matrix.Run]) -> pd.DataFrame:
    """The table as rows of one number each, with the paper's beside ours.

    Literature, and methods of which there is no run, have rows with the paper's numbers alone. Raises RunError where
    the runs differ in what a table's runs must share.
    """
    structures = [structure.name for structure in tasks()[table.task].structures]
    scores = read_scores(runs)
    rows = add_differences(summarise(scores, table.trained, structures), table.reference)
    rows = add_difference_intervals(add_intervals(rows, scores), scores, table.reference)
    if not table.contrasts:  # else contrasts_TABLE judges them, the one family that was fixed beforehand
        rows = add_verdicts(rows, scores, table.reference, train_cases(runs))
    rows = add_first_shares(rows, scores)
    rows = add_lowest(add_seed_spread(rows, scores, table.trained, structures), scores)
    published = pd.read_csv(PUBLISHED, dtype={"table": str}).query("table == @table.published")
    place = ["method", "modality", "structure", "metric"]
    numbers = {name: f"published_{name}" for name in ("mean", "std", "difference")}
    published = published[[*place, *numbers]].rename(columns=numbers)
    literature = _literature(rows, published[published["method"].isin(set(table.methods) - set(scores["method"]))])
    rows = pd.concat([rows.merge(published, on=place, how="left"), literature], ignore_index=True)
    rows = rows.merge(_correspondence(runs), on="method", how="left").merge(_training(runs), on="method", how="left")
    rows = rows.assign(**provenance(runs))
    columns = [
        *place,
        "mean",
        "low",
        "high",
        "interval",
        "std",
        "lower_quartile",
        "worst",
        "worst_case",
        "std_over_seeds",
        "n",
        "patients",
        "difference",
        "difference_low",
        "difference_high",
        "p",
        "p_sign_flip",
        "p_nadeau_bengio",
        "verdict",
        "rule",
        "first",
        "correspondence",
        *TRAINING,
        *numbers.values(),
    ]
    counts = ["missed", "absent", "false_positive"]
    last = ["asd_common", "grid", "data", "scale", "splits", "seed", "init", "box", "commit"]
    rows = rows.reindex(columns=[*columns, *counts, *last])  # no verdicts where contrasts_TABLE has them
    rows = rows.astype(dict.fromkeys(["n", "patients", "parameters", "steps", *counts], "Int64"))
    return rounded(rows)


def rounded(rows: pd.DataFrame, digits: int = 4) -> pd.DataFrame:
    """So many decimals; p-values as they are, which may be smaller."""
    return rows.round(
        {name: digits for name in rows.select_dtypes("float") if name != "p" and not name.startswith("p_")}
    )


def train_cases(runs: Sequence[matrix.Run]) -> float:
    """Training cases of a split, of all modalities; the mean over the splits of some runs."""
    splits = {run.split: tasks()[run.task].splits[run.split] for run in runs}
    counts = [sum(len(parts["train"]) for parts in split.values()) for split in splits.values()]
    return sum(counts) / len(counts)


def _literature(rows: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """The printed numbers of methods that we do not train, on every grid of our rows."""
    places = rows[["grid", "metric", "modality", "structure"]].drop_duplicates()
    methods = published[["method"]].drop_duplicates()
    return places.merge(methods, how="cross").merge(published, how="left")


def _correspondence(runs: Sequence[matrix.Run]) -> pd.DataFrame:
    """What the correlations E of each method know of the classes, a map at a time: means over its runs, as text."""
    records = [(run.variant, _record(run).get("correspondence")) for run in runs if not run.external]
    shares: dict[str, list[list[float]]] = {}
    for method, found in records:
        if found:
            shares.setdefault(method, []).append(found)
    texts = {m: " ".join(f"{sum(s) / len(s):.3f}" for s in zip(*of, strict=True)) for m, of in shares.items()}
    return pd.DataFrame({"method": list(texts), "correspondence": list(texts.values())}, dtype="str")


def _training(runs: Sequence[matrix.Run]) -> pd.DataFrame:
    """What each method's training took: parameters of all networks of a split, steps, seconds a step, rate at its peak.

    The first split's, but the seconds, which are the mean over all runs.
    """
    rows = []
    for run in (run for run in runs if not run.external):
        record, chosen = _record(run), json.loads((run.folder / "settings.json").read_text("utf-8"))
        took = record["seconds"] / record["steps"]
        rows.append((run.variant, run.split, run.seed, record["parameters"], record["steps"], took, _rate(chosen)))
    found = pd.DataFrame(rows, columns=["method", "split", "seed", *TRAINING])
    seconds = found.groupby("method")["seconds_a_step"].mean()
    networks = found.groupby(["method", "split", "seed"], sort=False)  # one, or one a modality
    first = networks.agg({"parameters": "sum", "steps": "first", "learning_rate": "first"}).reset_index()
    first = first.drop_duplicates("method").drop(columns=["split", "seed"])
    return first.assign(seconds_a_step=first["method"].map(seconds))


def _rate(settings: dict[str, Any]) -> float:
    """Of a run's settings.json, also of format 2."""
    return settings["optimiser"]["learning_rate"] if "optimiser" in settings else settings["learning_rate"]


def _record(run: matrix.Run) -> dict[str, Any]:
    return json.loads((run.folder / "run.json").read_text("utf-8"))


def provenance(runs: Sequence[matrix.Run]) -> dict[str, str]:
    """Data, scale, splits, seeds, commits of the runs; initialisation and box, which all trained ones must share."""
    trained = {run: _record(run) for run in runs if not run.external}
    shared = {
        "init": _starts({run: record["init"] for run, record in trained.items()}),
        "box": {arguments["box"] for record in trained.values() for arguments in record["preprocessing"].values()},
    }
    for name, values in shared.items():
        if len(values) > 1:
            raise RunError(f"the runs of a table must share {name}, found {' and '.join(sorted(values))}: run again")
    return {
        "data": runs[0].data,
        "scale": runs[0].scale,
        "splits": " ".join(dict.fromkeys(run.split for run in runs)),
        "seed": " ".join(sorted({str(run.configured_seed) for run in runs})),
        **{name: "".join(values) for name, values in shared.items()},  # none where all methods are external
        "commit": " ".join(sorted({record["commit"] for record in trained.values()})),
    }


def _starts(init: dict[matrix.Run, str]) -> set[str]:
    """How runs began, in the table's words: more than one where they differ and need not.

    At random beside ImageNet is right for a backbone that no checkpoint fits; such methods are named.
    """
    fits = {run: matrix.variants()[run.variant].backbone_row(tasks()[run.task]).imagenet is not None for run in init}
    others = sorted({matrix.variants()[run.variant].label for run in init if init[run] == "random" and not fits[run]})
    starts = {start for run, start in init.items() if start != "random" or fits[run]}
    if starts == {"imagenet"} and others:
        return {f"imagenet (random: {', '.join(others)})"}
    return starts or set(init.values())


def page(table: matrix.Table, rows: pd.DataFrame) -> Page:
    """The table for readers: of every grid and metric the means beside the paper's, the differences, the structures."""
    sections = []
    for (grid, metric), block in rows[rows["metric"].isin(METRICS)].groupby(["grid", "metric"], sort=False):
        where = f"{ARROWS[metric]}, on {GRIDS[grid]}"
        means, structures = block[block["structure"] == "mean"], block[block["structure"] != "mean"]
        sections.append(Section(where, _frame(table, means, _mean)))
        others = means[means["method"] != table.reference]
        if others["difference"].notna().any():
            heading = f"{where}: difference to {label_of(table, table.reference)}"
            sections.append(Section(heading, _frame(table, others, _difference, best=False)))
        for modality, part in structures.groupby("modality", sort=False):
            sections.append(Section(f"{where}: {modality.upper()}", _frame(table, part, _structure)))
    sections += _known(table, rows)
    sections += _took(table, rows)
    means = rows[(rows["grid"] == "native") & (rows["structure"] == "mean")]
    sections += [*_low(table, means), *_more(table, means)]
    return Page(_title(table), _warning(table, rows), _caption(table, rows), tuple(sections))


def _known(table: matrix.Table, rows: pd.DataFrame) -> list[Section]:
    """What the correlations E know, where a method has any."""
    known = rows.dropna(subset="correspondence").drop_duplicates("method").set_index("method")["correspondence"]
    if known.empty:
        return []
    chance = 100 / (len(tasks()[table.task].structures) + 1)
    shares = {method: [number(100 * float(x), 0) for x in text.split()] for method, text in known.items()}
    frame = pd.DataFrame(
        [[label_of(table, m), *shares[m]] for m in table.methods if m in shares],
        columns=["Method", *(f"map {i}" for i in range(1, 1 + len(next(iter(shares.values())))))],
    )
    heading = (
        "Classes whose row of E is nearest to its own in the other modality (%), "
        f"by the decoder's maps, coarse to fine; chance {number(chance, 0)}"
    )
    return [Section(heading, frame)]


def _took(table: matrix.Table, rows: pd.DataFrame) -> list[Section]:
    """What each method's training took."""
    if "parameters" not in rows or rows["parameters"].isna().all():
        return []
    took = rows.dropna(subset="parameters").drop_duplicates("method").set_index("method")
    frame = pd.DataFrame(
        {
            "Method": label_of(table, method),
            "parameters": f"{took['parameters'][method] / 1e6:.2f} M",
            "steps": f"{took['steps'][method]}",
            "a step": f"{1000 * took['seconds_a_step'][method]:.0f} ms",
            "a training": f"{took['steps'][method] * took['seconds_a_step'][method] / 60:.1f} min",
            "peak learning rate": f"{took['learning_rate'][method]:g}",
        }
        for method in table.methods
        if method in took.index
    )
    return [
        Section("What training took, all networks of a method together in parameters; times are the machine's", frame)
    ]


def _low(table: matrix.Table, means: pd.DataFrame) -> list[Section]:
    """How low the Dice of single results is."""
    dice = means[(means["metric"] == "dice") & means["mean"].notna()].set_index(["method", "modality"])
    if "worst" not in dice or dice["worst"].isna().all():
        return []
    methods = [method for method in table.methods if method in dice.index]
    columns = {"Method": [label_of(table, method) for method in methods]}
    for modality in tasks()[table.task].modalities:
        rows = [row for _, row in dice.reindex([(m, modality) for m in methods]).iterrows()]
        columns[f"{modality.upper()}, lower quartile"] = [number(row["lower_quartile"], 1) for row in rows]
        columns[f"{modality.upper()}, worst (case)"] = [_worst(row) for row in rows]
    return [
        Section(
            f"Dice (%) of single results, means over structures, on {GRIDS['native']}: how low it is",
            pd.DataFrame(columns),
        )
    ]


def _worst(row: pd.Series) -> str:
    return "–" if pd.isna(row["worst"]) else f"{number(row['worst'], 1)} ({row['worst_case']})"


def _more(table: matrix.Table, means: pd.DataFrame) -> list[Section]:
    """Further metrics of each modality, means over structures, on the scans' own grid."""
    ours = means[means["mean"].notna()]
    wide = ours.pivot(index="method", columns=["modality", "metric"], values="mean")
    methods, sections = [method for method in table.methods if method in wide.index], []
    for modality in tasks()[table.task].modalities:
        shown = [metric for metric in MORE_DIGITS if (modality, metric) in wide.columns]
        if not shown:  # scores of an older version
            continue
        columns = {"Method": [label_of(table, method) for method in methods]}
        for metric in shown:
            name, digits = MORE_DIGITS[metric]
            values = wide.loc[methods, (modality, metric)]
            columns[name] = [number(value, digits, sign=metric == "volume") for value in values]
        heading = f"Further metrics, means over structures, on {GRIDS['native']}: {modality.upper()}"
        sections.append(Section(heading, pd.DataFrame(columns)))
    return sections


def table3(rows: pd.DataFrame) -> Page:
    """One line a row of Table 3: each backbone as built, the paper's entry in brackets."""
    first = rows.iloc[0]
    cells = rows["ours"].astype(str) + rows["printed"].map(lambda printed: f" [{printed}]" if printed else "")
    wide = rows.assign(cell=cells).pivot(index="row", columns="backbone", values="cell").loc[rows["row"].unique()]
    frame = wide.rename_axis(index=None, columns=None).fillna("").reset_index(names="")
    title = f"Table 3: the backbones at {first['scale']} scale, {first['data']} data; in brackets: printed"
    return Page(title, "", "", (Section("", frame),))


def _title(table: matrix.Table) -> str:
    return f"Table {table.published}: {table.title}" if table.published else f"{table.title} (not in the paper)"


def _warning(table: matrix.Table, rows: pd.DataFrame) -> str:
    return f"{warning(rows['data'].iloc[0], tasks()[table.task])} Scale: {rows['scale'].iloc[0]}."


def _caption(table: matrix.Table, rows: pd.DataFrame) -> str:
    single = rows[(rows["structure"] != "mean") & (rows["grid"] == "native")]
    counted = [
        (modality.upper(), group["n"].max(), group["patients"].max())
        for modality, group in single.groupby("modality", sort=False)
    ]
    counts = ", ".join(f"{n} {modality} results of {patients} {_people(rows)}" for modality, n, patients in counted)
    results = f"{pooled(table, rows['splits'].iloc[0].split())} ({counts})"
    missed = (
        "† and a number: so many results in which the structure was missed; they count as Dice 0 and have "
        "no surface distance (a mean is over the structures that have one), so compare asd_common in the CSV. "
        if rows["missed"].gt(0).any()
        else ""
    )
    printed = "paper: the printed number. " if rows["published_mean"].notna().any() else ""
    box = BOXES.get(rows["box"].iloc[0], "")
    return (
        f"Test results of {results}. Means over structures: {_spread_name(rows)}{_interval_name(rows)}; "
        f"single structures: mean±standard deviation over results. Bold: the best of a column. {printed}"
        f"{_tests(table, rows)} {missed}{box}"
        f"Seeds {rows['seed'].iloc[0]}, initialisation {rows['init'].iloc[0]}, commit {rows['commit'].iloc[0]}."
    )


def pooled(table: matrix.Table, splits: Sequence[str]) -> str:
    """Which of a table's splits its results come from, and how often a case is tested, in words."""
    whole = len(splits) == len(table.draws)
    if len(splits) == 1:
        return "one split" if whole else f"{splits[0]} of {len(table.draws)} splits"
    of_task = tasks()[table.task].splits
    tested = Counter((m, case) for split in splits for m, parts in of_task[split].items() for case in parts["test"])
    count = f"{len(splits)}" if whole else f"{len(splits)} of {len(table.draws)}"
    if len(set(tested.values())) > 1:
        return f"{count} draws pooled, which overlap"
    often = tested.most_common(1)[0][1]
    return f"{count} splits pooled, each test case in {often} of them"


def described(rows: pd.DataFrame) -> str:
    """Data, scale and what the intervals of a table's rows are, for a figure of them."""
    first = rows.iloc[0]
    bars = f"; 95 % over {_people(rows)}" if (rows["interval"] == "t").any() else ""
    return f"{first['data']} data, {first['scale']} scale{bars}"


def people(data: str) -> str:
    """Whom scans of this data show."""
    return "phantoms" if data == "phantom" else "patients"


def _people(rows: pd.DataFrame) -> str:
    return people(rows["data"].iloc[0])


def _spread_name(rows: pd.DataFrame) -> str:
    return "± their standard deviation over seeds, then " if rows["std_over_seeds"].notna().any() else ""


def _interval_name(rows: pd.DataFrame) -> str:
    return f"[low, high], 95 % by t over {_people(rows)}" if (rows["interval"] == "t").any() else "no interval"


def _tests(table: matrix.Table, rows: pd.DataFrame) -> str:
    """What a verdict rests on."""
    if table.contrasts:
        return f"Verdicts stand in contrasts_{table.name}."
    rules = rows["rule"].dropna().unique()
    if not len(rules):
        return ""
    return (
        f"Verdicts on the overall Dice on the scans' own grid, p Holm-corrected over the table's differences, by "
        f"{rules[0]}; other columns are not judged."
    )


def label_of(table: matrix.Table, method: str) -> str:
    """A method's name as the paper's table prints it, else as the matrix has it."""
    printed = pd.read_csv(PUBLISHED, dtype={"table": str}).query("table == @table.published and method == @method")
    return printed["label"].iloc[0] if len(printed) else matrix.variants()[method].label


Cell = Callable[[pd.Series], str]


def _frame(table: matrix.Table, rows: pd.DataFrame, cell: Cell, best: bool = True) -> pd.DataFrame:
    """A line a method, a column a modality's mean or a structure, the paper's number beside it where one is printed."""
    task = tasks()[table.task]
    names = {modality: modality.upper() for modality in task.modalities} | {"overall": "Overall"}
    labels = {structure.name: structure.label for structure in task.structures}
    methods = [method for method in table.methods if method in set(rows["method"])]
    columns = {"Method": [label_of(table, method) for method in methods]}
    for (modality, structure), part in rows.groupby(["modality", "structure"], sort=False):
        part = part.set_index("method", drop=False).reindex(methods)
        name = labels.get(structure, names[modality])
        columns[name] = _emphasised(part, part.apply(cell, axis=1), "mean", best)
        if rows["published_mean"].notna().any():
            printed = part.apply(_printed_difference if cell is _difference else _printed, axis=1)
            columns[f"paper\u200b{name}"] = _emphasised(part, printed, "published_mean", best)
    return pd.DataFrame(columns).rename(columns=lambda name: name.partition("\u200b")[0])


def _emphasised(part: pd.DataFrame, texts: pd.Series, column: str, best: bool) -> list[str]:
    """The texts of a column, in bold the best, however many methods share it; none where all do."""
    metric = part["metric"].dropna().iloc[0]
    values = part[column].astype(float).round(DIGITS[metric])
    if not best or values.nunique() < 2:
        return list(texts)
    top = values.max() if metric == "dice" else values.min()
    return [f"**{text}**" if value == top else text for text, value in zip(texts, values, strict=True)]


def _mean(row: pd.Series) -> str:
    """A mean of means: its spread over seeds if there are several, and its interval."""
    if pd.isna(row["mean"]):
        return "–"
    digits = DIGITS[row["metric"]]
    seeds = f"±{number(row['std_over_seeds'], digits)}" if pd.notna(row["std_over_seeds"]) else ""
    return f"{number(row['mean'], digits)}{seeds}{_between(row, 'low', 'high')}"


def _difference(row: pd.Series) -> str:
    """Difference to the reference, its interval, and the verdict where there is one."""
    if pd.isna(row["difference"]):
        return "–"
    verdict = f", {row['verdict']}" if pd.notna(row["verdict"]) else ""
    p = f" (p {row['p']:.2g})" if pd.notna(row["p"]) else ""
    between = _between(row, "difference_low", "difference_high", sign=True)
    return f"{number(row['difference'], DIGITS[row['metric']], sign=True)}{between}{verdict}{p}"


def _between(row: pd.Series, low: str, high: str, sign: bool = False) -> str:
    """[low, high]; one decimal is enough."""
    return "" if pd.isna(row[low]) else f" [{', '.join(number(row[name], 1, sign) for name in (low, high))}]"


def _structure(row: pd.Series) -> str:
    if pd.isna(row["mean"]):
        return f"–{_missed(row)}"
    digits = DIGITS[row["metric"]]
    spread = number(row["std"], 1 if row["std"] < 10 else 0)  # keeps the table within a page's width
    return f"{number(row['mean'], digits)}±{spread}{_missed(row)}"


def _printed(row: pd.Series) -> str:
    return "–" if pd.isna(row["published_mean"]) else number(row["published_mean"], DIGITS[row["metric"]])


def _printed_difference(row: pd.Series) -> str:
    value = row["published_difference"]
    return "–" if pd.isna(value) else number(value, DIGITS[row["metric"]], sign=True)


def _missed(row: pd.Series) -> str:
    return f"†{row['missed']}" if pd.notna(row["missed"]) and row["missed"] else ""
