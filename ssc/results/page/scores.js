// What `results` (data.js) holds, as the views ask for it: scores of single results, their means, names, records.
"use strict";

const columns = (names) => Object.fromEntries(names.map((name, i) => [name, i]));
const unique = (values) => [...new Set(values)];
const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
const metric = (name) => results.metrics.find((found) => found.name === name) ?? results.metrics[0];
const label = (method) => results.methods[method] ?? method;
const SCORE = columns(results.scores.columns);

// A number as the drawn tables have it: what rounds to zero has no sign, a difference has its plus, none is a dash.
function text(value, digits, sign = false) {
  if (value === null || value === undefined) return "–";
  const rounded = value.toFixed(digits).replace(/^-(0(\.0*)?)$/, "$1");
  return (sign && +rounded > 0 ? "+" : "") + rounded;
}

// ---- scores ---------------------------------------------------------------------------------------------------------

// The results that fit in which the structure is in the scan: {run, modality, case, structure, status, value}.
function scoresOf({ fits, modality = null, structure = "mean", grid = "native", column }) {
  return results.scores.rows
    .filter(
      (row) =>
        row[SCORE.grid] === grid &&
        ["found", "missed"].includes(row[SCORE.status]) &&
        (modality === null || row[SCORE.modality] === modality) &&
        (structure === "mean" || row[SCORE.structure] === structure) &&
        fits(results.runs[row[SCORE.run]]),
    )
    .map((row) => ({
      run: results.runs[row[SCORE.run]],
      modality: row[SCORE.modality],
      case: row[SCORE.case],
      structure: row[SCORE.structure],
      status: row[SCORE.status],
      value: row[SCORE[column]],
    }));
}

// One value a result: the mean over its structures that have one; and the structures that were missed.
function meansOf(scores) {
  const groups = Map.groupBy(scores, (score) => `${score.run.key} ${score.modality} ${score.case}`);
  return [...groups.values()].map((group) => ({
    ...group[0],
    value: mean(group.map((score) => score.value).filter((value) => value !== null)),
    missed: group.filter((score) => score.status === "missed").map((score) => score.structure),
  }));
}

// How bad a result is by a metric. Where a missed structure has no value, nothing is worse than missing one.
function badness(name, { value, missed }) {
  if (value === null || (missed.length && ["asd", "hd95", "precision"].includes(name))) return Infinity;
  if (["dice", "nsd2", "nsd3", "recall", "precision"].includes(name)) return -value;
  return Math.abs(value);
}

const worstFirst = (name) => (a, b) => {
  const [first, second] = [badness(name, a), badness(name, b)];
  return first === second ? 0 : second - first;
};

// Which runs a table rests on, as a filter.
function runsOf(table) {
  const at = columns(table.columns);
  const rows = table.rows.filter((row) => row[at.splits]);
  const words = (name) => unique(rows.flatMap((row) => `${row[at[name]]}`.split(" ")));
  const [splits, seeds, methods] = [words("splits"), words("seed"), unique(rows.map((row) => row[at.method]))];
  const [data, scale] = rows.length ? [rows[0][at.data], rows[0][at.scale]] : [null, null];
  return (run) =>
    [run.task, run.data, run.scale].join() === [table.task, data, scale].join() &&
    splits.includes(run.split) &&
    seeds.includes(`${run.seed}`) &&
    methods.includes(run.method);
}

// ---- names ----------------------------------------------------------------------------------------------------------

const groupOf = (run) => `${run.data}/${run.scale}/${run.task}`;
const caseName = (score) => [groupOf(score.run), score.modality, score.case].join("/");
const patient = (score) => results.tasks[score.run.task].patients[score.case] ?? score.case;
const runName = (run) => `${label(run.method)}, ${run.split}, seed ${run.seed}`;

// For what reads HTML out of a text: Plotly in places, DataTables in headings.
const escaped = (words) => words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function runRecord(run) {
  const facts = [
    run.commit && `commit ${run.commit}`,
    run.steps && `${run.steps} steps`,
    run.seconds && `${Math.round(run.seconds)} s`,
    run.parameters && `${run.parameters.toLocaleString("en")} parameters`,
    run.device,
    run.init && `start ${run.init}`,
  ];
  return `${run.key}: ${facts.filter(Boolean).join(", ") || "no record"}`;
}

Object.assign(globalThis, { SCORE, columns, unique, mean, metric, label, text, scoresOf, meansOf, badness, worstFirst });
Object.assign(globalThis, { runsOf, groupOf, caseName, patient, runName, escaped, runRecord });
