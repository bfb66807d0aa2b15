// The federation: its sites, and its jobs newest first.

import { el, section, table } from "../dom.js";
import { roundsMark } from "../charts/marks.js";
import {
  absent,
  ago,
  certificate,
  fixed,
  isNumber,
  isStale,
  jobCell,
  jobState,
  many,
  measureOf,
  needsWords,
  presenceMark,
  rounds,
  sentence,
  siteHref,
} from "../words.js";

export const title = () => "Federation";
export const trail = () => [];

export function view(data, { now }) {
  const quiet = data.sites.filter((site) => isStale(site, now, data.stale_after_s)).length;
  const count = (state) => data.jobs.filter((job) => job.state === state).length;
  const lead = [
    many(data.sites.length, "site"),
    quiet ? `${quiet} not heard from` : null,
    many(data.jobs.length, "job"),
    ...["running", "resuming", "paused"].map((state) => (count(state) ? `${count(state)} ${state}` : null)),
  ];
  return [
    el(
      "header",
      { class: "head" },
      el("h1", { tabindex: "-1" }, "Federation"),
      el("p", { class: "lead" }, lead.filter(Boolean).join(" · ")),
    ),
    section(
      "jobs",
      "Jobs, newest first",
      data.jobs.length ? jobs(data.jobs, now) : el("p", {}, "No job has started. One appears here as soon as it does."),
    ),
    section(
      "sites",
      "Sites",
      data.sites.length
        ? sites(data, now)
        : el(
            "p",
            {},
            "No site has been seen. A site appears here when it first connects to the server, or takes part in a job.",
          ),
    ),
  ];
}

export function spoken(data) {
  const job = data.jobs[0];
  if (!job) return "No jobs.";
  return `${job.name} ${job.words ?? job.state}, ${rounds(job)} rounds${job.worst ? `, lowest ${job.worst.site} ${fixed(job.worst.value)}` : ""}.`;
}

function sites(data, now) {
  const rows = data.sites.map((site) =>
    el(
      "tr",
      { "data-key": site.site },
      el("th", { scope: "row" }, el("a", { href: siteHref(site.site) }, site.site)),
      el("td", {}, presenceMark(site, now, data.stale_after_s)),
      el("td", { class: "num" }, ago(site.last_seen, now)),
      el("td", {}, site.version ?? absent("not known")),
      el("td", {}, certificate(site.certificate_days)),
    ),
  );
  return table("Sites", [["Site"], ["State"], ["Last seen", "num"], ["Fedward"], ["Certificate ends in"]], rows);
}

function jobs(all, now) {
  const rows = all.map((job) =>
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
      el("td", { class: "num" }, rounds(job), roundsMark(job.rounds_done, job.rounds_asked)),
      el("td", {}, worst(job)),
      el("td", { class: "num" }, ago(job.updated_at, now)),
    ),
  );
  return table(
    "Jobs, newest first",
    [["Job"], ["State"], ["Rounds", "num"], ["Lowest site"], ["Last news", "num"]],
    rows,
  );
}

function worst(job) {
  if (!job.worst || !isNumber(job.worst.value)) return absent("not measured");
  return [
    el("span", { class: "label" }, `${measureOf(job)} `),
    el("data", { value: job.worst.value, class: "strong" }, fixed(job.worst.value)),
    el("span", { class: "why" }, `at ${job.worst.site}`),
  ];
}
