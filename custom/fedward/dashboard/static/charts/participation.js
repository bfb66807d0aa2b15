// Who took part in which round, and why an answer was missing.

import { el, table, unseen } from "../dom.js";
import { isNumber, many, moment, whole } from "../words.js";

const CELLS = 2400;
const MOST_ROUNDS = 40;

export function participation(data, sites, chosen) {
  const fit = Math.max(10, Math.min(MOST_ROUNDS, Math.floor(CELLS / Math.max(sites.length, 1))));
  const rounds = data.rounds.slice(-fit);
  const shown =
    rounds.length < data.rounds.length
      ? `The last ${rounds.length} of ${many(data.rounds.length, "round")} are shown. `
      : "";
  return [
    el("p", {}, `${shown}A square is an answer that counted; a cross is one that did not, and says why when chosen.`),
    grid(rounds, sites),
    el("p", { class: "why reason", id: "why-dropped", "data-keep": "reason", role: "status" }, ""),
    missing(data.dropped),
    declined(data.declined),
  ];
}

function grid(rounds, sites) {
  const head = rounds.map((round) =>
    el("th", { scope: "col", class: "cell", "data-key": `r${round.round}` }, unseen("round "), String(round.round + 1)),
  );
  const rows = sites.map((site) =>
    el(
      "tr",
      { "data-key": site },
      el("th", { scope: "row" }, site),
      rounds.map((round) => cell(site, round)),
    ),
  );
  return table("Participation, site by round", [["Site"], ...head], rows, { class: "grid" });
}

function cell(site, round) {
  const one = round.sites[site];
  const key = `r${round.round}`;
  if (!one) return el("td", { class: "cell", "data-key": key }, unseen("not asked"));
  if (one.outcome === "accepted") return el("td", { class: "cell in", "data-key": key }, unseen("accepted"));
  if (one.outcome === "left out")
    return el("td", { class: "cell unchosen", "data-key": key, title: "left out" }, unseen("left out"));
  const words = `${site}, round ${round.round + 1}: dropped${one.reason ? `, ${one.reason}` : ""}`;
  return el(
    "td",
    { class: "cell out", "data-key": key },
    el("button", { type: "button", "data-reason": words, "aria-label": words }, "×"),
  );
}

function missing(dropped) {
  if (!dropped.length) return null;
  const rows = [...dropped]
    .reverse()
    .map((one) =>
      el(
        "tr",
        {},
        el("td", { class: "num" }, isNumber(one.round) ? whole(one.round + 1) : "none"),
        el("th", { scope: "row" }, one.site),
        el("td", {}, one.reason || "not said"),
        el("td", {}, moment(one.at)),
      ),
    );
  return el(
    "details",
    { "data-key": "dropped" },
    el("summary", {}, `Answers that did not count, newest first (${dropped.length})`),
    table("Answers that did not count", [["Round", "num"], ["Site"], ["Reason"], ["When"]], rows),
  );
}

function declined(all) {
  if (!all.length) return null;
  return el(
    "p",
    { class: "under" },
    "Takes no part: ",
    all.map((one, index) => [index ? "; " : "", el("strong", {}, one.site), ` (${one.reason})`]),
    ".",
  );
}

/** The reason of a chosen cross stands below the grid. */
export function listenForReasons(root) {
  for (const kind of ["focusin", "pointerover", "click"])
    root.addEventListener(kind, (event) => {
      const words = event.target.closest?.("[data-reason]")?.dataset.reason;
      const place = document.getElementById("why-dropped");
      if (words && place && place.textContent !== words) place.textContent = words;
    });
}
