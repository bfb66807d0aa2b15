// One site: when it was seen, and its numbers in every job.

import { el, section, table, unseen } from "../dom.js";
import { epsilonMark, intervalMark, scaleMark, valueScale } from "../charts/marks.js";
import {
  absent,
  ago,
  certificate,
  fixed,
  interval,
  isNumber,
  jobCell,
  jobState,
  measureOf,
  needsWords,
  noInterval,
  presenceMark,
  score,
  sentence,
  support,
  whole,
} from "../words.js";

export const title = (data, id) => data?.site?.site ?? id;
export const trail = (data, id) => [[title(data, id), null]];

export function view(data, { now, staleAfter }) {
  const { site, jobs } = data;
  return [
    el(
      "header",
      { class: "head" },
      el("p", { class: "kicker" }, "Site"),
      el("h1", { tabindex: "-1" }, site.site),
      el(
        "dl",
        { class: "facts" },
        fact("State", presenceMark(site, now, staleAfter)),
        fact("Last seen", ago(site.last_seen, now)),
        fact("Fedward", site.version ?? "not known"),
        fact("Certificate ends in", certificate(site.certificate_days)),
      ),
    ),
    section(
      "numbers",
      "Its numbers, newest job first",
      el("p", {}, "Each on the site’s own validation patients, who were held back from all training."),
      jobs.length ? jobsTable(site, jobs, now) : el("p", {}, "This site has taken part in no job."),
    ),
  ];
}

export const spoken = (data) =>
  data.jobs[0]
    ? `${data.site.site}, ${data.jobs[0].name}: ${isNumber(data.jobs[0].value) ? fixed(data.jobs[0].value) : "no number"}.`
    : "";

export const fact = (name, ...value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

/** ε of a job, a meter, and what the hospital has spent over all jobs of its cap, which `brief` leaves to a screen reader. */
export function epsilon(one, brief = false) {
  if (!one || !isNumber(one.charged ?? one.spent)) return absent("none");
  const all = isNumber(one.spent) ? fixed(one.spent, 2) : fixed(one.charged, 2);
  const cap = isNumber(one.cap) ? ` of ${fixed(one.cap, 2)}` : ", no cap";
  return [
    el("data", { value: one.charged ?? "", class: "strong" }, isNumber(one.charged) ? fixed(one.charged, 2) : "–"),
    epsilonMark(one),
    el("span", { class: brief ? "unseen" : "why", title: "spent over all jobs, of the hospital’s cap" }, all + cap),
  ];
}

/** Value, interval and its drawing; where there is no number, the reason across the three cells. */
export function measured(row, scale, options = {}) {
  if (!isNumber(row.value)) return el("td", { colspan: scale ? 3 : 2, class: "none" }, score(row));
  const value = [options.label ? el("span", { class: "label" }, `${options.label} `) : null, score(row)];
  return [
    el("td", { class: "num strong" }, value),
    el("td", { class: "num" }, interval(row) ?? noInterval()),
    scale ? el("td", {}, intervalMark(row, scale, options)) : null,
  ];
}

/** Rounds in which a site's answer counted, and those in which it did not. */
export const counted = (row) =>
  el(
    "td",
    { class: "num" },
    whole(row.accepted),
    el("span", { class: "unseen" }, " accepted"),
    row.dropped ? el("span", { class: "why" }, `${whole(row.dropped)} dropped`) : null,
  );

function jobsTable(site, jobs, now) {
  const scale = valueScale(jobs);
  const privately = jobs.some((job) => job.epsilon);
  const rows = jobs.map((job) =>
    el(
      "tr",
      { "data-key": job.id },
      jobCell(job),
      el(
        "td",
        { class: "wrap" },
        jobState(job),
        needsWords(job) && job.words ? el("span", { class: "why" }, sentence(job.words)) : null,
      ),
      measured(job, scale, { label: measureOf(job) }),
      el("td", { class: "num" }, support(job, "patients")),
      el("td", { class: "num" }, job.measure === "dice" ? absent("not counted") : support(job, "positives")),
      el("td", { class: "num" }, support(job, "images")),
      privately ? el("td", { class: "num" }, epsilon(job.epsilon)) : null,
      counted(job),
      el("td", { class: "num" }, ago(job.reported_at, now)),
    ),
  );
  const columns = [
    ["Job"],
    ["State"],
    ["Value", "num"],
    ["95 % interval", "num"],
    scale ? el("th", { scope: "col" }, unseen("drawing of the interval"), scaleMark(scale)) : null,
    ["Patients", "num"],
    ["Positive", "num"],
    ["Images", "num"],
    privately ? ["ε of this job", "num"] : null,
    ["Rounds", "num"],
    ["Reported", "num"],
  ];
  return table(`Numbers of ${site.site}`, columns.filter(Boolean), rows);
}
