// Where the time of a round went, site by site: validate, train, seal and the rest, one after the other on a clock that
// starts with the first round drawn.

import { el, px, svg, table, unseen } from "../dom.js";
import { fixed, isNumber, lasting, many, number, short } from "../words.js";

export const STAGES = [
  ["validate_s", "validate"],
  ["train_s", "train"],
  ["seal_s", "seal"],
  ["rest_s", "rest"],
];
const REST = "travel and waiting for the server";
const [WIDTH, LEFT, TOP, ROW] = [960, 150, 20, 20];
const MOST_SITES = 12;
const MOST_ROUNDS = 16;

const total = (one) => STAGES.reduce((sum, [name]) => sum + (one?.[name] ?? 0), 0);
const stagesOf = (round, site) => round.sites[site] ?? {};

/** The drawing, its key in words, and the same as a table. */
export function timeline(rounds, sites, open) {
  const drawn = rounds.slice(-MOST_ROUNDS);
  const rows = slowest(drawn, sites);
  const said = [
    drawn.length < rounds.length ? `the last ${drawn.length} of ${many(rounds.length, "round")}` : null,
    rows.length < sites.length ? `the ${rows.length} slowest of ${many(sites.length, "site")}` : null,
  ].filter(Boolean);
  const key = STAGES.map(([name, words]) =>
    el(
      "li",
      {},
      svg(
        "svg",
        { viewBox: "0 0 12 12", class: "shape", "aria-hidden": "true" },
        svg("rect", { class: name.slice(0, -2), width: 12, height: 12 }),
      ),
      name === "rest_s" ? `rest: ${REST}` : words,
    ),
  );
  return [
    said.length ? el("p", {}, `Shown: ${said.join(", ")}.`) : null,
    el("ul", { class: "key", "aria-label": "Stages" }, key),
    el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Timeline of the rounds" },
      drawing(drawn, rows),
    ),
    el(
      "details",
      { "data-key": "timeline-table", "data-details": "timeline" },
      el("summary", {}, "Seconds as a table"),
      open ? means(drawn, rows) : null,
    ),
  ];
}

function slowest(rounds, sites) {
  if (sites.length <= MOST_SITES) return sites;
  const spent = new Map(sites.map((site) => [site, rounds.reduce((sum, round) => sum + total(round.sites[site]), 0)]));
  return [...sites].sort((a, b) => spent.get(b) - spent.get(a)).slice(0, MOST_SITES);
}

function drawing(rounds, sites) {
  const lengths = rounds.map((round) =>
    Math.max(round.wall_s ?? 0, ...sites.map((site) => total(round.sites[site])), 0.001),
  );
  const all = lengths.reduce((sum, one) => sum + one, 0);
  const wide = (seconds) => (seconds / all) * (WIDTH - LEFT);
  const bottom = TOP + ROW * sites.length;
  const parts = sites.map((site, row) =>
    svg("text", { class: "name", x: 0, y: px(TOP + ROW * row + 14) }, short(site, 19)),
  );
  let start = LEFT;
  rounds.forEach((round, index) => {
    const width = wide(lengths[index]);
    parts.push(svg("line", { class: "grid", x1: px(start), y1: 4, x2: px(start), y2: bottom }));
    if (width > 22)
      parts.push(
        svg(
          "text",
          { class: "tick", x: px(start + 4), y: 13 },
          width > 64 ? `round ${round.round + 1}` : String(round.round + 1),
        ),
      );
    sites.forEach((site, row) => parts.push(...bars(site, round, start, TOP + ROW * row + 4, wide)));
    start += width;
  });
  parts.push(svg("line", { class: "grid", x1: WIDTH, y1: 4, x2: WIDTH, y2: bottom }));
  parts.push(
    svg("text", { class: "tick", x: LEFT, y: bottom + 16 }, "0 s"),
    svg("text", { class: "tick end", x: WIDTH, y: bottom + 16 }, lasting(all)),
  );
  return svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${bottom + 20}`,
      class: "timeline",
      role: "img",
      "aria-label": `Stages of ${many(rounds.length, "round")} at ${many(sites.length, "site")}; the table below has the seconds`,
    },
    parts,
  );
}

function bars(site, round, start, y, wide) {
  const one = stagesOf(round, site);
  let x = start + 1;
  const out = [];
  for (const [name, words] of STAGES) {
    if (!isNumber(one[name]) || one[name] <= 0) continue;
    const width = wide(one[name]);
    out.push(
      svg(
        "rect",
        { class: name.slice(0, -2), x: px(x), y, width: px(Math.max(width - 0.5, 0.3)), height: 12 },
        svg("title", {}, `${site}, round ${round.round + 1}, ${words}: ${fixed(one[name], 2)} s`),
      ),
    );
    x += width;
  }
  if (!out.length && one.outcome === "dropped")
    out.push(
      svg(
        "path",
        { class: "missing", d: `M${px(start + 5)} ${y + 2}l8 8m0-8l-8 8` },
        svg("title", {}, `${site}, round ${round.round + 1}: dropped`),
      ),
    );
  return out;
}

function means(rounds, sites) {
  const mean = (site, name) => {
    const values = rounds.map((round) => stagesOf(round, site)[name]).filter(isNumber);
    return values.length ? values.reduce((sum, one) => sum + one, 0) / values.length : null;
  };
  const rows = sites.map((site) =>
    el(
      "tr",
      { "data-key": site },
      el("th", { scope: "row" }, site),
      STAGES.map(([name]) => el("td", { class: "num" }, number(mean(site, name), 2))),
    ),
  );
  return table(
    "Mean seconds of a round by stage",
    [["Site"], ...STAGES.map(([, words]) => [`${words}, s`, "num"])],
    rows,
  );
}

/** The server's own part of a round, over the rounds, in words. */
export function serverWords(rounds) {
  const mean = (name) => {
    const values = rounds.map((round) => round.stages?.[name]).filter(isNumber);
    return values.length ? values.reduce((sum, one) => sum + one, 0) / values.length : null;
  };
  const [wait, add] = [mean("wait_s"), mean("add_s")];
  if (wait === null && add === null) return unseen("");
  return el(
    "p",
    {},
    `The server itself waited ${lasting(wait)} a round for the sites and took ${lasting(add)} to add up what came.`,
  );
}
