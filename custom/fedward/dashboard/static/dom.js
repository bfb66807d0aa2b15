// Elements made from words, and a tree on the page brought up to date without losing focus, scroll or what is open.
// Every text enters by a text node: names come from outside, and nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

export const el = (name, attributes, ...children) => made(document.createElement(name), attributes, children);
export const svg = (name, attributes, ...children) => made(document.createElementNS(SVG, name), attributes, children);

function made(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** A number of CSS pixels for an SVG attribute. */
export const px = (value) => value.toFixed(1);

/** Words that only a screen reader reads. */
export const unseen = (words) => el("span", { class: "unseen" }, words);

/** A region of its own that scrolls sideways and can be reached by keyboard. */
export const scroll = (label, ...children) =>
  el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, ...children);

const TALL = 24;

/** A table: `columns` are [words, class] or elements; `rows` are tr elements. A long one scrolls below its own head. */
export function table(caption, columns, rows, attributes = {}) {
  const head = columns.map((one) => (one instanceof Element ? one : el("th", { scope: "col", class: one[1] }, one[0])));
  const place = scroll(
    caption,
    el(
      "table",
      attributes,
      el("caption", { class: "unseen" }, caption),
      el("thead", {}, el("tr", {}, head)),
      el("tbody", {}, rows),
    ),
  );
  if (rows.length > TALL) place.classList.add("tall");
  return place;
}

export const section = (id, heading, ...children) =>
  el("section", { "aria-labelledby": id, "data-key": id }, el("h2", { id }, heading), ...children);

/**
 * Make `old` like `fresh`, touching only what differs.
 *
 * Children that carry `data-key` are matched by it, others by their place. What carries `data-keep` belongs to a drawing:
 * its children are left alone. Whether a <details> is open is the reader's.
 */
export function morph(old, fresh) {
  attributes(old, fresh);
  if (!fresh.hasAttribute("data-keep")) children(old, fresh);
}

function attributes(old, fresh) {
  for (const { name, value } of [...fresh.attributes])
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) {
    const own = name === "open" || (name === "style" && old.hasAttribute("data-keep"));
    if (!own && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
}

function children(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = wanted.dataset?.key;
    let match = key ? keyed.get(key) : place;
    if (!key && match?.dataset?.key) match = null;
    if (!match || match.nodeName !== wanted.nodeName) {
      old.insertBefore(wanted, place);
      continue;
    }
    if (match !== place) old.insertBefore(match, place);
    else place = place.nextSibling;
    if (match.nodeType !== Node.ELEMENT_NODE) {
      if (match.nodeValue !== wanted.nodeValue) match.nodeValue = wanted.nodeValue;
    } else morph(match, wanted);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}
