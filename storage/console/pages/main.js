// The page: who is signed in, which page is shown, and the frame around it.
import { control, may, remembered, session, state } from "./api.js";
import { brief, fill, h, icon } from "./dom.js";
import { signIn, signInAgain } from "./signin.js";
import { T } from "./texts.js";
import { empty, fail, iconButton, toast } from "./ui.js";
import { running } from "./transfers.js";

const app = document.getElementById("app");

// Loaded when they are first looked at.
const PAGES = {
  buckets: () => import("./buckets.js"),
  browse: () => import("./browse.js"),
  object: () => import("./object.js"),
  settings: () => import("./settings.js"),
  langfuse: () => import("./langfuse.js"),
  monitoring: () => import("./monitoring.js"),
  people: () => import("./people.js"),
  doctor: () => import("./doctor.js"),
  help: () => import("./help.js"),
};

const NAVIGATION = [
  ["buckets", "bucket", () => true],
  ["langfuse", "trace", () => indexed],
  ["monitoring", "chart", () => may("admin:ServerInfo")],
  ["people", "users", () => true],
  ["doctor", "doctor", () => examined],
  ["help", "help", () => true],
];
/** Parts of its address without which a page is none: a bucket, and an object in it. */
const NEEDED = { browse: 1, settings: 1, object: 2 };
const PARENTS = { browse: "buckets", object: "buckets", settings: "buckets" };

/** Whether the store keeps an index of Langfuse's objects. */
let indexed = false;
/** Whether there are checks, and the user may run them. */
let examined = false;
/** Where a sentence waits for the page to be loaded again. */
const SAID = "oversight-said";
let leaving = null;
let main;

/** The address of a page: `link("browse", bucket, prefix)`. */
export const link = (page, ...parts) => `#/${[page, ...parts].map(encodeURIComponent).join("/")}`;

/** The page and its parts that the address names; of an address that nobody could have made, none. */
function place() {
  const [name, ...parts] = location.hash.replace(/^#\/?/, "").split("/");
  try {
    return [name || "buckets", ...parts.map(decodeURIComponent)];
  } catch {
    return [location.hash];
  }
}

/** What tabs and the browser's history call a page. */
const titleOf = (name, parts) =>
  [
    parts.length && PARENTS[name] ? brief(parts.filter(Boolean).slice(0, 2).at(-1) ?? "") : "",
    T.nav[PARENTS[name] ?? name] ?? T.errors.title,
    T.name,
  ]
    .filter(Boolean)
    .join(" · ");

async function show() {
  const [name, ...parts] = place();
  leaving?.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  document
    .querySelectorAll(".nav a")
    .forEach((a) =>
      a.dataset.page === (PARENTS[name] ?? name)
        ? a.setAttribute("aria-current", "page")
        : a.removeAttribute("aria-current"),
    );
  openMenu(false);
  document.title = titleOf(name, parts);
  if (
    !Object.hasOwn(PAGES, name) ||
    parts.slice(0, NEEDED[name]).filter(Boolean).length < (NEEDED[name] ?? 0)
  ) {
    fill(main, empty("help", T.errors.page, ""));
    delete main.dataset.place;
    return;
  }
  const page = h("div");
  try {
    const { render } = await PAGES[name]().catch(() => {
      throw new Error(T.errors.unreachable);
    });
    if (signal.aborted) return;
    const before = main.dataset.place;
    main.dataset.place = name;
    await render(page, {
      parts,
      signal,
      link,
      swap: () => !signal.aborted && !page.isConnected && fill(main, page),
    });
    if (signal.aborted) return;
    if (!page.isConnected) fill(main, page);
    if (before) main.querySelector("h1:not(.sr), .crumbs")?.focus?.({ preventScroll: true });
    scrollTo(0, 0);
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    fill(
      main,
      empty(
        error.status === 403 ? "shield" : "alert",
        error.status === 403 ? T.errors.denied : T.errors.title,
        error.message,
        h("button", { type: "button", on: { click: show } }, T.common.retry),
      ),
    );
  }
}

function shell() {
  const me = state.session.me;
  main = h("main", { class: "main", id: "content", tabindex: "-1" });
  const links = NAVIGATION.filter(([, , allowed]) => allowed()).map(([page, name]) =>
    h("a", { href: link(page), "data-page": page }, icon(name), T.nav[page]),
  );
  const brand = () =>
    h(
      "a",
      { class: "brand", href: link("buckets") },
      h("img", { src: "static/icon.svg", alt: "" }),
      T.name,
    );
  const opener = h(
    "button",
    {
      type: "button",
      class: "icon plain",
      "aria-label": T.nav.menu,
      title: T.nav.menu,
      "aria-expanded": "false",
      "aria-controls": "side",
      on: { click: () => openMenu(true) },
    },
    icon("menu"),
  );
  const side = h(
    "aside",
    { class: "side", id: "side" },
    h(
      "div",
      { class: "row side-head" },
      brand(),
      iconButton("close", T.nav.closeMenu, () => openMenu(false)),
    ),
    h("nav", { class: "nav", "aria-label": T.nav.label }, links),
    h(
      "div",
      { class: "nav-foot" },
      h(
        "div",
        { class: "who" },
        h("span", { class: "avatar", "aria-hidden": "true" }, me.user.slice(0, 1).toUpperCase()),
        h(
          "div",
          { class: "grow" },
          h("b", {}, me.display_name),
          h(
            "span",
            { class: "small muted" },
            me.root ? T.people.root : me.policies.join(", ") || me.access_key,
          ),
        ),
      ),
      h("div", { class: "nav-tools" }, themeButton(), iconButton("out", T.nav.signOut, signOut)),
    ),
  );
  fill(
    app,
    h(
      "a",
      {
        class: "skip",
        href: "#content",
        on: {
          click: (event) => {
            event.preventDefault();
            main.focus();
          },
        },
      },
      T.skip,
    ),
    h(
      "div",
      { class: "shell" },
      side,
      h("div", {}, h("header", { class: "topbar" }, opener, brand()), main),
    ),
  );
}

/** On narrow screens the navigation lies over the page: it takes the focus, and gives it back. */
function openMenu(open) {
  const side = document.getElementById("side");
  const opener = document.querySelector(".topbar button");
  if (!side || side.classList.contains("open") === open) return;
  const back = side.contains(document.activeElement);
  side.classList.toggle("open", open);
  opener.setAttribute("aria-expanded", String(open));
  main.inert = open;
  if (open) side.querySelector(".nav a").focus();
  else if (back) opener.focus();
}

addEventListener("keydown", (event) => event.key === "Escape" && openMenu(false));
addEventListener(
  "pointerdown",
  (event) => event.target.closest?.(".side, .topbar button") || openMenu(false),
);
addEventListener("resize", () => matchMedia("(min-width: 50.01rem)").matches && openMenu(false));

// A file that falls beside the place for it would replace the page.
for (const type of ["dragover", "drop"]) {
  addEventListener(type, (event) => {
    if (event.defaultPrevented || ![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "none";
  });
}

function themeButton() {
  const dark = () =>
    (document.documentElement.dataset.theme ??
      (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const toggle = iconButton("moon", "", () => {
    const theme = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("oversight-theme", theme);
    draw();
  });
  const draw = () => {
    const label = dark() ? T.nav.light : T.nav.dark;
    fill(toggle, icon(dark() ? "sun" : "moon"));
    toggle.setAttribute("aria-label", label);
    toggle.title = label;
  };
  draw();
  return toggle;
}

async function signOut() {
  const told = await session("DELETE").catch(() => null);
  state.session = null;
  if (told?.detail) sessionStorage.setItem(SAID, told.detail);
  channel?.postMessage("signed out");
  location.replace(location.pathname);
  location.reload();
}

// Two tabs: who signs out in one is signed out in the other.
const channel = globalThis.BroadcastChannel && new BroadcastChannel("oversight");
if (channel) channel.onmessage = () => location.reload();

let looking = null;

/** After a refusal: whether the user's rights are others than this page believes, and then say so. */
function lookAtRights() {
  looking ??= session("GET")
    .then(changed, () => {})
    .finally(() => (looking = null));
}

const RIGHTS = ["actions", "own_keys", "policies", "narrowed", "display_name"];

function changed(found) {
  const before = state.session;
  if (!found || !before || found.me.id !== before.me.id) return;
  state.session = found;
  if (JSON.stringify(found.me, RIGHTS) === JSON.stringify(before.me, RIGHTS)) return;
  document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
  shell();
  toast(T.errors.rightsChanged, true);
  show();
}

let active = Date.now();
for (const type of ["pointerdown", "keydown"])
  addEventListener(type, () => (active = Date.now()), { passive: true });

/** Keep the session of somebody who is there, or whose uploads are. */
async function stay() {
  const left = state.session.expires - Date.now() / 1000;
  const present = Date.now() - active < 15 * 60_000 || running();
  if (left < 20 * 60 && left > 0 && present) {
    try {
      state.session = await session("PUT");
    } catch {
      // It is asked again with the next request that needs it.
    }
  }
}

async function begin() {
  if (remembered()) state.session = await session("GET").catch(() => null);
  const said = sessionStorage.getItem(SAID);
  sessionStorage.removeItem(SAID);
  if (said) toast(said, true);
  if (!state.session) state.session = await signIn(app);
  state.askAgain = signInAgain;
  state.onRefused = lookAtRights;
  [indexed, examined] = await Promise.all([
    control("GET", ["langfuse"]).then(
      ({ state: now }) => now !== "off",
      () => false,
    ),
    may("admin:OBDInfo")
      ? control("GET", ["doctor"]).then(
          () => true,
          () => false,
        )
      : false,
  ]);
  shell();
  addEventListener("hashchange", () => {
    lookAtRights();
    show();
  });
  setInterval(stay, 60_000);
  await show();
}

begin().catch(fail);
