// The results browser: four views of `results`; what is shown stands in the address.
"use strict";

const byId = (id) => document.getElementById(id);
const files = document.currentScript.src.replace(/[^/]*$/, "");

// ---- the address ----------------------------------------------------------------------------------------------------

const address = () => new URLSearchParams(location.hash.slice(1));

function changed(changes) {
  const wanted = address();
  for (const [name, value] of Object.entries(changes)) wanted.set(name, value);
  return `#${wanted}`;
}

const go = (changes) => (location.hash = changed(changes));
const note = (changes) => history.replaceState(null, "", changed(changes)); // without another look at the page

// One of some names that the address may ask for, else the first.
const asked = (name, known) => (known.includes(address().get(name)) ? address().get(name) : known[0]);

// ---- what is loaded when it is needed -------------------------------------------------------------------------------

const scripts = {};

function script(name) {
  scripts[name] ??= new Promise((done, failed) => {
    const failing = () => {
      delete scripts[name];
      failed(new Error(`${name} is not beside the page: was it copied without its folder?`));
    };
    document.head.append(make("script", { src: files + name, onload: done, onerror: failing }));
  });
  return scripts[name];
}

const volumes = new Map();
globalThis.loaded = (name, content) => volumes.set(name, content); // called by the volumes' scripts

// ---- parts of views -------------------------------------------------------------------------------------------------

function plainTable(headings, rows) {
  const line = (tag, cells) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
  return make("table", {}, make("thead", {}, line("th", headings)), make("tbody", {}, ...rows.map((row) => line("td", row))));
}

function caseLink(score) {
  const words = `${score.modality.toUpperCase()} ${score.case}`;
  if (!Object.hasOwn(results.volumes, caseName(score))) return words;
  return make("a", { href: `#${new URLSearchParams({ view: "cases", case: caseName(score), a: score.run.key })}` }, words);
}

const selectTable = (table) =>
  select("table", results.tables.map(({ name, title }) => [name, `${name}: ${title}`]), table.name, (name) => go({ table: name }));

const selectMetric = (shown) =>
  select("metric", results.metrics.map(({ name, label: words }) => [name, words]), shown, (name) => go({ metric: name }));

const tableAsked = () => results.tables.find(({ name }) => name === asked("table", results.tables.map((table) => table.name)));
const metricAsked = () => asked("metric", results.metrics.map(({ name }) => name));

// ---- tables ---------------------------------------------------------------------------------------------------------

function showTables() {
  const table = tableAsked();
  if (!table) return byId("table").replaceChildren("No table is here yet: make one, e.g. make table6.");
  const at = columns(table.columns);
  const [shown, grid] = [metricAsked(), asked("grid", ["native", "preprocessed"])];
  const beside = (address().get("beside") ?? "interval,paper").split(",");
  const rows = table.rows.filter((row) => row[at.metric] === shown && row[at.grid] === grid);
  const [first] = table.rows.filter((row) => row[at.data]);
  byId("table-title").textContent = `${table.title} (${first[at.data]} data, ${first[at.scale]} scale)`;
  const toggled = (name) => (on) => go({ beside: on ? [...beside, name].join() : beside.filter((other) => other !== name).join() });
  byId("table-controls").replaceChildren(
    selectTable(table),
    selectMetric(shown),
    select("grid", [["native", "each scan's own"], ["preprocessed", "preprocessed"]], grid, (name) => go({ grid: name })),
    box("95 % interval", beside.includes("interval"), toggled("interval")),
    box(`difference from ${table.labels[table.reference]}`, beside.includes("difference"), toggled("difference")),
    box("the paper's", beside.includes("paper"), toggled("paper")),
  );
  drawTable(table, rows, shown, beside);
}

function drawTable(table, rows, shown, beside) {
  const at = columns(table.columns);
  const placeOf = (row) => `${row[at.modality]}\n${row[at.structure]}`;
  const places = unique(rows.map(placeOf));
  const element = make("table", {});
  byId("table").replaceChildren(element);
  byId("cell").replaceChildren();
  const named = (method, type) => (type === "display" ? make("span", {}, table.labels[method]) : table.labels[method]);
  const shownAs = (row, type) => (type === "display" ? cellOf(table, row, shown, beside) : (row?.[at.mean] ?? -Infinity));
  new DataTable(element, {
    columns: [
      { title: "Method", data: "method", render: named },
      ...places.map((place, i) => ({ title: escaped(headingOf(table, ...place.split("\n"))), data: `values.${i}`, render: shownAs, type: "num" })),
    ],
    data: unique(rows.map((row) => row[at.method])).map((method) => ({
      method,
      values: places.map((place) => rows.find((row) => row[at.method] === method && placeOf(row) === place) ?? null),
    })),
    order: [],
    paging: false,
    searching: false,
    info: false,
    layout: { topStart: { buttons: [{ extend: "colvis", text: "columns" }] } },
  });
}

function headingOf(table, modality, structure) {
  if (modality === "overall") return "Overall";
  const found = results.tasks[table.task].structures.find(({ name }) => name === structure);
  return `${modality.toUpperCase()} ${found?.label ?? structure}`;
}

// A number, what was asked for beside it, and how many results lack the structure.
function cellOf(table, row, shown, beside) {
  const at = columns(table.columns);
  if (!row || (row[at.mean] === null && row[at.published_mean] === null)) return "–";
  const { digits } = metric(shown);
  const value = (name, sign = false) => text(row[at[name]], digits, sign);
  const range = (low, high, sign) => (row[at[low]] === null ? "" : `[${value(low, sign)}, ${value(high, sign)}]`);
  const lines = [
    beside.includes("interval") && range("low", "high"),
    beside.includes("difference") && row[at.difference] !== null && `Δ ${value("difference", true)} ${range("difference_low", "difference_high", true)}`,
    beside.includes("difference") && row[at.verdict],
    beside.includes("paper") && row[at.published_mean] !== null && `paper ${value("published_mean")}`,
    row[at.missed] > 0 && `† ${row[at.missed]} missed`,
  ];
  const title = `n ${row[at.n] ?? 0}, patients ${row[at.patients] ?? 0}, missed ${row[at.missed] ?? 0}`;
  const button = make("button", { title, onclick: () => showCell(table, row, shown) }, value("mean"));
  return make("div", {}, button, ...lines.filter(Boolean).map((line) => make("small", {}, line)));
}

// The cases behind a number, worst first, and its runs.
function showCell(table, row, shown) {
  const at = columns(table.columns);
  const { digits, column, label: words } = metric(shown);
  const [method, modality, structure, grid] = ["method", "modality", "structure", "grid"].map((name) => row[at[name]]);
  const listed = runsOf(table);
  const fits = (run) => run.method === method && listed(run);
  const scores = meansOf(scoresOf({ fits, modality: modality === "overall" ? null : modality, structure, grid, column }));
  scores.sort(worstFirst(shown));
  const title = `${table.labels[method]}: ${headingOf(table, modality, structure)}, ${words}, ${scores.length} results`;
  const heading = make("h2", { tabindex: "-1" }, title);
  const lines = scores.map((score) => [caseLink(score), text(score.value, digits), score.missed.join(", "), score.run.split, `${score.run.seed}`]);
  byId("cell").replaceChildren(
    heading,
    make("div", { class: "scroll" }, plainTable(["case", words, "missed", "split", "seed"], lines)),
    make("p", { class: "note" }, `In a terminal: ssc explain results/tables/${table.name}.csv --method ${method}`),
    make("ul", {}, ...unique(scores.map((score) => score.run)).map((run) => make("li", {}, runRecord(run)))),
  );
  heading.focus();
}

// ---- patients -------------------------------------------------------------------------------------------------------

async function showPatients() {
  const table = tableAsked();
  if (!table) return byId("patient-controls").replaceChildren("No table is here yet: make one, e.g. make table6.");
  const { structures } = results.tasks[table.task];
  const [shown, structure] = [metricAsked(), asked("structure", ["mean", ...structures.map(({ name }) => name)])];
  const options = [["mean", "mean of all"], ...structures.map(({ name, label: words }) => [name, words])];
  byId("patient-controls").replaceChildren(
    selectTable(table),
    select("structure", options, structure, (name) => go({ structure: name })),
    selectMetric(shown),
  );
  const scores = meansOf(scoresOf({ fits: runsOf(table), structure, column: metric(shown).column }));
  const dots = patientMeans(scores, shown);
  const outliers = outliersOf(dots, shown).toSorted(worstFirst(shown));
  byId("outliers").replaceChildren(
    plainTable(
      ["far from the others", "method", metric(shown).label],
      outliers.map((dot) => [caseLink(dot), table.labels[dot.run.method], text(dot.value, metric(shown).digits)]),
    ),
  );
  await script("plotly.js");
  drawPatients(table, dots, outliers, shown);
}

// A dot a patient, modality and method: the mean of its results; run and case are those of its worst.
function patientMeans(scores, shown) {
  const groups = Map.groupBy(
    scores.filter(({ value }) => value !== null),
    (score) => `${score.modality} ${patient(score)} ${score.run.method}`,
  );
  return [...groups.values()].map((group) => ({
    ...group.toSorted(worstFirst(shown))[0],
    value: mean(group.map(({ value }) => value)),
    count: group.length,
    missed: [],
  }));
}

// Dots beyond the quartile on the bad side by 1.5 times the quartiles' distance, of a modality and method.
function outliersOf(dots, shown) {
  const groups = Map.groupBy(dots, (dot) => `${dot.modality} ${dot.run.method}`);
  return [...groups.values()].flatMap((group) => {
    const values = group.map((dot) => badness(shown, dot)).toSorted((a, b) => a - b);
    const quantile = (share) => {
      const place = (values.length - 1) * share;
      return values[Math.floor(place)] + (place % 1) * (values[Math.ceil(place)] - values[Math.floor(place)]);
    };
    const limit = quantile(0.75) + 1.5 * (quantile(0.75) - quantile(0.25));
    return values.length < 4 ? [] : group.filter((dot) => badness(shown, dot) > limit);
  });
}

function drawPatients(table, dots, outliers, shown) {
  const { modalities } = results.tasks[table.task];
  const { digits, label: words } = metric(shown);
  const methods = Object.keys(table.labels).filter((method) => dots.some((dot) => dot.run.method === method));
  const name = (method) => escaped(table.labels[method]);
  const axis = (dot) => modalities.indexOf(dot.modality) + 1;
  const patients = Map.groupBy(dots, (dot) => `${dot.modality.toUpperCase()} ${patient(dot)}`);
  const traces = [...patients.entries()].map(([who, line]) => {
    const sorted = methods.map((method) => line.find((dot) => dot.run.method === method)).filter(Boolean);
    return {
      x: sorted.map((dot) => name(dot.run.method)),
      y: sorted.map((dot) => dot.value),
      customdata: sorted.map((dot) => [caseName(dot), dot.run.key]),
      text: sorted.map((dot) => `${escaped(who)}: ${text(dot.value, digits)}, ${dot.count} results`),
      hovertemplate: "%{text}<extra>%{x}</extra>",
      mode: "lines+markers",
      line: { width: 0.7, color: axis(line[0]) > 1 ? "#d55e00" : "#0072b2" },
      marker: { size: 7, symbol: axis(line[0]) > 1 ? "diamond" : "circle" },
      opacity: 0.75,
      xaxis: `x${axis(line[0])}`,
      yaxis: `y${axis(line[0])}`,
      showlegend: false,
    };
  });
  const named = outliers.map((dot) => ({
    x: name(dot.run.method), y: dot.value, xref: `x${axis(dot)}`, yref: `y${axis(dot)}`, text: escaped(dot.case),
    showarrow: false, xanchor: "left", xshift: 7,
  }));
  const plot = byId("patient-plot");
  const layout = { ...themed(), ...axesOf(modalities, methods.map(name), words), annotations: named };
  Plotly.react(plot, traces, layout, PLOT);
  plot.removeAllListeners?.("plotly_click");
  plot.on("plotly_click", ({ points }) => {
    const [shownCase, key] = points[0].customdata;
    if (Object.hasOwn(results.volumes, shownCase)) location.hash = new URLSearchParams({ view: "cases", case: shownCase, a: key });
  });
}

// Axes of a panel a modality, side by side, of one height.
function axesOf(modalities, names, words) {
  const count = modalities.length;
  const pairs = modalities.map((modality, place) => ({
    [`xaxis${place + 1}`]: { domain: [(place + 0.04) / count, (place + 0.96) / count], anchor: `y${place + 1}`, title: { text: escaped(modality.toUpperCase()) }, gridcolor: lines(), categoryorder: "array", categoryarray: names },
    [`yaxis${place + 1}`]: { anchor: `x${place + 1}`, title: { text: place ? "" : words }, matches: place ? "y" : undefined, gridcolor: lines() },
  }));
  return Object.assign({}, ...pairs);
}

const PLOT = { responsive: true, displaylogo: false };
const lines = () => getComputedStyle(document.querySelector("nav a")).borderTopColor;

function themed() {
  const { color, fontFamily } = getComputedStyle(document.body);
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color, family: fontFamily },
    margin: { l: 55, r: 10, t: 20, b: 90 },
    hovermode: "closest",
    legend: { orientation: "h", y: -0.2 },
  };
}

// ---- cases ----------------------------------------------------------------------------------------------------------

const NO_SCAN = "The scan itself is not on this page (configuration: browser: {scans: cases}).";
let viewer = null;
let current = null; // what was asked for last: {key, name, a, b}
let drawing = Promise.resolve(); // one case is drawn after the other

async function showCases() {
  const names = Object.keys(results.volumes);
  if (!names.length) return byId("case-note").replaceChildren("No preprocessed case is here: nothing can be shown.");
  const [wanted, name] = [address().get("case"), asked("case", names)];
  const runs = results.runs.filter((run) => covers(run, name));
  const a = runs.find(({ key }) => key === address().get("a")) ?? runs.find(({ method }) => method === "ours") ?? runs[0];
  const b = runs.find(({ key }) => key === address().get("b")) ?? runs.find((run) => run.method !== a.method && run.split === a.split) ?? a;
  const options = runs.map((run) => [run.key, runName(run)]);
  byId("case-controls").replaceChildren(
    select("case", names.map((other) => [other, other.replaceAll("/", " ")]), name, (other) => go({ case: other, slice: "" })),
    select("A", options, a.key, (key) => go({ a: key })),
    select("B", options, b.key, (key) => go({ b: key })),
    make("button", { "data-name": "next", onclick: () => step(1) }, "next worst (n)"),
    make("button", { "data-name": "before", onclick: () => step(-1) }, "one before (p)"),
  );
  const slice = address().get("slice");
  note({ view: "cases", case: name, a: a.key, b: b.key });
  byId("case-note").textContent = wanted && wanted !== name ? `${wanted} is not on this page.` : "";
  showCaseScores(name, a, b);
  const key = [name, a.key, b.key].join();
  if (current?.key === key) return slice && viewer?.layers.length ? (viewer.slice = +slice - 1) : null;
  current = { key, name, a, b };
  drawing = drawing.catch(() => null).then(() => (current?.key === key ? drawCase(name, a, b, slice) : null));
  await drawing;
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
  byId("viewer").hidden = true;
  try {
    await Promise.all([script("niivue.js"), script(results.volumes[name])]);
    byId("viewer").hidden = false; // a canvas of no size can't be drawn on
    const { structures } = results.tasks[name.split("/")[2]];
    const { scan, truth, maps } = volumes.get(name);
    viewer ??= new Viewer(byId("canvas"), structures, placed);
    viewer.structures = structures;
    const layers = [
      { name: "truth", data: truth, key: "t", shown: !maps[a.key] },
      { name: `A, ${label(a.method)}`, data: maps[a.key], key: "a", shown: true },
      { name: `B, ${label(b.method)}`, data: maps[b.key], key: "b", shown: false },
    ].slice(0, b === a ? 2 : 3);
    const lacking = layers.filter((layer) => !layer.data).map((layer) => layer.name[0]);
    const said = [scan === null && NO_SCAN, lacking.length && `No label map of ${lacking.join(" and ")} is here.`];
    byId("case-note").append([" ", ...said.filter(Boolean)].join(" "));
    byId("legend").replaceChildren(...legend(structures));
    await viewer.show(scan, layers.filter((layer) => layer.data));
    if (maps[a.key]) await viewer.disagreement(layers[0].name, layers[1].name, "d");
    if (slice) viewer.slice = +slice - 1;
    viewerControls(viewer, byId("viewer-controls"));
    byId("viewer").dataset.shown = name;
  } catch (error) {
    current = null; // it may be asked for again
    throw error;
  }
}

function placed(words) {
  byId("place").textContent = words;
  if (viewer?.layers.length && address().get("view") === "cases") note({ slice: viewer.slice + 1 });
}

// Dice and volume of every structure of a case, by both methods.
function showCaseScores(name, a, b) {
  const [, , task, modality, id] = name.split("/");
  const of = (run, column) => scoresOf({ fits: (other) => other === run, modality, column }).filter((score) => score.case === id);
  const cells = (structure) =>
    [a, b].flatMap((run) =>
      ["dice", "volume_difference_ml"].map((column) => {
        const score = of(run, column).find((found) => found.structure === structure);
        return score?.status === "missed" && column === "dice" ? "missed" : text(score?.value, 1, column !== "dice");
      }),
    );
  const rows = results.tasks[task].structures.map(({ name: structure, label: words }) => [words, ...cells(structure)]);
  const headings = [a, b].flatMap((run, i) => [`${"AB"[i]}: ${label(run.method)}, Dice (%)`, "volume − truth's (ml)"]);
  byId("case-scores").replaceChildren(plainTable(["structure", ...headings], rows));
}

// The next case of method A by its worst result's mean Dice; B's method stays.
function step(forward) {
  const { a, b, name } = current;
  const fits = (run) => run.method === a.method && run.seed === a.seed && groupOf(run) === groupOf(a);
  const found = meansOf(scoresOf({ fits, column: "dice" })).filter((score) => Object.hasOwn(results.volumes, caseName(score)));
  const order = [...Map.groupBy(found.toSorted(worstFirst("dice")), caseName).values()].map(([worst]) => worst);
  const place = order.findIndex((score) => caseName(score) === name);
  const next = order[(place + forward + order.length) % order.length];
  const other = results.runs.find(
    (run) => run.method === b.method && run.split === next.run.split && run.seed === next.run.seed && covers(run, caseName(next)),
  );
  go({ case: caseName(next), a: next.run.key, b: other?.key ?? "", slice: "" });
}

// ---- training -------------------------------------------------------------------------------------------------------

async function showTraining() {
  const runs = results.runs.filter((run) => run.history);
  if (!runs.length) return byId("training-controls").replaceChildren("No training's history is here.");
  const groups = [...Map.groupBy(runs, (run) => `${groupOf(run)}/${run.split}/${run.seed}`).values()];
  const largest = groups.reduce((a, b) => (b.length > a.length ? b : a));
  const chosen = (address().get("runs") ?? largest.map(({ key }) => key).join()).split(",");
  const shownRuns = runs.filter(({ key }) => chosen.includes(key));
  const quantities = ["loss", ...unique(shownRuns.flatMap((run) => run.history.columns)).filter((name) => !["step", "loss"].includes(name))];
  const shown = asked("quantity", quantities);
  const named = (run) => `${runName(run)}${run.modalities.length > 1 ? "" : `, ${run.modalities[0]}`}`;
  const option = (run) => make("option", { value: run.key, selected: chosen.includes(run.key) }, `${named(run)}, ${groupOf(run).replaceAll("/", " ")}`);
  const pick = (event) => go({ runs: [...event.target.selectedOptions].map(({ value }) => value).join() });
  byId("training-controls").replaceChildren(
    make("select", { multiple: true, size: 6, "aria-label": "runs", "data-name": "runs", onchange: pick }, ...runs.map(option)),
    select("shown", quantities.map((name) => [name, name.replaceAll("_", " ")]), shown, (name) => go({ quantity: name })),
  );
  const heading = "classes whose row of E is nearest to its own in the other modality, by scale (%)";
  byId("records").replaceChildren(plainTable(["run", heading], shownRuns.map((run) => [runRecord(run), knows(run)])));
  await script("plotly.js");
  const axes = (x, y) => ({ ...themed(), xaxis: { title: { text: x }, gridcolor: lines() }, yaxis: { title: { text: y }, gridcolor: lines() } });
  const curve = (run) => {
    const at = columns(run.history.columns);
    const rows = run.history.rows.filter((row) => at[shown] !== undefined && row[at[shown]] !== null);
    return { x: rows.map((row) => row[at.step]), y: rows.map((row) => row[at[shown]]), name: escaped(named(run)), mode: "lines" };
  };
  Plotly.react(byId("training-plot"), shownRuns.map(curve), axes("step", escaped(shown.replaceAll("_", " "))), PLOT);
  const factors = shownRuns.flatMap((run) =>
    Object.entries(run.phi ?? {}).map(([modality, y]) => ({ y, name: escaped(`${runName(run)}, ${modality}`), mode: "lines+markers" })),
  );
  byId("phi-plot").hidden = !factors.length;
  if (factors.length) Plotly.react(byId("phi-plot"), factors, axes("residual branch, encoder first", "mean |Φ − 1|, Eq. 13"), PLOT);
}

const knows = (run) => (run.correspondence ?? []).map((share) => text(100 * share, 0)).join(", ") || "–";

// ---- the page -------------------------------------------------------------------------------------------------------

const VIEWS = { tables: showTables, patients: showPatients, cases: showCases, training: showTraining };

async function show() {
  const view = asked("view", Object.keys(VIEWS));
  for (const name of Object.keys(VIEWS)) byId(name).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#view=${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const focused = document.activeElement?.dataset.name;
  byId("fault").hidden = true;
  try {
    await Promise.all([VIEWS[view](), refocus(focused)]);
    document.body.dataset.shown = view;
  } catch (error) {
    byId("fault").textContent = error.message;
    byId("fault").hidden = false;
  }
}

// Controls are made anew; the one that had the focus has it again.
async function refocus(name) {
  const found = name && [...document.querySelectorAll("main [data-name]")].find((element) => element.dataset.name === name);
  if (found) found.focus();
}

addEventListener("hashchange", show);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
document.addEventListener("keydown", (event) => {
  if (address().get("view") !== "cases" || !viewer?.layers.length || typing(event)) return;
  if (viewerKey(viewer, event, byId("viewer-controls"))) return;
  if (event.key === "n" || event.key === "p") step(event.key === "n" ? 1 : -1);
});
show();
