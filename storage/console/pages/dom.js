// Elements from data. Text only ever becomes text nodes: nothing that was stored is parsed as HTML.

/** An element. `props`: `on` (event -> handler), `class`, booleans, everything else as attribute. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on")
      for (const [type, handler] of Object.entries(value)) element.addEventListener(type, handler);
    else if (name === "value") element.value = value;
    else if (name === "checked") element.checked = true;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(3).filter((child) => child !== undefined && child !== null && child !== false),
  );
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes. */
export function svg(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const ICONS = {
  bucket:
    "M4 6c0-1.7 3.600-3 8-3s8 1.300 8 3-3.600 3-8 3-8-1.300-8-3zM4 6l1.800 12.500C6 20 8.700 21 12 21s6-1 6.200-2.500L20 6",
  folder: "M3 7a2 2 0 0 1 2-2h4l2 2.500h8a2 2 0 0 1 2 2V17a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2z",
  file: "M6 3h8l5 5v12a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zM14 3v5h5",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.500 9.200v.1",
  video: "M4 6h11v12H4zM15 10.500l5-3v9l-5-3z",
  audio:
    "M9 18V6l10-2v12M9 18a2.500 2.500 0 1 1-5 0 2.500 2.500 0 0 1 5 0zM19 16a2.500 2.500 0 1 1-5 0 2.500 2.500 0 0 1 5 0z",
  code: "M8 7l-5 5 5 5M16 7l5 5-5 5",
  table: "M4 5h16v14H4zM4 10h16M10 5v14",
  upload: "M12 16V4M7 9l5-5 5 5M4 20h16",
  download: "M12 4v12M7 11l5 5 5-5M4 20h16",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  more: "M5 11.900v.2M12 11.900v.2M19 11.900v.2",
  search: "M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14zM20 20l-4-4",
  gear: "M12 9a3 3 0 1 1 0 6 3 3 0 0 1 0-6zM19 12l2-1-1-3-2 .3-1.300-1.400L17 5l-3-1-1 2h-2l-1-2-3 1 .3 1.900L6 8.300 4 8l-1 3 2 1-2 1 1 3 2-.3 1.300 1.400L7 19l3 1 1-2h2l1 2 3-1-.3-1.900 1.300-1.400 2 .3 1-3z",
  users:
    "M9 11a3.500 3.500 0 1 1 0-7 3.500 3.500 0 0 1 0 7zM2.500 20c.5-4 3-6 6.500-6s6 2 6.500 6M16 4.500a3.500 3.500 0 0 1 0 6.500M18 14.500c2 .8 3.200 2.600 3.500 5.500",
  chart: "M4 20V4M4 20h16M8 16v-5M12.500 16V8M17 16v-3",
  help: "M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18zM9.500 9.500a2.500 2.500 0 1 1 3.500 2.300c-.7.4-1 .9-1 1.700M12 17v.1",
  trace: "M4 6h9M8 12h12M6 18h8M4 6v.1M8 12v.1",
  doctor: "M3 12h4l2.500-6 4 12 2.500-6h5",
  out: "M14 4h5v16h-5M4 12h11M11 8l4 4-4 4",
  sun: "M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.500 1.500M17.500 17.500L19 19M5 19l1.500-1.500M17.500 6.500L19 5",
  moon: "M20 14.500A8 8 0 0 1 9.500 4a8 8 0 1 0 10.500 10.500z",
  menu: "M4 7h16M4 12h16M4 17h16",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  link: "M10 14a4 4 0 0 0 6 .5l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6-.5l-3 3a4 4 0 0 0 6 6l1-1",
  move: "M4 12h14M13 7l5 5-5 5",
  check: "M5 12.500l4.500 4.500L19 7",
  alert: "M12 4l9 16H3zM12 10v5M12 17.500v.1",
  info: "M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18zM12 11v5M12 8v.1",
  fold: "M6 9.500l6 6 6-6",
  again: "M20 12a8 8 0 1 1-2.500-5.800L20 8.500M20 4v4.500h-4.500",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  key: "M14.500 4a5.500 5.500 0 1 1-4.200 9L4 19v2h4v-2.500h2.500V16l.8-.8M16 8.500v.1",
  shield: "M12 3l8 3v6c0 5-3.500 8-8 9-4.500-1-8-4-8-9V6z",
  eye: "M2.500 12C5 7.500 8 5.500 12 5.500S19 7.500 21.500 12C19 16.500 16 18.500 12 18.500S5 16.500 2.500 12zM12 9a3 3 0 1 1 0 6 3 3 0 0 1 0-6z",
  history: "M4 12a8 8 0 1 0 2.500-5.800L4 8.500M4 4v4.500h4.500M12 8v4.500l3 2",
  qr: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h2v2h-2zM18 18h2v2h-2zM18 14h2M14 18v2",
};

/** An icon by name; it says nothing to who can't see it. */
export function icon(name, extra = "") {
  return svg(
    "svg",
    { class: `icon ${extra}`.trim(), viewBox: "0 0 24 24", "aria-hidden": "true" },
    svg("path", { d: ICONS[name] ?? ICONS.file }),
  );
}

/** Replace what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(
    ...children.flat(3).filter((child) => child !== undefined && child !== null && child !== false),
  );
  return element;
}

/** A text of ours whose parts between backticks are what people type. */
export function rich(text) {
  return text.split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));
}

const HIDDEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** A stored name as text: what is invisible, or turns writing around, is shown by its number. */
export function shown(name) {
  return name.replace(HIDDEN, (c) =>
    c === "\n" ? "⏎" : `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
  );
}

/** A stored name in a sentence: of a very long one the beginning and the end. */
export function brief(name) {
  const text = shown(name);
  return text.length > 90 ? `${text.slice(0, 50)} … ${text.slice(-30)}` : text;
}

/** A stored name as an element of its own direction. */
export function named(name) {
  return h("bdi", {}, shown(name));
}
