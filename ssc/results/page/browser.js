// The results browser. `results` is what data.js holds; volumes and large libraries are loaded when they are needed.
"use strict";

const byId = (id) => document.getElementById(id);
const columns = (names) => Object.fromEntries(names.map((name, i) => [name, i]));
const unique = (values) => [...new Set(values)];
const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
const metric = (name) => results.metrics.find((found) => found.name === name);
const text = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const label = (method) => results.methods[method];
const files = document.currentScript.src.replace(/[^/]*$/, "");
const SCORE = columns(results.scores.columns);

// ---- the address: everything that is shown stands in it ----------------------------------------------------------

const address = () => new URLSearchParams(location.hash.slice(1));

function go(changes, keep = true) {
  const wanted = keep ? address() : new URLSearchParams();
  for (const [name, value] of Object.entries(changes)) wanted.set(name, value);
  location.hash = wanted;
}

// The address changes without another look at the page.
function note(changes) {
  const wanted = address();
  for (const [name, value] of Object.entries(changes)) wanted.set(name, value);
  history.replaceState(null, "", `#${wanted}`);
}

// ---- what is loaded when it is needed ------------------------------------------------------------------------------

const scripts = {};
const script = (name) =>
  (scripts[name] ??= new Promise((done, failed) => {
    const failing = () => failed(new Error(`${name} is not beside the page: was it copied without its folder?`));
    document.head.append(make("script", { src: files + name, onload: done, onerror: failing }));
  }));

const volumes = {};
const loaded = (name, content) => (volumes[name] = content); // called by the volumes' scripts
globalThis.loaded = loaded;

// ---- rows of scores -------------------------------------------------------------------------------------------------

// The results of single cases that fit: {run, modality, case, structure, status, value}.
function scoresOf({ fits, modality, structures, grid, column }) {
  return results.scores.rows
    .filter(
      (row) =>
        row[SCORE.grid] === grid &&
        (modality === null || row[SCORE.modality] === modality) &&
        (structures === null || structures.includes(row[SCORE.structure])) &&
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

// Results a case and run: the mean over its structures that have a value.
function meansOf(scores) {
  const groups = Map.groupBy(scores, (score) => `${score.run.key} ${score.modality} ${score.case}`);
  return [...groups.values()].map((group) => ({
    ...group[0],
    value: mean(group.map((score) => score.value).filter((value) => value !== null)),
    missed: group.filter((score) => score.status === "missed").map((score) => score.structure),
  }));
}

const caseName = (run, modality, id) => [run.data, run.scale, run.task, modality, id].join("/");
const patient = (run, id) => results.tasks[run.task].patients[id] ?? id;
const better = (name) => (["dice", "nsd2", "nsd3", "precision", "recall"].includes(name) ? 1 : -1);
const worstFirst = (name) => (a, b) => better(name) * ((a.value ?? -Infinity * better(name)) - (b.value ?? -Infinity * better(name)));

function caseLink(score) {
  const name = caseName(score.run, score.modality, score.case);
  const words = `${score.modality.toUpperCase()} ${score.case}`;
  if (!results.volumes[name]) return words;
  return make("a", { href: `#${new URLSearchParams({ view: "cases", case: name, a: score.run.key })}` }, words);
}

function plainTable(headings, rows) {
  const line = (tag, cells) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
  return make("table", {}, make("thead", {}, line("th", headings)), make("tbody", {}, ...rows.map((row) => line("td", row))));
}

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

// ---- tables ---------------------------------------------------------------------------------------------------------

function showTables() {
  const wanted = address();
  const table = results.tables.find((found) => found.name === wanted.get("table")) ?? results.tables[0];
  if (!table) return byId("table").replaceChildren("No table is here yet: make one, e.g. make table6.");
  const at = columns(table.columns);
  const shown = wanted.get("metric") ?? "dice";
  const grid = wanted.get("grid") ?? "native";
  const beside = (wanted.get("beside") ?? "interval,paper").split(",");
  const rows = table.rows.filter((row) => row[at.metric] === shown && row[at.grid] === grid);
  const first = rows[0] ?? table.rows[0];
  byId("table-title").textContent = `${table.title} (${first[at.data]} data, ${first[at.scale]} scale)`;
  const toggled = (name) => (on) => go({ beside: on ? [...beside, name].join() : beside.filter((other) => other !== name).join() });
  byId("table-controls").replaceChildren(
    select("table", results.tables.map(({ name, title }) => [name, `${name}: ${title}`]), table.name, (name) => go({ table: name })),
    select("metric", results.metrics.map(({ name, label: words }) => [name, words]), shown, (name) => go({ metric: name })),
    select("grid", [["native", "each scan's own"], ["preprocessed", "preprocessed"]], grid, (name) => go({ grid: name })),
    ...[["interval", "95 % interval"], ["difference", `difference from ${table.labels[table.reference]}`], ["paper", "the paper's"]].map(
      ([name, words]) => box(words, beside.includes(name), toggled(name)),
    ),
  );
  drawTable(table, at, rows, shown, beside);
}

function drawTable(table, at, rows, shown, beside) {
  const places = unique(rows.map((row) => `${row[at.modality]}\n${row[at.structure]}`));
  const { structures } = results.tasks[table.task];
  const words = (place) => {
    const [modality, structure] = place.split("\n");
    if (modality === "overall") return "Overall";
    return `${modality.toUpperCase()} ${structures.find(({ name }) => name === structure)?.label ?? structure}`;
  };
  const { digits } = metric(shown);
  const cell = (row) => {
    if (!row || (row[at.mean] === null && row[at.published_mean] === null)) return "–";
    const lines = [];
    if (beside.includes("interval") && row[at.low] !== null) lines.push(`[${text(row[at.low], digits)}, ${text(row[at.high], digits)}]`);
    if (beside.includes("difference") && row[at.difference] !== null) lines.push(`Δ ${text(row[at.difference], digits)}`);
    if (beside.includes("paper") && row[at.published_mean] !== null) lines.push(`paper ${text(row[at.published_mean], digits)}`);
    const facts = `n ${row[at.n] ?? 0}, patients ${row[at.patients] ?? 0}, missed ${row[at.missed] ?? 0}`;
    const button = make("button", { title: facts, onclick: () => showCell(table, at, row, shown, words(`${row[at.modality]}\n${row[at.structure]}`)) }, text(row[at.mean], digits));
    return make("div", {}, button, ...lines.map((line) => make("small", {}, line)));
  };
  const element = make("table", {});
  byId("table").replaceChildren(element);
  byId("cell").replaceChildren();
  const methods = unique(rows.map((row) => row[at.method]));
  new DataTable(element, {
    columns: [
      { title: "Method", data: "method", render: (method, type) => (type === "display" ? make("span", {}, table.labels[method]) : table.labels[method]) },
      ...places.map((place, i) => ({
        title: words(place),
        data: `values.${i}`,
        render: (row, type) => (type === "display" ? cell(row) : (row?.[at.mean] ?? -Infinity)),
        type: "num",
      })),
    ],
    data: methods.map((method) => ({
      method,
      values: places.map((place) => rows.find((row) => row[at.method] === method && `${row[at.modality]}\n${row[at.structure]}` === place) ?? null),
    })),
    order: [],
    paging: false,
    searching: false,
    info: false,
    layout: { topStart: { buttons: [{ extend: "colvis", text: "columns" }] } },
  });
}

// The cases behind a number, worst first, and its runs.
function showCell(table, at, row, shown, words) {
  const { digits, column } = metric(shown);
  const structures = row[at.structure] === "mean" ? null : [row[at.structure]];
  const [splits, seeds] = [row[at.splits], `${row[at.seed]}`].map((listed) => (listed ?? "").split(" "));
  const fits = (run) =>
    run.method === row[at.method] && run.task === table.task && run.data === row[at.data] && run.scale === row[at.scale] && splits.includes(run.split);
  const scores = meansOf(scoresOf({ fits, modality: row[at.modality] === "overall" ? null : row[at.modality], structures, grid: row[at.grid], column }));
  scores.sort(worstFirst(shown));
  const runs = unique(scores.map((score) => score.run));
  const heading = make("h2", { tabindex: "-1" }, `${table.labels[row[at.method]]}: ${words}, ${metric(shown).label}, ${scores.length} results`);
  byId("cell").replaceChildren(
    heading,
    make(
      "div",
      { class: "scroll" },
      plainTable(
        ["case", metric(shown).label, "missed", "split", "seed"],
        scores.map((score) => [caseLink(score), text(score.value, digits), score.missed.join(", "), score.run.split, `${score.run.seed}`]),
      ),
    ),
    make("p", { class: "note" }, `seeds ${seeds.join(", ")}; in a terminal: ssc explain results/tables/${table.name}.csv --method ${row[at.method]}`),
    make("ul", {}, ...runs.map((run) => make("li", {}, runRecord(run)))),
  );
  heading.focus();
}

// ---- patients -------------------------------------------------------------------------------------------------------

const groupOf = (run) => `${run.data}/${run.scale}/${run.task}`;
const largest = (runs, name) => [...Map.groupBy(runs, name).values()].reduce((a, b) => (b.length > a.length ? b : a));

async function showPatients() {
  const wanted = address();
  const groups = unique(results.runs.map(groupOf));
  if (!groups.length) return byId("patient-controls").replaceChildren("No run is scored yet.");
  const group = groups.includes(wanted.get("group")) ? wanted.get("group") : groupOf(largest(results.runs, groupOf)[0]);
  const task = results.tasks[group.split("/")[2]];
  const shown = wanted.get("metric") ?? "dice";
  const structure = task.structures.some(({ name }) => name === wanted.get("structure")) ? wanted.get("structure") : "mean";
  byId("patient-controls").replaceChildren(
    select("results", groups.map((name) => [name, name.replaceAll("/", ", ")]), group, (name) => go({ group: name })),
    select("structure", [["mean", "mean of all"], ...task.structures.map(({ name, label: words }) => [name, words])], structure, (name) => go({ structure: name })),
    select("metric", results.metrics.map(({ name, label: words }) => [name, words]), shown, (name) => go({ metric: name })),
  );
  const fits = (run) => groupOf(run) === group;
  const scores = meansOf(scoresOf({ fits, modality: null, structures: structure === "mean" ? null : [structure], grid: "native", column: metric(shown).column }));
  const dots = patientMeans(scores);
  const outliers = outliersOf(dots, shown);
  byId("outliers").replaceChildren(
    plainTable(
      ["far below the others", "method", metric(shown).label],
      outliers.toSorted(worstFirst(shown)).map((dot) => [caseLink(dot), label(dot.run.method), text(dot.value, metric(shown).digits)]),
    ),
  );
  await script("plotly.js");
  drawPatients(task, dots, outliers, shown);
}

// A dot a patient, modality and method: the mean of its results; it keeps its worst result's run and case.
function patientMeans(scores) {
  const groups = Map.groupBy(
    scores.filter(({ value }) => value !== null),
    (score) => `${score.modality} ${patient(score.run, score.case)} ${score.run.method}`,
  );
  return [...groups.values()].map((group) => ({
    ...group.toSorted((a, b) => a.value - b.value)[0],
    value: mean(group.map(({ value }) => value)),
    count: group.length,
  }));
}

// Dots further from the quartile on the bad side than 1.5 times the quartiles' distance, of a modality and method.
function outliersOf(dots, shown) {
  const groups = Map.groupBy(dots, (dot) => `${dot.modality} ${dot.run.method}`);
  return [...groups.values()].flatMap((group) => {
    const values = group.map((dot) => better(shown) * dot.value).toSorted((a, b) => a - b);
    const quantile = (share) => {
      const place = (values.length - 1) * share;
      return values[Math.floor(place)] + (place % 1) * ((values[Math.ceil(place)] ?? 0) - values[Math.floor(place)]);
    };
    const limit = quantile(0.25) - 1.5 * (quantile(0.75) - quantile(0.25));
    return values.length < 4 ? [] : group.filter((dot) => better(shown) * dot.value < limit);
  });
}

function drawPatients(task, dots, outliers, shown) {
  const methods = Object.keys(results.methods).filter((method) => dots.some((dot) => dot.run.method === method));
  const patients = Map.groupBy(dots, (dot) => `${dot.modality} ${patient(dot.run, dot.case)}`);
  const traces = [...patients.entries()].map(([name, line]) => {
    const place = task.modalities.indexOf(line[0].modality);
    const sorted = methods.map((method) => line.find((dot) => dot.run.method === method)).filter(Boolean);
    return {
      x: sorted.map((dot) => label(dot.run.method)),
      y: sorted.map((dot) => dot.value),
      customdata: sorted.map((dot) => [caseName(dot.run, dot.modality, dot.case), dot.run.key]),
      text: sorted.map((dot) => `${name.toUpperCase()}: ${text(dot.value, metric(shown).digits)}, ${dot.count} results`),
      hovertemplate: "%{text}<extra>%{x}</extra>",
      mode: "lines+markers",
      line: { width: 0.7, color: place ? "#d55e00" : "#0072b2" },
      marker: { size: 7, symbol: place ? "diamond" : "circle" },
      opacity: 0.75,
      xaxis: `x${place + 1}`,
      yaxis: `y${place + 1}`,
      showlegend: false,
    };
  });
  const count = task.modalities.length;
  const axes = Object.fromEntries(
    task.modalities.flatMap((modality, place) => [
      [`xaxis${place + 1}`, { domain: [(place + 0.04) / count, (place + 0.96) / count], anchor: `y${place + 1}`, title: { text: modality.toUpperCase() }, gridcolor: lines(), categoryorder: "array", categoryarray: methods.map(label) }],
      [`yaxis${place + 1}`, { anchor: `x${place + 1}`, title: { text: place ? "" : metric(shown).label }, matches: place ? "y" : undefined, gridcolor: lines() }],
    ]),
  );
  const annotations = outliers.map((dot) => ({
    x: label(dot.run.method),
    y: dot.value,
    xref: `x${task.modalities.indexOf(dot.modality) + 1}`,
    yref: `y${task.modalities.indexOf(dot.modality) + 1}`,
    text: escaped(dot.case),
    showarrow: false,
    xanchor: "left",
    xshift: 7,
  }));
  const plot = byId("patient-plot");
  Plotly.react(plot, traces, { ...themed(), ...axes, annotations }, { responsive: true, displaylogo: false });
  plot.removeAllListeners?.("plotly_click");
  plot.on("plotly_click", ({ points }) => {
    const [name, key] = points[0].customdata;
    if (results.volumes[name]) go({ view: "cases", case: name, a: key }, false);
  });
}

const escaped = (words) => words.replaceAll("&", "&amp;").replaceAll("<", "&lt;"); // Plotly reads some tags

const lines = () => getComputedStyle(document.querySelector("nav a")).borderTopColor;

function themed() {
  const style = getComputedStyle(document.body);
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: style.color, family: style.fontFamily },
    margin: { l: 55, r: 10, t: 20, b: 90 },
    hovermode: "closest",
    legend: { orientation: "h", y: -0.2 },
  };
}

// ---- cases ----------------------------------------------------------------------------------------------------------

const NO_SCAN = "The scan itself is not on this page (configuration: browser: {scans: cases}).";
let viewer = null;
let current = null; // the case that is on the canvas, with its methods

async function showCases() {
  const wanted = address();
  const names = Object.keys(results.volumes);
  if (!names.length) return byId("case-note").replaceChildren("No preprocessed case is here: nothing can be shown.");
  const asked = wanted.get("case");
  const name = results.volumes[asked] ? asked : names[0];
  const runs = results.runs.filter((run) => covers(run, name));
  const a = runs.find(({ key }) => key === wanted.get("a")) ?? runs.find(({ method }) => method === "ours") ?? runs[0];
  const b = runs.find(({ key }) => key === wanted.get("b")) ?? runs.find((run) => run.method !== a.method && run.split === a.split) ?? a;
  const options = runs.map((run) => [run.key, `${label(run.method)}, ${run.split}, seed ${run.seed}`]);
  byId("case-controls").replaceChildren(
    select("case", names.map((other) => [other, other.replaceAll("/", " ")]), name, (other) => go({ case: other, slice: "" })),
    select("A", options, a.key, (key) => go({ a: key })),
    select("B", options, b.key, (key) => go({ b: key })),
    make("button", { onclick: () => step(1) }, "next worst (n)"),
    make("button", { onclick: () => step(-1) }, "one before (p)"),
  );
  note({ view: "cases", case: name, a: a.key, b: b.key });
  const said = [asked && asked !== name && `${asked} is not on this page.`, name.startsWith("real/") && !results.scans && NO_SCAN];
  byId("case-note").textContent = said.filter(Boolean).join(" ");
  showCaseScores(name, a, b);
  const key = [name, a.key, b.key].join();
  if (current?.key === key) return;
  current = { key, name, a };
  await Promise.all([script("niivue.js"), script(results.volumes[name])]);
  if (current.key === key) await drawCase(name, a, b, wanted.get("slice"));
}

function covers(run, name) {
  const [data, scale, task, modality, id] = name.split("/");
  return (
    groupOf(run) === [data, scale, task].join("/") &&
    run.modalities.includes(modality) &&
    results.scores.rows.some((row) => results.runs[row[SCORE.run]] === run && row[SCORE.modality] === modality && row[SCORE.case] === id)
  );
}

async function drawCase(name, a, b, slice) {
  const { structures } = results.tasks[name.split("/")[2]];
  const { scan, truth, maps } = volumes[name];
  byId("legend").replaceChildren(...legend(structures));
  viewer ??= new Viewer(byId("canvas"), structures, placed);
  viewer.structures = structures;
  const named = [
    { name: "truth", data: truth, key: "t", shown: false },
    { name: `A, ${label(a.method)}`, data: maps[a.key], key: "a", shown: true },
    { name: `B, ${label(b.method)}`, data: maps[b.key], key: "b", shown: false },
  ].filter((layer, i) => layer.data && (i < 2 || b !== a));
  await viewer.show(scan, named);
  if (named.length > 1) await viewer.disagreement(named[0].name, named[1].name, "d");
  if (slice) viewer.slice = +slice - 1;
  viewerControls(viewer, byId("viewer-controls"));
  byId("viewer").dataset.shown = name;
}

function placed(words) {
  byId("place").textContent = words;
  if (viewer?.layers.length && address().get("view") === "cases") note({ slice: viewer.slice + 1 });
}

// Dice and volume of every structure of a case, by both methods.
function showCaseScores(name, a, b) {
  const [, , task, modality, id] = name.split("/");
  const of = (run, column) =>
    scoresOf({ fits: (other) => other === run, modality, structures: null, grid: "native", column }).filter((score) => score.case === id);
  const rows = results.tasks[task].structures.map(({ name: structure, label: words }) => [
    words,
    ...[a, b].flatMap((run) =>
      [["dice", 1], ["volume_difference_ml", 1]].map(([column, digits]) => {
        const score = of(run, column).find((found) => found.structure === structure);
        return score?.status === "missed" && column === "dice" ? "missed" : text(score?.value, digits);
      }),
    ),
  ]);
  const headings = ["structure", ...[a, b].flatMap((run, i) => [`${"AB"[i]}: ${label(run.method)}, Dice (%)`, "volume − truth's (ml)"])];
  byId("case-scores").replaceChildren(plainTable(headings, rows));
}

// The next case of method A by its mean Dice.
function step(forward) {
  const { a, name } = current;
  const fits = (run) => run.method === a.method && groupOf(run) === groupOf(a);
  const order = meansOf(scoresOf({ fits, modality: null, structures: null, grid: "native", column: "dice" }))
    .filter((score) => results.volumes[caseName(score.run, score.modality, score.case)])
    .toSorted(worstFirst("dice"));
  const place = order.findIndex((score) => score.run === a && caseName(score.run, score.modality, score.case) === name);
  const next = order[(place + forward + order.length) % order.length];
  go({ view: "cases", case: caseName(next.run, next.modality, next.case), a: next.run.key }, false);
}

// ---- training -------------------------------------------------------------------------------------------------------

async function showTraining() {
  const wanted = address();
  const runs = results.runs.filter((run) => run.history);
  if (!runs.length) return byId("training-controls").replaceChildren("No training's history is here.");
  const first = largest(runs, (run) => `${groupOf(run)}/${run.split}`);
  const chosen = (wanted.get("runs") ?? first.map(({ key }) => key).join()).split(",");
  const shownRuns = runs.filter(({ key }) => chosen.includes(key));
  const quantities = unique(shownRuns.flatMap((run) => run.history.columns)).filter((name) => name !== "step");
  const shown = quantities.includes(wanted.get("quantity")) ? wanted.get("quantity") : "loss";
  const picker = make("select", { multiple: true, size: 6, "aria-label": "runs", onchange: (event) => go({ runs: [...event.target.selectedOptions].map(({ value }) => value).join() }) },
    ...runs.map((run) => make("option", { value: run.key, selected: chosen.includes(run.key) }, `${label(run.method)}, ${run.modalities.join("+")}, ${run.split}, seed ${run.seed}, ${run.data} ${run.scale} ${run.task}`)));
  byId("training-controls").replaceChildren(picker, select("shown", quantities.map((name) => [name, name.replaceAll("_", " ")]), shown, (name) => go({ quantity: name })));
  byId("records").replaceChildren(
    plainTable(
      ["run", "what E knows: CT rows nearest to their own in MRI, by scale (%)"],
      shownRuns.map((run) => [runRecord(run), knows(run)]),
    ),
  );
  await script("plotly.js");
  const line = (run) => {
    const at = columns(run.history.columns);
    const rows = run.history.rows.filter((row) => at[shown] !== undefined && row[at[shown]] !== null);
    return { x: rows.map((row) => row[at.step]), y: rows.map((row) => row[at[shown]]), name: escaped(`${label(run.method)} ${run.split} ${run.modalities.length > 1 ? "" : run.modalities[0]}`), mode: "lines" };
  };
  const axes = (x, y) => ({ ...themed(), xaxis: { title: { text: x }, gridcolor: lines() }, yaxis: { title: { text: y }, gridcolor: lines() } });
  Plotly.react(byId("training-plot"), shownRuns.map(line), axes("step", shown.replaceAll("_", " ")), { responsive: true, displaylogo: false });
  const modulated = shownRuns.filter((run) => run.phi);
  byId("phi-plot").hidden = !modulated.length;
  const factors = modulated.flatMap((run) => Object.entries(run.phi).map(([modality, y]) => ({ y, name: escaped(`${label(run.method)} ${run.split} ${modality}`), mode: "lines+markers" })));
  if (modulated.length) Plotly.react(byId("phi-plot"), factors, axes("residual branch, encoder first", "mean |Φ − 1|, Eq. 13"), { responsive: true, displaylogo: false });
}

const knows = (run) => (run.correspondence ? Object.values(run.correspondence).flat().map((share) => text(100 * share, 0)).join(", ") : "–");

// ---- the page -------------------------------------------------------------------------------------------------------

const VIEWS = { tables: showTables, patients: showPatients, cases: showCases, training: showTraining };

async function show() {
  const view = VIEWS[address().get("view")] ? address().get("view") : "tables";
  for (const name of Object.keys(VIEWS)) byId(name).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#view=${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  await VIEWS[view]();
  document.body.dataset.shown = view;
}

addEventListener("hashchange", show);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
document.addEventListener("keydown", (event) => {
  if (address().get("view") !== "cases" || !viewer?.layers.length) return;
  if (viewerKey(viewer, event, byId("viewer-controls"))) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  if (event.key === "n" || event.key === "p") step(event.key === "n" ? 1 : -1);
});
show();
