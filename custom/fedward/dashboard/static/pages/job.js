// One job: what it asks, how it does at every site, the lowest first, and how it got there.

import { el, section, svg, table, unseen } from "../dom.js";
import { epsilonMark, scaleMark, valueScale } from "../charts/marks.js";
import { drawJob, figures } from "../charts/job_charts.js";
import { listenForReasons, participation } from "../charts/participation.js";
import { counted, epsilon, fact, measured } from "./site.js";
import { interruptions, standing, worth } from "./standing.js";
import { serverWords, timeline } from "../charts/timeline.js";
import {
  absent,
  ago,
  fixed,
  interval,
  isNumber,
  isStale,
  jobState,
  lasting,
  listed,
  many,
  mark,
  measureOf,
  moment,
  needsWords,
  number,
  rounds,
  score,
  siteHref,
  support,
  whole,
} from "../words.js";

export const title = (data) => data?.job?.name ?? "Job";
export const trail = (data) => [[title(data), null]];

const MECHANISMS = { "dp-sgd": "DP-SGD", "update-noise": "noise on updates" };
const SCHEMES = { bfv: "BFV", ckks: "CKKS" };
const opened = new Set();
let redrawLast = () => {};
document.addEventListener(
  "toggle",
  (event) => {
    const name = event.target.dataset?.details;
    if (!name || event.target.open === opened.has(name)) return;
    if (event.target.open) opened.add(name);
    else opened.delete(name);
    redrawLast();
  },
  true,
);
listenForReasons(document);

export function view(data, { now, seen, staleAfter, redraw }) {
  redrawLast = redraw;
  const sites = data.sites.map((row) => row.site);
  return [
    head(data.job, now),
    needsWords(data.job) ? standing(data.job) : null,
    worth(data.worth),
    outcome(data),
    section(
      "sites",
      "Site by site, lowest first",
      el(
        "p",
        {},
        "Every number is measured on the site’s own validation patients, who were held back from all training.",
      ),
      data.sites.length ? sitesTable(data, { now, seen, staleAfter }) : el("p", {}, "No site has taken part yet."),
    ),
    ...figures(data, opened, redraw),
    budget(data),
    data.rounds.length
      ? section(
          "time",
          "Where the time went",
          serverWords(data.rounds),
          timeline(data.rounds, sites, opened.has("timeline")),
        )
      : null,
    data.rounds.length || data.declined.length || data.dropped.length
      ? section("part", "Who took part", participation(data, sites), interruptions(data.turns))
      : null,
  ].filter(Boolean);
}

export const draw = drawJob;

export function spoken(data) {
  const lowest = data.sites.find((row) => isNumber(row.value));
  return `${data.job.name} ${data.job.words ?? data.job.state}, ${rounds(data.job)} rounds${lowest ? `, lowest ${lowest.site} ${measureOf(data.job)} ${fixed(lowest.value)}` : ""}.`;
}

function head(job, now) {
  return el(
    "header",
    { class: "head" },
    el("p", { class: "kicker" }, "Job"),
    el("h1", { tabindex: "-1" }, job.name),
    el(
      "dl",
      { class: "facts" },
      fact("State", jobState(job)),
      fact("Rounds", rounds(job)),
      fact("Task", job.task),
      fact("Differential privacy", MECHANISMS[job.mechanism] ?? job.mechanism ?? "not known"),
      fact("Encryption", SCHEMES[job.encryption] ?? job.encryption ?? "none"),
      fact("A round counts with", coverageWords(job.coverage)),
      isNumber(job.threshold) ? fact(`${measureOf(job)} asked for`, `${fixed(job.threshold)} or more`) : null,
      fact("Started", isNumber(job.started_at) ? moment(job.started_at) : "not known"),
      fact("Running time", lasting(job.wall_s)),
      fact("Last news", ago(job.updated_at, now)),
    ),
  );
}

function coverageWords(coverage) {
  if (!coverage) return "not known";
  const asked = [];
  if (isNumber(coverage.min_sites)) asked.push(many(coverage.min_sites, "site"));
  if (coverage.must_include?.length) asked.push(listed(coverage.must_include));
  if (isNumber(coverage.min_patients)) asked.push(`${whole(coverage.min_patients)} patients`);
  return asked.length ? asked.join("; ") : "any answer";
}

function outcome(data) {
  const { job, sites, pooled } = data;
  const measured = sites.filter((row) => isNumber(row.value));
  const [lowest] = measured;
  const mean = measured.length ? measured.reduce((sum, row) => sum + row.value, 0) / measured.length : null;
  const figure = (kind, label, value, ...note) =>
    el(
      "div",
      { class: kind },
      el("p", { class: "label" }, label),
      el("p", { class: "value" }, value),
      el("p", { class: "note" }, note),
    );
  return section(
    "outcome",
    `${measureOf(job)} of the federated model`,
    el(
      "div",
      { class: "figures" },
      figure(
        "figure first",
        lowest ? `Lowest of the sites · ${lowest.site}` : "Lowest of the sites",
        number(lowest?.value),
        lowest && interval(lowest) ? ["95 % interval ", interval(lowest)] : "",
      ),
      figure(
        "figure",
        "Mean of the sites",
        number(mean),
        `${measured.length} of ${many(sites.length, "site")} measured, each counts once`,
      ),
      figure(
        "figure",
        "Over all hospitals’ images",
        pooled ? score(pooled) : absent("not measured"),
        pooled && interval(pooled) ? ["95 % interval ", interval(pooled)] : "",
        pooled && isNumber(pooled.patients) ? `, ${whole(pooled.patients)} patients` : "",
      ),
    ),
  );
}

// ---- the table

function sitesTable(data, { now, seen, staleAfter }) {
  const { job, sites } = data;
  const scale = valueScale(sites, [job.threshold]);
  const positives = job.measure !== "dice";
  const privately = sites.some((row) => row.epsilon);
  const lowest = sites.find((row) => isNumber(row.value))?.site;
  const columns = [
    ["Site"],
    [measureOf(job), "num"],
    ["95 % interval", "num"],
    scale ? el("th", { scope: "col" }, unseen("drawing of the interval"), scaleMark(scale)) : null,
    ["Patients", "num"],
    positives ? ["Positive", "num"] : null,
    ["Images", "num"],
    privately ? ["ε of this job", "num"] : null,
    ["Rounds", "num"],
    ["Reported", "num"],
  ];
  const rows = sites.map((row) =>
    el(
      "tr",
      { "data-key": row.site, class: row.site === lowest ? "worst" : null },
      el(
        "th",
        { scope: "row" },
        el("a", { href: siteHref(row.site) }, row.site),
        notes(row, job, seen.get(row.site), now, staleAfter),
      ),
      measured(row, scale, { threshold: job.threshold, worst: row.site === lowest }),
      el("td", { class: "num" }, support(row, "patients")),
      positives ? el("td", { class: "num" }, support(row, "positives")) : null,
      el("td", { class: "num" }, support(row, "images")),
      privately ? el("td", { class: "num" }, epsilon(row.epsilon, true)) : null,
      counted(row),
      el("td", { class: "num" }, ago(row.reported_at, now)),
    ),
  );
  return [
    table(`${measureOf(job)} at each site, lowest first`, columns.filter(Boolean), rows, { class: "sites" }),
    legend(data),
  ];
}

/** What a reader should know about a site, below its name: flag, suspicion, below the threshold, silence. */
function notes(row, job, site, now, staleAfter) {
  const out = [];
  if (row.flag)
    out.push(
      mark(
        "down",
        "warn",
        `below the others${isNumber(row.flag.others_mean) ? `, whose mean is ${fixed(row.flag.others_mean)}` : ""}`,
      ),
    );
  else if (isNumber(job.threshold) && isNumber(row.value) && row.value < job.threshold)
    out.push(mark("down", "quiet", `below the ${fixed(job.threshold)} asked for`));
  if (row.suspect) out.push(mark("triangle", "warn", `${many(row.suspect, "update")} that no training explains`));
  const silent = site ? isStale(site, now, staleAfter) : row.stale;
  if (silent && !job.ended) out.push(mark("triangle", "warn", "stale"));
  return out.length ? el("span", { class: "notes" }, out) : null;
}

function legend({ job, sites }) {
  const said = [];
  if (isNumber(job.threshold)) said.push(`The dashed line is the ${fixed(job.threshold)} asked for.`);
  if (sites.some((row) => row.flag))
    said.push(
      "A flagged site lies two standard deviations below the other sites, and its interval below their mean (the open circle).",
    );
  return said.length ? el("p", { class: "under" }, said.join(" ")) : null;
}

const BUDGET_TITLE = "ε against the hospitals’ caps";
const NO_PRIVACY =
  "This job is without differential privacy. No bound can be stated on what the model or an update reveals about one patient.";
const BUDGET_LEAD =
  "ε bounds what the models and updates can reveal about any one training patient; smaller is better. Charged to the hospital’s own ledger before training; a bar that is full has reached the cap.";

function budget({ job, sites }) {
  const spending = sites.filter((row) => row.epsilon);
  if (!spending.length) {
    return job.mechanism === "none" ? section("budget", BUDGET_TITLE, el("p", {}, NO_PRIVACY)) : null;
  }
  const columns = [
    ["Site"],
    el("th", { scope: "col" }, unseen("drawing")),
    ["This job", "num"],
    ["All jobs", "num"],
    ["Cap", "num"],
    ["Left", "num"],
  ];
  return section(
    "budget",
    BUDGET_TITLE,
    el("p", {}, BUDGET_LEAD),
    el("ul", { class: "key", "aria-label": "Bars" }, [
      meter("charged", "this job"),
      meter("spent", "all jobs on this cohort"),
    ]),
    table("Epsilon by site", columns, spending.map(budgetRow), { class: "budget" }),
  );
}

function budgetRow({ site, epsilon: found }) {
  const { charged, spent, cap, left } = found;
  return el(
    "tr",
    { "data-key": site },
    el("th", { scope: "row" }, site),
    el("td", { class: "fill" }, epsilonMark(found)),
    el("td", { class: "num strong" }, number(charged, 2)),
    el("td", { class: "num" }, number(spent, 2)),
    el("td", { class: "num" }, isNumber(cap) ? number(cap, 2) : absent("none")),
    el("td", { class: "num" }, isNumber(cap) ? number(left, 2) : absent("no cap")),
  );
}

function meter(kind, words) {
  const box = svg("rect", { class: kind, width: 12, height: 12 });
  return el("li", {}, svg("svg", { viewBox: "0 0 12 12", class: "shape meter", "aria-hidden": "true" }, box), words);
}
