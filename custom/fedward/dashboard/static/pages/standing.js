// How a job stands where it does not simply run, and what interrupted it.

import { el, table } from "../dom.js";
import { isNumber, moment, sentence, whole } from "../words.js";

const HEADINGS = {
  resuming: "The job is being resumed",
  paused: "The job is paused",
  finished: "The job is done, with sites missing at its end",
  aborted: "The job was aborted",
  failed: "The job failed",
};

/** How the job ended or why it does not go on, in the words of the report. */
export const standing = (job) =>
  el(
    "section",
    { class: "box", "aria-labelledby": "standing", "data-key": "standing" },
    el("h2", { id: "standing" }, HEADINGS[job.state] ?? `The job is ${job.state}`),
    el("p", {}, sentence(job.words ?? job.reason ?? job.state)),
  );

/** What the model of a job that ended is worth, apart from how the job ended; null while it runs. */
export function worth(verdicts = []) {
  if (!verdicts.length) return null;
  const bad = verdicts.some((one) => !one.good);
  return el(
    "section",
    { class: bad ? "box" : null, "aria-labelledby": "worth", "data-key": "worth" },
    el("h2", { id: "worth" }, bad ? "Before the model is used" : "What the model is worth"),
    verdicts.map((one) => el("p", {}, one.words, one.advice ? ` Try: ${one.advice}.` : "")),
  );
}

const BY = { "server process": "the job’s process at the server was gone", server: "the server was started again" };
const after = (turn) => (turn.round ? `after round ${whole(turn.round)}` : "from the beginning");
const TURNS = {
  resumed: (turn) =>
    `The job was resumed ${after(turn)}${isNumber(turn.attempt) ? `, attempt ${whole(turn.attempt)}` : ""}: ${BY[turn.by] ?? "a person took it up again"}.`,
  paused: (turn) => `The server paused: ${turn.reason ?? "it gave no reason"}.`,
  unpaused: () => "The server went on.",
  returned: (turn) => `${turn.site} answered again${isNumber(turn.round) ? ` in round ${whole(turn.round + 1)}` : ""}.`,
};

/** Resumptions, pauses and sites that came back, oldest first; null if nothing interrupted the job. */
export function interruptions(turns = []) {
  const shown = turns.filter((turn) => TURNS[turn.kind]);
  if (!shown.length) return null;
  const rows = shown.map((turn) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", class: "wrap" }, TURNS[turn.kind](turn)),
      el("td", { class: "num" }, moment(turn.at)),
    ),
  );
  return table("What interrupted the job, oldest first", [["What interrupted it"], ["When", "num"]], rows);
}
