// How values are said. The same words and digits as the report (fedward/reporting/page.py): three decimals, "insufficient
// support" and "not measured" where there is no number, rounds counted from 1 for a reader.

import { el, svg } from "./dom.js";

export const MEASURES = { auc: "AUC", dice: "Dice" };
export const INSUFFICIENT = "insufficient support";
export const NOT_MEASURED = "not measured";
export const CERTIFICATE_WARNING_DAYS = 30;

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
export const fixed = (value, digits = 3) => value.toFixed(digits);
export const absent = (words) => el("span", { class: "absent" }, words);
export const whole = (value) => value.toLocaleString("en-GB");

/** A number for reading with all its digits in <data value>, or why there is none. */
export const number = (value, digits = 3) =>
  isNumber(value) ? el("data", { value }, digits ? fixed(value, digits) : whole(value)) : absent(NOT_MEASURED);

export const measureOf = (job) => MEASURES[job.measure] ?? (job.task === "segmentation" ? MEASURES.dice : MEASURES.auc);

/** A site's value, or why there is none. */
export const score = (row) =>
  isNumber(row.value) ? number(row.value) : absent(row.suppressed ? INSUFFICIENT : NOT_MEASURED);

export const hasInterval = (row) => isNumber(row?.value) && isNumber(row.low) && isNumber(row.high);
export const interval = (row) => (hasInterval(row) ? [number(row.low), " to ", number(row.high)] : null);
const WHY_NO_INTERVAL = "Too few patients of one kind to resample, or the hospital withholds it";
export const noInterval = () => el("span", { class: "absent", title: WHY_NO_INTERVAL }, "none given");
export const intervalWords = (row) => (hasInterval(row) ? `${fixed(row.low)} to ${fixed(row.high)}` : "");

/** A count that a site gave; "withheld" where it gave others and keeps this one. */
export function support(row, name) {
  if (isNumber(row[name])) return number(row[name], 0);
  return absent(isNumber(row.value) || isNumber(row.patients) ? "withheld" : NOT_MEASURED);
}

export const spokenScore = (row) =>
  isNumber(row.value)
    ? fixed(row.value) + (hasInterval(row) ? `, 95 % interval ${intervalWords(row)}` : "")
    : row.suppressed
      ? INSUFFICIENT
      : NOT_MEASURED;

/** Seconds as an age: 12 s ago, 3 min ago, 2 h ago, 5 days ago. */
export function age(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 120) return `${s} s ago`;
  if (s < 7200) return `${Math.floor(s / 60)} min ago`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} days ago`;
}

export function lasting(seconds) {
  if (!isNumber(seconds)) return NOT_MEASURED;
  if (seconds < 120) return `${fixed(seconds, seconds < 10 ? 1 : 0)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

export const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
export const moment = (at) =>
  `${new Date(at * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" })}, ${clock(at)}`;

/** An age that the page counts on by itself. */
export const ago = (at, now) =>
  isNumber(at)
    ? el("time", { datetime: new Date(at * 1000).toISOString(), title: moment(at), "data-at": at }, age(now - at))
    : absent("never");

export const many = (count, one, more = `${one}s`) => `${whole(count)} ${count === 1 ? one : more}`;
export const listed = (words) =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
export const short = (name, letters) => (name.length <= letters ? name : `${name.slice(0, Math.max(letters - 1, 1))}…`);
export const siteHref = (site) => `#/sites/${encodeURIComponent(site)}`;
export const jobHref = (id) => `#/jobs/${encodeURIComponent(id)}`;

// ---- states, each a shape and a word: colour only repeats them

const SHAPES = {
  dot: () => svg("circle", { cx: 6, cy: 6, r: 4.2 }),
  half: () => [svg("circle", { cx: 6, cy: 6, r: 4, class: "hollow" }), svg("path", { d: "M6 2a4 4 0 0 1 0 8z" })],
  triangle: () => svg("path", { d: "M6 1.6l5 8.8h-10z", class: "hollow" }),
  square: () => svg("rect", { x: 2.2, y: 2.2, width: 7.6, height: 7.6, class: "hollow" }),
  tick: () => svg("path", { d: "M1.8 6.4l3 3.1l5.4-6.8", class: "hollow" }),
  cross: () => svg("path", { d: "M2.4 2.4l7.2 7.2m0-7.2l-7.2 7.2", class: "hollow" }),
  down: () => svg("path", { d: "M6 10.6l-5-8.8h10z" }),
  bars: () => svg("path", { d: "M3.8 2.2v7.6m4.4-7.6v7.6", class: "hollow" }),
  turn: () => svg("path", { d: "M10 6a4 4 0 1 1-1.4-3.05M9.2 .8v2.6h-2.6", class: "hollow" }),
  ring: () => svg("circle", { cx: 6, cy: 6, r: 4, class: "hollow" }),
};

export const jobCell = (job) =>
  el(
    "th",
    { scope: "row" },
    el("a", { href: jobHref(job.id) }, job.name),
    el("span", { class: "why" }, job.id.slice(0, 8)),
  );
export const mark = (shape, kind, words) =>
  el(
    "span",
    { class: `state ${kind}` },
    svg("svg", { viewBox: "0 0 12 12", class: "shape", "aria-hidden": "true" }, SHAPES[shape]()),
    el("span", {}, words),
  );

/** The state of a site at `now`: it turns stale by itself when it has not been seen for long enough. */
export function presence(site, now, staleAfter) {
  if (!isNumber(site.last_seen)) return ["ring", "quiet", "never seen"];
  if (now - site.last_seen > staleAfter) return ["triangle", "warn", "stale"];
  if (site.connected === false) return ["square", "warn", "not connected"];
  return ["dot", "good", site.connected === true ? "connected" : "seen"];
}

export const isStale = (site, now, staleAfter) => presence(site, now, staleAfter)[1] === "warn";

export function presenceMark(site, now, staleAfter) {
  const shown = mark(...presence(site, now, staleAfter));
  shown.dataset.site = site.site;
  return shown;
}

const JOB_STATES = {
  running: ["half", "good"],
  resuming: ["turn", "warn"],
  paused: ["bars", "warn"],
  finished: ["tick", "quiet"],
  aborted: ["square", "quiet"],
  failed: ["cross", "warn"],
};
export const jobState = (job) =>
  job.state === "finished" && job.missing?.length
    ? mark("tick", "warn", `finished, ${many(job.missing.length, "site")} missing`)
    : mark(...(JOB_STATES[job.state] ?? ["ring", "quiet"]), job.state);

/** The server's sentence on a job's state, where the state's one word leaves something to say. */
export const needsWords = (job) => job.state !== "running" && !(job.state === "finished" && !job.missing?.length);
export const sentence = (words) => `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;

export function certificate(days) {
  if (!isNumber(days)) return absent("not known");
  if (days < 0) return mark("cross", "warn", "expired");
  const words = many(Math.floor(days), "day");
  return days < CERTIFICATE_WARNING_DAYS
    ? mark("triangle", "warn", `${words}, renew`)
    : el("data", { value: days }, words);
}

export const rounds = (job) =>
  isNumber(job.rounds_asked) ? `${job.rounds_done} of ${job.rounds_asked}` : `${job.rounds_done}`;
