// Small drawings that stand in a table's cell: a 95 % interval on a shared scale, and ε against its cap.
// Each stands beside its numbers, so it is hidden from a screen reader.

import { px, svg } from "../dom.js";
import { fixed, hasInterval, isNumber } from "../words.js";

const WIDTH = 168;
const EDGE = 12;

/** A scale around the rows' values and intervals that ends on multiples of 0.05 within 0 to 1, as the report's. */
export function valueScale(rows, also = []) {
  const values = [...rows.flatMap((row) => [row.value, row.low, row.high]), ...also].filter(isNumber);
  if (!values.length) return null;
  const low = Math.max(0, Math.floor(Math.min(...values) * 20 - 0.2) / 20);
  const high = Math.min(1, Math.max(Math.ceil(Math.max(...values) * 20 + 0.2) / 20, low + 0.1));
  return { low: Math.min(low, high - 0.1), high };
}

const place = (scale, value) => EDGE + ((value - scale.low) / (scale.high - scale.low)) * (WIDTH - 2 * EDGE);
const drawing = (height, kind, ...parts) =>
  svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, height, class: kind, "aria-hidden": "true" }, parts);

/** The scale's ends, for the head of the column. */
export function scaleMark(scale) {
  const ends = [
    [scale.low, EDGE, "tick mid"],
    [scale.high, WIDTH - EDGE, "tick mid"],
  ];
  return drawing(
    16,
    "scale",
    ...ends.map(([value, x, kind]) => svg("text", { x, y: 12, class: kind }, fixed(value, 2))),
  );
}

/** A row's value and interval; the thin line is the threshold where there is one, the open mark the others' mean. */
export function intervalMark(row, scale, { threshold = null, worst = false } = {}) {
  const x = (value) => px(place(scale, Math.min(scale.high, Math.max(scale.low, value))));
  const parts = [svg("line", { class: "grid", x1: x(scale.low), y1: 11, x2: x(scale.high), y2: 11 })];
  if (isNumber(threshold))
    parts.push(svg("line", { class: "threshold", x1: x(threshold), y1: 0, x2: x(threshold), y2: 22 }));
  if (isNumber(row.flag?.others_mean))
    parts.push(svg("circle", { class: "others", cx: x(row.flag.others_mean), cy: 11, r: 3.6 }));
  if (hasInterval(row)) {
    parts.push(svg("line", { class: "interval", x1: x(row.low), y1: 11, x2: x(row.high), y2: 11 }));
    for (const end of [row.low, row.high])
      parts.push(svg("line", { class: "interval", x1: x(end), y1: 7, x2: x(end), y2: 15 }));
  }
  if (isNumber(row.value)) parts.push(svg("circle", { class: "point", cx: x(row.value), cy: 11, r: 4.5 }));
  return drawing(22, worst ? "forest lowest" : "forest", parts);
}

/** ε of this job (strong) within ε spent over all jobs (light), on a track that ends at the hospital's cap. */
export function epsilonMark(epsilon) {
  const end = isNumber(epsilon.cap) ? epsilon.cap : Math.max(epsilon.spent ?? 0, epsilon.charged ?? 0) * 1.1;
  if (!(end > 0)) return null;
  const upTo = (value) => px(Math.min(1, Math.max(0, value / end)) * WIDTH);
  const parts = [svg("rect", { class: "track", x: 0, y: 3, width: WIDTH, height: 6 })];
  if (isNumber(epsilon.spent))
    parts.push(svg("rect", { class: "spent", x: 0, y: 3, width: upTo(epsilon.spent), height: 6 }));
  if (isNumber(epsilon.charged))
    parts.push(svg("rect", { class: "charged", x: 0, y: 3, width: upTo(epsilon.charged), height: 6 }));
  if (isNumber(epsilon.cap)) parts.push(svg("line", { class: "cap", x1: WIDTH - 1, y1: 0, x2: WIDTH - 1, y2: 12 }));
  const out = drawing(12, "meter", parts);
  out.setAttribute("preserveAspectRatio", "none");
  return out;
}

/** How many of the rounds are done, as a thin line. */
export function roundsMark(done, asked) {
  if (!(asked > 0)) return null;
  const width = px(Math.min(1, done / asked) * 64);
  return svg(
    "svg",
    { viewBox: "0 0 64 4", width: 64, height: 4, class: "progress", "aria-hidden": "true" },
    svg("rect", { class: "track", width: 64, height: 4 }),
    svg("rect", { class: "charged", width, height: 4 }),
  );
}
