// Lines over the rounds, drawn by uPlot on a canvas; names and last values stand at the lines' ends as buttons, so that
// a line is chosen by mouse, finger or keyboard, and its 95 % interval shows as a band.

import { el, morph, px, svg } from "../dom.js";
import { fixed, hasInterval, intervalWords, isNumber } from "../words.js";

const LABEL_GAP = 21;
const LEADER = 24;
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif';
const WHOLE_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const styles = getComputedStyle(document.documentElement);
const colour = (name) => styles.getPropertyValue(name).trim();

/** Labels moved apart to `gap` between neighbours, their order and, if it can be, the range kept (as the report's). */
export function spread(places, gap, low, high) {
  const order = places.map((at, index) => [at, index]).sort((a, b) => a[0] - b[0]);
  const moved = [];
  for (const [at] of order) moved.push(Math.max(at, low, moved.length ? moved.at(-1) + gap : low));
  let limit = high;
  for (let index = moved.length - 1; index >= 0; index -= 1) {
    moved[index] = Math.min(moved[index], limit);
    limit = moved[index] - gap;
  }
  const out = new Array(places.length);
  order.forEach(([, index], rank) => (out[index] = moved[rank]));
  return out;
}

/**
 * One drawing of several lines.
 *
 * `update({ label, lines, range, height, band, ends, digits })`: `lines` are { name, colour: 0 to 5, dashed, round, value,
 * low, high, quiet }; `band` is the name of the line whose interval shows while none is chosen.
 */
export class Lines {
  constructor(host) {
    this.host = host;
    this.chosen = null;
    this.hovered = null;
    this.plot = null;
    this.canvas = el("div", { class: "canvas", role: "img" });
    this.ends = el("div", { class: "ends" });
    this.readout = el("p", { class: "readout" });
    host.replaceChildren(this.readout, el("div", { class: "plot" }, this.canvas, this.ends));
    this.watch = new ResizeObserver(() => this.#resize());
    this.watch.observe(this.canvas);
    this.onScheme = () => this.plot?.redraw(false);
    dark.addEventListener("change", this.onScheme);
    for (const kind of ["focusin", "pointerover"])
      this.ends.addEventListener(kind, (event) => this.#hover(nameOf(event)));
    for (const kind of ["focusout", "pointerleave"]) this.ends.addEventListener(kind, () => this.#hover(null));
    this.ends.addEventListener("click", (event) => this.#choose(nameOf(event)));
    this.ends.addEventListener("keydown", (event) => this.#step(event));
  }

  destroy() {
    this.watch.disconnect();
    dark.removeEventListener("change", this.onScheme);
    this.plot?.destroy();
    this.plot = null;
  }

  update(given) {
    this.given = given;
    this.canvas.setAttribute("aria-label", given.label);
    this.host.classList.toggle("bare", !given.ends);
    const shape = JSON.stringify([
      given.lines.map((line) => [line.name, line.colour, line.dashed, line.quiet]),
      given.height,
    ]);
    this.rounds = [
      ...new Set(given.lines.flatMap((line) => line.round.filter((_, index) => isNumber(line.value[index])))),
    ].sort((a, b) => a - b);
    const at = new Map(this.rounds.map((round, index) => [round, index]));
    this.data = [this.rounds, ...given.lines.map((line) => column(line, line.value, at))];
    if (this.chosen && !given.lines.some((line) => line.name === this.chosen)) this.chosen = null;
    if (this.plot && shape === this.shape) this.plot.setData(this.data);
    else this.#make();
    this.shape = shape;
    this.#say();
  }

  get active() {
    return this.hovered ?? this.chosen ?? this.given.band;
  }

  #make() {
    this.plot?.destroy();
    const { lines, height } = this.given;
    const series = lines.map((line) => ({
      label: line.name,
      stroke: () => colour(line.quiet ? "--soft" : `--s${line.colour}`),
      width: line.quiet ? 1.2 : 2,
      dash: line.dashed || line.quiet ? [5, 4] : undefined,
      spanGaps: true,
      points: { show: () => !line.quiet && this.rounds.length <= 16, size: 5, fill: () => colour(`--s${line.colour}`) },
    }));
    const axis = {
      stroke: () => colour("--soft"),
      font: FONT,
      ticks: { show: false },
      grid: { stroke: () => colour("--grid"), width: 1 },
    };
    const options = {
      width: Math.max(this.canvas.clientWidth, 120),
      height,
      legend: { show: false },
      padding: [10, 10, 0, 0],
      cursor: { y: false, drag: { x: false, y: false, setScale: false }, focus: { prox: 24 }, points: { show: false } },
      focus: { alpha: 0.3 },
      scales: {
        x: { time: false, range: (plot, low, high) => [low ?? 0, Math.max(high ?? 1, (low ?? 0) + 1)] },
        y: { range: () => this.given.range },
      },
      axes: [
        { ...axis, grid: { show: false }, incrs: WHOLE_STEPS, space: 34, size: 30, gap: 6 },
        { ...axis, size: 44, gap: 6, space: 36 },
      ],
      series: [{ label: "round" }, ...series],
      hooks: {
        drawAxes: [(plot) => this.#band(plot)],
        draw: [() => this.#place()],
        setCursor: [() => this.#say()],
        setSeries: [(plot, index) => this.#underCursor(plot, index)],
      },
    };
    this.plot = new window.uPlot(options, this.data, this.canvas);
  }

  #resize() {
    const width = this.canvas.clientWidth;
    if (this.plot && width > 0 && Math.abs(width - this.plot.width) >= 1)
      this.plot.setSize({ width, height: this.given.height });
  }

  /** The active line's 95 % interval, under the lines. */
  #band(plot) {
    const line = this.given.lines.find((one) => one.name === this.active && !one.quiet);
    const ends = (line?.round ?? [])
      .map((round, index) => [round, line.low?.[index], line.high?.[index]])
      .filter(([, low, high]) => isNumber(low) && isNumber(high));
    if (!ends.length) return;
    const { ctx } = plot;
    const point = (round, value) => [plot.valToPos(round, "x", true), plot.valToPos(value, "y", true)];
    ctx.save();
    ctx.beginPath();
    ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
    ctx.clip();
    ctx.beginPath();
    for (const [round, , high] of ends) ctx.lineTo(...point(round, high));
    for (const [round, low] of [...ends].reverse()) ctx.lineTo(...point(round, low));
    ctx.closePath();
    ctx.globalAlpha = 0.16;
    ctx.fillStyle = colour(`--s${line.colour}`);
    ctx.fill();
    ctx.restore();
  }

  /** The labels beside the lines' ends, none over another, each with a thin leader to its line. */
  #place() {
    const { plot, given } = this;
    if (!plot || !given.ends) return;
    const ratio = window.devicePixelRatio || 1;
    const [top, bottom] = [plot.bbox.top / ratio, (plot.bbox.top + plot.bbox.height) / ratio];
    const shown = given.lines.map((line) => ({ line, last: lastOf(line) })).filter(({ last }) => last !== null);
    const places = shown.map(({ last }) => top + plot.valToPos(last.value, "y"));
    const moved = spread(
      places,
      Math.min(LABEL_GAP, (bottom - top + 16) / Math.max(shown.length - 1, 1)),
      top - 2,
      bottom + 8,
    );
    const leaders = shown.map(({ line }, index) =>
      svg("line", { x1: 2, y1: px(places[index]), x2: LEADER, y2: px(moved[index]), class: `s${line.colour}` }),
    );
    const labels = shown.map(({ line, last }) => {
      const words = `${line.name}, after ${last.round} rounds ${fixed(last.value, given.digits)}`;
      return el(
        "button",
        {
          type: "button",
          class: `s${line.colour}`,
          "data-name": line.name,
          "aria-pressed": String(this.chosen === line.name),
          "aria-label": words,
          title: line.name,
        },
        el("span", { class: "last" }, fixed(last.value, given.digits)),
        ` ${line.name}`,
      );
    });
    morph(
      this.ends,
      el(
        "div",
        { class: "ends" },
        svg(
          "svg",
          { viewBox: `0 0 ${LEADER} ${given.height}`, width: LEADER, height: given.height, "aria-hidden": "true" },
          leaders,
        ),
        labels,
      ),
    );
    [...this.ends.querySelectorAll("button")].forEach((button, index) => {
      button.style.top = `${px(moved[index] - LABEL_GAP / 2)}px`;
      button.classList.toggle("active", this.active === shown[index].line.name);
    });
    this.ends.style.height = `${given.height}px`;
  }

  #hover(name) {
    if (name === this.hovered) return;
    this.hovered = name;
    this.#focus();
  }

  #choose(name) {
    if (!name) return;
    this.chosen = this.chosen === name ? null : name;
    this.#focus();
  }

  /** Left and right on a label move the round that is read out. */
  #step(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move || !this.rounds.length) return;
    event.preventDefault();
    const from = this.plot.cursor.idx ?? this.rounds.length - (move < 0 ? 0 : 1);
    const index = Math.min(this.rounds.length - 1, Math.max(0, from + move));
    this.plot.setCursor({ left: this.plot.valToPos(this.rounds[index], "x"), top: 10 });
  }

  #focus() {
    const index = this.given.lines.findIndex((line) => line.name === (this.hovered ?? this.chosen));
    this.plot.setSeries(index < 0 ? null : index + 1, { focus: true }, false);
    this.plot.redraw(false);
    this.#say();
  }

  #underCursor(plot, index) {
    const name = index ? this.given.lines[index - 1]?.name : null;
    if (plot.cursor.event && name !== this.hovered) {
      this.hovered = name ?? null;
      plot.redraw(false);
      this.#say();
    }
  }

  /** What the active line says at the round under the cursor, or at its last. */
  #say() {
    if (!this.given || !this.given.ends) return;
    const line = this.given.lines.find((one) => one.name === this.active) ?? this.given.lines[0];
    const round = this.rounds[this.plot?.cursor.idx ?? -1];
    const index = round === undefined ? -1 : line.round.indexOf(round);
    const at = index >= 0 && isNumber(line.value[index]) ? { round, index } : lastOf(line);
    const words =
      at === null
        ? ""
        : `${line.name}, after ${at.round} ${at.round === 1 ? "round" : "rounds"}: ${fixed(line.value[at.index], this.given.digits)}`;
    const row =
      at === null ? null : { value: line.value[at.index], low: line.low?.[at.index], high: line.high?.[at.index] };
    const said = words + (row && hasInterval(row) ? `, 95 % interval ${intervalWords(row)} (the band)` : "");
    if (this.readout.textContent !== said) this.readout.textContent = said;
  }
}

const nameOf = (event) => event.target.closest?.("[data-name]")?.dataset.name ?? null;

function column(line, values, at) {
  const out = new Array(at.size).fill(null);
  line.round.forEach((round, index) => {
    if (at.has(round)) out[at.get(round)] = isNumber(values[index]) ? values[index] : null;
  });
  return out;
}

/** The last measured point of a line, or null. */
export function lastOf(line) {
  for (let index = line.round.length - 1; index >= 0; index -= 1)
    if (isNumber(line.value[index])) return { round: line.round[index], value: line.value[index], index };
  return null;
}
