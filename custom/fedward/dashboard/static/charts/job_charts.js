// A job's lines over the rounds: its measure at every site, or small drawings of the lowest where there are many; losses.

import { el, section, table } from "../dom.js";
import { Lines, lastOf } from "./lines.js";
import { valueScale } from "./marks.js";
import { fixed, isNumber, measureOf, number, siteHref, spokenScore } from "../words.js";

const TOGETHER = 8;
const COLOURS = 6;
const MOST_CHOSEN = 12;
const wanted = new Map();
const drawings = new Map();

/** The sites whose lines are drawn: all where they are few, else the lowest eight and those the reader asked for. */
function drawn(data) {
  const all = data.sites.map((row) => row.site);
  if (all.length <= TOGETHER) return all;
  const asked = wanted.get(data.job.id) ?? [];
  return [...all.slice(0, TOGETHER), ...asked.filter((site) => all.includes(site) && all.indexOf(site) >= TOGETHER)];
}

/** A site keeps its colour whatever its place in the table; a dash tells lines of one colour apart. */
const coloured = (sites) =>
  new Map([...sites].sort().map((site, index) => [site, { colour: index % COLOURS, dashed: index >= COLOURS }]));

const measuredIn = (series, name) => (series?.[name] ?? []).some(isNumber);

export function figures(data, opened, redraw) {
  const sites = drawn(data);
  const shown = sites.filter((site) => measuredIn(data.series[site], "value"));
  const losses = LOSSES.filter(([name]) => sites.some((site) => measuredIn(data.series[site], name)));
  return [
    shown.length ? measureFigure(data, sites, shown, opened, redraw) : null,
    losses.length ? lossFigure(data, sites, losses, opened) : null,
  ];
}

const LOSSES = [
  ["training_loss", "Training loss"],
  ["validation_loss", "Validation loss"],
];

function measureFigure(data, sites, shown, opened, redraw) {
  const measure = measureOf(data.job);
  const many = data.sites.length > TOGETHER;
  const lead = `${measure} of the global model at each site: as it arrived, before the site trained on it, and once more at the end. Across: rounds that the model has been through.`;
  const panels = () => shown.map((site) => panel(data, site));
  return section(
    "rounds",
    `${measure} over the rounds`,
    el("p", {}, lead),
    many ? chooser(data, sites, redraw) : null,
    many ? el("div", { class: "multiples" }, panels()) : host("rounds"),
    numbers("rounds", `${measure} by round`, data, shown, "value", opened, 3),
  );
}

function lossFigure(data, sites, losses, opened) {
  const measured = (name) => sites.filter((site) => measuredIn(data.series[site], name));
  const charts = losses.map(([name, words]) => el("div", { "data-key": name }, el("h3", {}, words), host(name)));
  return section(
    "loss",
    "Loss over the rounds",
    data.sites.length > TOGETHER ? el("p", {}, "Of the same sites.") : null,
    el("div", { class: "pair" }, charts),
    losses.map(([name, words]) => numbers(name, `${words} by round`, data, measured(name), name, opened, 4)),
  );
}

const host = (name) =>
  el("div", { class: "lines", "data-chart": name, "data-keep": name, "data-key": `chart-${name}` });

function panel(data, site) {
  const row = data.sites.find((one) => one.site === site);
  return el(
    "figure",
    { class: "panel", "data-key": site },
    el("figcaption", {}, el("a", { href: siteHref(site) }, site), " ", number(row.value)),
    host(`site:${site}`),
  );
}

function chooser(data, sites, redraw) {
  const rest = data.sites
    .map((row) => row.site)
    .filter((site) => !sites.includes(site) && measuredIn(data.series[site], "value"));
  const asked = wanted.get(data.job.id) ?? [];
  const options = [
    el("option", { value: "" }, "choose a site"),
    ...rest.sort().map((site) => el("option", { value: site }, site)),
  ];
  const set = (list) => {
    wanted.set(data.job.id, list.slice(-MOST_CHOSEN));
    redraw();
  };
  chosen = { add: (site) => set([...asked, site]), remove: (site) => set(asked.filter((one) => one !== site)) };
  return el(
    "div",
    { class: "chooser", "data-key": "chooser" },
    el(
      "p",
      {},
      `The ${TOGETHER} lowest of ${data.sites.length} sites, each with its 95 % interval; the thin dashed line is the median of all sites.`,
    ),
    el("label", {}, "Show also ", el("select", { "data-choose": "add" }, options)),
    asked.map((site) =>
      el(
        "button",
        { type: "button", "data-choose": "remove", "data-site": site, "data-key": site },
        `${site} `,
        el("span", { "aria-hidden": "true" }, "×"),
        el("span", { class: "unseen" }, "take away"),
      ),
    ),
  );
}

let chosen = null;
document.addEventListener("change", (event) => {
  if (event.target.dataset?.choose !== "add" || !event.target.value) return;
  const site = event.target.value;
  event.target.value = "";
  chosen?.add(site);
});
document.addEventListener("click", (event) => {
  const button = event.target.closest?.('[data-choose="remove"]');
  if (button) chosen?.remove(button.dataset.site);
});

/** The lines' numbers as a table, made when it is opened. */
function numbers(name, caption, data, sites, column, opened, digits) {
  const body = () => {
    const rounds = [...new Set(sites.flatMap((site) => data.series[site].round))].sort((a, b) => a - b);
    const value = (site, round) => data.series[site][column][data.series[site].round.indexOf(round)];
    const rows = rounds.map((round) =>
      el(
        "tr",
        { "data-key": `r${round}` },
        el("th", { scope: "row", class: "num" }, String(round)),
        sites.map((site) =>
          el("td", { class: "num" }, isNumber(value(site, round)) ? number(value(site, round), digits) : "–"),
        ),
      ),
    );
    return table(caption, [["After rounds", "num"], ...sites.map((site) => [site, "num"])], rows);
  };
  return el(
    "details",
    { "data-key": `${name}-table`, "data-details": name },
    el("summary", {}, `${caption} as a table`),
    opened.has(name) ? body() : null,
  );
}

// ---- drawing, after the page has its places

export function drawJob(root, data) {
  const hosts = new Map([...root.querySelectorAll("[data-chart]")].map((one) => [one.dataset.chart, one]));
  for (const [name, lines] of drawings) {
    if (hosts.get(name) === lines.host) continue;
    lines.destroy();
    drawings.delete(name);
  }
  const sites = drawn(data);
  const colours = coloured(sites);
  const range = scaleOf(data, sites);
  const middle = data.sites.length > TOGETHER ? median(data) : null;
  for (const [name, place] of hosts) {
    if (!drawings.has(name)) drawings.set(name, new Lines(place));
    drawings.get(name).update(given(name, data, { sites, colours, range, middle }));
  }
}

function given(name, data, { sites, colours, range, middle }) {
  const line = (site, column) => ({
    name: site,
    ...colours.get(site),
    round: data.series[site].round,
    value: data.series[site][column],
    low: column === "value" ? data.series[site].low : null,
    high: column === "value" ? data.series[site].high : null,
  });
  const measure = measureOf(data.job);
  if (name.startsWith("site:")) {
    const site = name.slice(5);
    const row = data.sites.find((one) => one.site === site);
    return {
      label: `${measure} at ${site} over the rounds; now ${spokenScore(row)}`,
      lines: [middle, { ...line(site, "value"), colour: 0, dashed: false }],
      range,
      height: 130,
      band: site,
      ends: false,
      digits: 3,
    };
  }
  if (name === "rounds") {
    const shown = sites.filter((site) => measuredIn(data.series[site], "value"));
    const spoken = shown.map((site) => spokenLine(line(site, "value"), 3)).join("; ");
    const band = data.sites.find((row) => shown.includes(row.site) && isNumber(row.value))?.site ?? shown[0];
    return {
      label: `${measure} at each site over the rounds. ${spoken}`,
      lines: shown.map((site) => line(site, "value")),
      range,
      height: Math.max(300, shown.length * 26 + 60),
      band,
      ends: true,
      digits: 3,
    };
  }
  const shown = sites.filter((site) => measuredIn(data.series[site], name));
  const lines = shown.map((site) => line(site, name));
  const most = Math.max(...lines.flatMap((one) => one.value.filter(isNumber)));
  return {
    label: `${name === "training_loss" ? "Training" : "Validation"} loss over the rounds. ${lines.map((one) => spokenLine(one, 3)).join("; ")}`,
    lines,
    range: [0, most > 0 ? most * 1.06 : 1],
    height: Math.max(240, shown.length * 22 + 50),
    band: shown[0],
    ends: true,
    digits: 3,
  };
}

function spokenLine(line, digits) {
  const first = line.value.find(isNumber);
  const last = lastOf(line);
  return last === null
    ? `${line.name} not measured`
    : `${line.name} from ${fixed(first, digits)} to ${fixed(last.value, digits)}`;
}

function scaleOf(data, sites) {
  const rows = sites.flatMap((site) => {
    const { value = [], low = [], high = [] } = data.series[site] ?? {};
    return value.map((one, index) => ({ value: one, low: low[index], high: high[index] }));
  });
  const scale = valueScale(rows);
  return scale ? [scale.low, scale.high] : [0, 1];
}

/** The median over all sites, round by round. */
function median(data) {
  const at = new Map();
  for (const { round, value } of Object.values(data.series))
    round.forEach((one, index) => isNumber(value[index]) && at.set(one, [...(at.get(one) ?? []), value[index]]));
  const round = [...at.keys()].sort((a, b) => a - b);
  const middle = (values) => {
    const sorted = [...values].sort((a, b) => a - b);
    const half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  };
  return { name: "median of the sites", colour: 0, quiet: true, round, value: round.map((one) => middle(at.get(one))) };
}
