// The page: which view is shown, what it was last told, and whether the server still tells it.

import { el, morph } from "./dom.js";
import * as federation from "./pages/federation.js";
import * as job from "./pages/job.js";
import * as site from "./pages/site.js";
import { age, clock, isStale, presenceMark } from "./words.js";

const VIEWS = {
  federation: { ...federation, path: () => "/api/federation" },
  jobs: { ...job, path: (id) => `/api/jobs/${encodeURIComponent(id)}` },
  sites: { ...site, path: (id) => `/api/sites/${encodeURIComponent(id)}` },
};
const REFRESH_MS = 10_000;
const SPOKEN_EVERY_MS = 10_000;
const RETRY_MS = [1000, 2000, 5000, 10_000];

const main = document.getElementById("main");
const link = document.getElementById("link");
const spokenPlace = document.getElementById("spoken");

const shown = { view: "federation", id: null, data: null, federation: null, error: null };
const server = { now: null, heardAt: 0, open: false, answered: false, signedOut: false };

// ---- where we are

function readRoute() {
  const [, view, id] = location.hash.match(/^#\/(jobs|sites)\/(.+)$/) ?? [];
  try {
    return view ? { view, id: decodeURIComponent(id) } : { view: "federation", id: null };
  } catch {
    return { view: "federation", id: null };
  }
}

function go(first = false) {
  Object.assign(shown, readRoute(), { data: null, error: null });
  spokenLast = "";
  if (shown.view === "federation" && shown.federation) render(shown.federation);
  refresh().then(() => {
    if (first) return;
    window.scrollTo(0, 0);
    (main.querySelector("h1") ?? main).focus({ preventScroll: true });
  });
}

// ---- what the server says

const serverNow = () => (server.now === null ? Date.now() / 1000 : server.now + (Date.now() - server.heardAt) / 1000);

async function get(path) {
  const answer = await fetch(path, {
    cache: "no-store",
    headers: { Accept: "application/json" },
    credentials: "same-origin",
  });
  server.signedOut = answer.status === 401 || answer.status === 403;
  if (answer.status === 404) return { missing: (await answer.json()).error ?? "not found" };
  if (!answer.ok) throw new Error(`${answer.status}`);
  const data = await answer.json();
  server.now = data.now;
  server.heardAt = Date.now();
  return data;
}

let reading = null;
let again = false;

/** Fetch what the view shows; asked for while one is under way, it is done once more after it. */
function refresh(how = readAll) {
  if (reading !== null && how === readAll) again = true;
  reading ??= how().then(() => {
    reading = null;
    if (!again) return undefined;
    again = false;
    return refresh();
  });
  return reading;
}

function readAll() {
  const { view, id } = shown;
  return settle(view, id, () =>
    Promise.all([get("/api/federation"), view === "federation" ? null : get(VIEWS[view].path(id))]),
  );
}

/** Who was seen when; a job is fetched again only where it has news that no event told. */
function lookAround() {
  const { view, id, data } = shown;
  if (view !== "jobs" || !data || data.missing) return readAll();
  const same = (one) => one.id === id && one.state === data.job.state && one.updated_at === data.job.updated_at;
  return settle(view, id, async () => {
    const all = await get("/api/federation");
    return [all, all.jobs.some(same) ? data : await get(VIEWS.jobs.path(id))];
  });
}

async function settle(view, id, fetched) {
  let all = null;
  let data = null;
  try {
    [all, data] = await fetched();
    server.answered = true;
  } catch {
    server.answered = false; // shown by the lamp, with the time of what is on the page
  }
  if (all) shown.federation = all;
  if (view !== shown.view || id !== shown.id) again = true;
  else if (all) render(data ?? all);
  else if (!shown.data) render(null);
  showLink();
}

function listen(tries = 0) {
  const source = new EventSource("/api/stream");
  source.addEventListener("open", () => {
    tries = 0;
    server.open = true;
    refresh(lookAround);
  });
  source.addEventListener("change", (event) => {
    const { jobs = [] } = JSON.parse(event.data);
    if (shown.view !== "jobs" || !jobs.length || jobs.includes(shown.id)) refresh();
  });
  source.addEventListener("error", () => {
    server.open = false;
    showLink();
    if (source.readyState !== EventSource.CLOSED) return;
    source.close();
    setTimeout(() => listen(tries + 1), RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]);
  });
}

// ---- what is on the page

function render(data) {
  shown.data = data;
  const view = VIEWS[shown.view];
  const now = serverNow();
  const fresh = el("main", { id: "main", tabindex: "-1" });
  const seen = new Map((shown.federation?.sites ?? []).map((one) => [one.site, one]));
  const staleAfter = shown.federation?.stale_after_s ?? 60;
  if (!data) fresh.append(...nothing("Not connected", "The server does not answer. This page tries again by itself."));
  else if (data.missing) fresh.append(...nothing("Not found", data.missing));
  else fresh.append(...view.view(data, { now, seen, staleAfter, redraw: () => render(shown.data) }));
  const focused = document.activeElement;
  morph(main, fresh);
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  if (data && !data.missing) view.draw?.(main, data);
  showTrail(view, data);
  if (data && !data.missing) speak(view.spoken(data));
}

const nothing = (heading, words) => [
  el(
    "header",
    { class: "head" },
    el("h1", { tabindex: "-1" }, heading),
    el("p", { class: "lead" }, words),
    el("p", {}, el("a", { href: "#/" }, "To the federation")),
  ),
];

function showTrail(view, data) {
  const known = data && !data.missing ? data : null;
  const steps = view
    .trail(known, shown.id)
    .map(([words, href]) =>
      el("span", {}, href ? el("a", { href }, words) : el("span", { "aria-current": "page" }, words)),
    );
  morph(document.getElementById("trail"), el("span", { id: "trail" }, steps));
  const words = `${view.title(known, shown.id)} · Fedward`;
  if (document.title !== words) document.title = words;
}

/** True if every hospital has been silent for long: the data is as it should be, and nothing runs. */
function heardNobody() {
  const all = shown.federation;
  return Boolean(all?.sites.length) && all.sites.every((site) => isStale(site, serverNow(), all.stale_after_s));
}

function showLink() {
  const live = server.open && server.answered;
  const words = server.signedOut
    ? ["signed out: ", el("a", { href: "/" }, "sign in again")]
    : live
      ? heardNobody()
        ? "up to date; no hospital is heard"
        : "live"
      : server.now === null
        ? "not connected"
        : `not connected, showing data of ${clock(server.now)}`;
  morph(
    link,
    el(
      "p",
      { id: "link", class: `link ${live ? "on" : "off"}` },
      el("span", { class: "lamp", "aria-hidden": "true" }),
      words,
    ),
  );
  document.body.classList.toggle("cut-off", !live);
  if (!live && server.now !== null) speak("Not connected.");
}

// ---- for who listens: at most one line every ten seconds

let spokenLast = "";
let spokenAt = -SPOKEN_EVERY_MS;
let spokenSoon = null;
let spokenFirst = true;

function speak(words) {
  if (!words || words === spokenLast) return;
  spokenLast = words;
  if (spokenFirst) {
    spokenFirst = false;
    return;
  }
  if (spokenSoon !== null) return;
  spokenSoon = setTimeout(
    () => {
      spokenSoon = null;
      spokenAt = Date.now();
      spokenPlace.textContent = spokenLast;
    },
    Math.max(0, spokenAt + SPOKEN_EVERY_MS - Date.now()),
  );
}

// ---- time passes without any event

function tick() {
  const now = serverNow();
  for (const one of main.querySelectorAll("[data-at]")) {
    const words = age(now - Number(one.dataset.at));
    if (one.textContent !== words) one.textContent = words;
  }
  const all = shown.federation;
  if (!all) return;
  showLink();
  const sites = new Map(all.sites.map((one) => [one.site, one]));
  for (const one of main.querySelectorAll(".state[data-site]")) {
    const known = sites.get(one.dataset.site);
    if (known) morph(one, presenceMark(known, now, all.stale_after_s));
  }
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
  main.scrollIntoView();
});
window.addEventListener("hashchange", () => go());
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh(lookAround));
setInterval(tick, 1000);
setInterval(() => refresh(lookAround), REFRESH_MS);
go(true);
listen();
