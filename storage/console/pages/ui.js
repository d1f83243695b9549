// Dialogs, menus, toasts, fields: what pages are made of.
import { fill, h, icon, named, rich } from "./dom.js";
import { T } from "./texts.js";

// -- toasts ---------------------------------------------------------------------------------------

const toasts = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
document.body.append(toasts);

export function toast(text, bad = false) {
  const element = h(
    "div",
    { class: bad ? "toast bad" : "toast", role: bad ? "alert" : "status" },
    icon(bad ? "alert" : "check"),
    h("span", {}, text),
  );
  // What is outside an open dialog lies behind its backdrop, and is not read out.
  const dialogs = document.querySelectorAll("dialog[open]");
  const place = dialogs[dialogs.length - 1] ?? document.body;
  if (toasts.parentNode !== place) place.append(toasts);
  toasts.append(element);
  setTimeout(() => element.remove(), bad ? 9000 : 4000);
}

/** Say what went wrong. */
export function fail(error) {
  if (error?.name !== "AbortError") toast(error?.message ?? String(error), true);
}

/** Run what an element was clicked for, once at a time; errors are said. A button that were disabled
 * meanwhile would lose the focus for good: it is marked as busy instead. */
export function act(work) {
  return async (event) => {
    const button = event.currentTarget;
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    try {
      await work(event);
    } catch (error) {
      fail(error);
    } finally {
      button.ariaBusy = null;
      keepFocus();
    }
  };
}

/** Where what had the focus is gone, reading goes on at the head of the page. */
function keepFocus() {
  if (document.activeElement === document.body)
    document.querySelector("main :is(h1:not(.sr), .crumbs)")?.focus({ preventScroll: true });
}

// -- presses --------------------------------------------------------------------------------------

let pressed = null;
let letGo = null;

/** Resolves when nothing is pressed: an element that is drawn anew between a press and its end gets
 * no click. For what draws a page by itself. */
export const released = async () => pressed;

addEventListener(
  "pointerdown",
  () => (pressed ??= new Promise((resolve) => (letGo = resolve))),
  true,
);
for (const end of ["pointerup", "pointercancel"]) {
  // The click comes right after it.
  addEventListener(end, () => setTimeout(release), true);
}

function release() {
  letGo?.();
  pressed = letGo = null;
}

// -- parts ----------------------------------------------------------------------------------------

export function button(text, { icon: name, kind = "", ...props } = {}, work) {
  return h(
    "button",
    { type: "button", class: kind, ...props, on: work ? { click: act(work) } : {} },
    name && icon(name),
    text,
  );
}

export function iconButton(name, label, work, kind = "plain") {
  return h(
    "button",
    {
      type: "button",
      class: `icon ${kind}`,
      "aria-label": label,
      title: label,
      on: { click: act(work) },
    },
    icon(name),
  );
}

export function field(label, input, hint) {
  return h("label", { class: "field" }, h("span", {}, label), input, hint && h("small", {}, hint));
}

export function check(label, props = {}) {
  const input = h("input", { type: "checkbox", ...props });
  return { input, element: h("label", { class: "check" }, input, h("span", {}, label)) };
}

export function note(text, kind = "", name = "info") {
  return h("div", { class: `note ${kind}` }, icon(name), h("div", {}, text));
}

export function empty(name, title, lead, ...actions) {
  return h(
    "div",
    { class: "empty" },
    icon(name),
    h("h2", {}, title),
    h("p", {}, lead ?? ""),
    actions.length ? h("div", { class: "row" }, actions) : null,
  );
}

export function badge(text, kind = "") {
  return h("span", { class: `badge ${kind}` }, text);
}

export function card(title, body, ...tools) {
  return h(
    "section",
    { class: "card" },
    h(
      "header",
      {},
      h("h2", {}, title),
      tools.some(Boolean) ? h("div", { class: "row end" }, tools) : null,
    ),
    h("div", { class: "body stack" }, body),
  );
}

export function stat(label, value, extra) {
  return h(
    "div",
    { class: "card stat" },
    h("div", { class: "label" }, label),
    h("div", { class: "value" }, value),
    extra ? h("div", { class: "small muted" }, extra) : null,
  );
}

/** A bar of a share between 0 and 1. */
export function meter(share, label, kind = "") {
  const inner = h("i");
  const element = h(
    "div",
    {
      class: `meter ${kind}`,
      role: "progressbar",
      "aria-label": label,
      "aria-valuemin": "0",
      "aria-valuemax": "100",
    },
    inner,
  );
  element.set = (value) => {
    const percent = Math.max(0, Math.min(100, value * 100));
    inner.style.setProperty("width", `${percent}%`);
    element.setAttribute("aria-valuenow", String(Math.round(percent)));
  };
  element.set(share);
  return element;
}

export function table(heads, rows) {
  return h(
    "div",
    { class: "table-wrap" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heads.map((head) => (head instanceof Node ? head : h("th", { scope: "col" }, head))),
        ),
      ),
      h("tbody", {}, rows),
    ),
  );
}

export function copyable(text) {
  return h(
    "div",
    { class: "copyable" },
    h("pre", { tabindex: "0" }, text),
    iconButton("copy", T.common.copy, () => copy(text)),
  );
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS browsers offer no clipboard to scripts, but still the old command.
    const area = h("textarea", { class: "sr", value: text });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(T.common.copied);
}

/** Save text as a file. */
export function saveText(name, text, type = "application/json") {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// -- dialogs --------------------------------------------------------------------------------------

let asked = 0;

/** A dialog that asks: resolves with what `submit` returned, null when it was closed. */
export function ask({
  title,
  body,
  submit,
  action = T.common.save,
  kind = "primary",
  wide = false,
  closeable = true,
  cancel = T.common.cancel,
}) {
  return new Promise((resolve) => {
    const error = h("p", { class: "error", role: "alert" });
    const confirm = h("button", { class: kind, type: "submit" }, action);
    const dismiss =
      cancel && closeable
        ? h("button", { type: "button", on: { click: () => busy || dialog.close() } }, cancel)
        : null;
    const name = `dialog-title-${(asked += 1)}`;
    let result = null;
    let busy = false;
    const form = h(
      "form",
      {
        novalidate: true,
        on: {
          submit: async (event) => {
            event.preventDefault();
            if (busy) return;
            fill(error);
            busy = true;
            confirm.ariaBusy = "true";
            try {
              result = (await submit?.()) ?? true;
              dialog.close();
            } catch (problem) {
              fill(error, problem.message);
            } finally {
              busy = false;
              confirm.ariaBusy = null;
            }
          },
        },
      },
      h("h2", { id: name }, title),
      body,
      error,
      h("div", { class: "row end" }, dismiss, action && confirm),
    );
    const dialog = h("dialog", { class: wide ? "wide" : "", "aria-labelledby": name }, form);
    // What was begun may have made a secret that is shown only then. Browsers let a second Escape
    // close any dialog, but not where the key itself goes nowhere.
    const stay = (event) => (!closeable || busy) && event.preventDefault();
    dialog.addEventListener("cancel", stay);
    dialog.addEventListener("keydown", (event) => event.key === "Escape" && stay(event));
    dialog.addEventListener("close", () => {
      if (dialog.contains(toasts)) document.body.append(toasts);
      dialog.remove();
      resolve(result);
    });
    document.body.append(dialog);
    dialog.showModal();
    // What destroys something is not one key more away than what asked for it.
    const harmless = kind === "danger" && dismiss ? dismiss : confirm;
    (
      form.querySelector("[autofocus]") ??
      form.querySelector("input, textarea, select") ??
      harmless
    ).focus();
  });
}

/** Ask before something is destroyed; with `typed` the name must be typed. */
export function confirm({ title, lead, action, typed, submit }) {
  const input = typed && h("input", { autocomplete: "off", spellcheck: "false", autofocus: true });
  return ask({
    title,
    action,
    kind: "danger",
    body: [h("p", {}, lead), typed && field(T.common.typeToConfirm(typed), input)],
    submit: async () => {
      if (typed && input.value !== typed) throw new Error(T.common.typeToConfirm(typed));
      return submit?.();
    },
  });
}

// -- menus ----------------------------------------------------------------------------------------

/** A button that opens a menu of [icon, text, work] (null entries are left out). */
export function menuButton(label, entries, { name = "more", text = "", kind = "plain" } = {}) {
  const opener = h(
    "button",
    {
      type: "button",
      class: text ? kind : `icon ${kind}`,
      "aria-haspopup": "menu",
      "aria-label": text ? undefined : label,
      title: label,
    },
    icon(name),
    text,
  );
  opener.addEventListener("click", () => open(opener, entries()));
  return opener;
}

function open(opener, entries) {
  const items = entries.filter(Boolean).map(([name, text, work]) =>
    h(
      "button",
      {
        type: "button",
        role: "menuitem",
        on: {
          click: () => {
            close();
            Promise.resolve(work()).catch(fail).finally(keepFocus);
          },
        },
      },
      icon(name),
      text,
    ),
  );
  const menu = h("div", { class: "menu", role: "menu", popover: "auto" }, items);
  const close = () => menu.hidePopover();
  menu.addEventListener("toggle", (event) => event.newState === "closed" && menu.remove());
  menu.addEventListener("keydown", (event) => {
    const at = items.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      items[(to + items.length) % items.length].focus();
    } else if (event.key === "Tab") close();
  });
  (opener.closest("dialog") ?? document.body).append(menu);
  menu.showPopover();
  const box = opener.getBoundingClientRect();
  const left = Math.min(box.left, innerWidth - menu.offsetWidth - 8);
  const below = box.bottom + menu.offsetHeight + 8 < innerHeight;
  menu.style.setProperty("left", `${Math.max(8, left)}px`);
  menu.style.setProperty(
    "top",
    `${below ? box.bottom + 4 : Math.max(8, box.top - menu.offsetHeight - 4)}px`,
  );
  items[0]?.focus();
}

// -- JSON that people write -----------------------------------------------------------------------

/** A JSON document as people edit it; says where its syntax is wrong. */
export function jsonEditor(text, props = {}) {
  const state = h("p", { class: "small muted", role: "status" });
  const area = h("textarea", { rows: "16", spellcheck: "false", value: text, ...props });
  const look = () => {
    const problem = area.value.trim() ? syntaxError(area.value) : "";
    area.setAttribute("aria-invalid", String(Boolean(problem)));
    state.className = problem ? "error" : "small muted";
    fill(state, problem || (area.value.trim() ? T.settings.valid : ""));
    return problem;
  };
  area.addEventListener("input", look);
  look();
  return {
    element: h("div", { class: "stack tight" }, area, state),
    area,
    set: (value) => {
      area.value = value;
      look();
    },
    /** The document. Raises with the place of what is wrong. */
    value: () => {
      const problem = look();
      if (problem) throw new Error(problem);
      return JSON.parse(area.value);
    },
  };
}

/** Where and why `text` is no JSON; "" if it is. */
export function syntaxError(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    const position = /position (\d+)/.exec(error.message);
    const place = /line (\d+) column (\d+)/.exec(error.message);
    const before = position ? text.slice(0, Number(position[1])).split("\n") : null;
    const [line, column] = place
      ? [place[1], place[2]]
      : before
        ? [before.length, before.at(-1).length + 1]
        : [text.split("\n").length, 1];
    return T.settings.syntax(
      line,
      column,
      error.message.replace(/ (in JSON )?at position.*$/, "").replace(/^JSON\.parse: /, ""),
    );
  }
}

/** Pairs of key and value that people edit. */
export function pairs(
  given,
  { key = T.object.tagKey, value = T.object.tagValue, disabled = false } = {},
) {
  const list = h("div", { class: "stack tight" });
  const add = (k = "", v = "") => {
    const row = h(
      "div",
      { class: "row" },
      h("input", {
        class: "grow",
        "aria-label": key,
        placeholder: key,
        value: k,
        disabled,
        maxlength: "128",
      }),
      h("input", {
        class: "grow",
        "aria-label": value,
        placeholder: value,
        value: v,
        disabled,
        maxlength: "256",
      }),
      disabled ? null : iconButton("close", T.common.remove, () => row.remove()),
    );
    row.querySelectorAll("input").forEach((input) => input.style.setProperty("width", "8rem"));
    list.append(row);
  };
  given.forEach(([k, v]) => add(k, v));
  return {
    element: h(
      "div",
      { class: "stack tight" },
      list,
      disabled
        ? null
        : h(
            "div",
            {},
            button(T.object.addTag, { icon: "plus", kind: "plain" }, () => add()),
          ),
    ),
    value: () =>
      [...list.children]
        .map((row) => [...row.querySelectorAll("input")].map((input) => input.value))
        .filter(([k]) => k),
  };
}

/** The head of a page. */
export function head(title, tools = [], lead) {
  return h(
    "div",
    { class: "page-head" },
    h("h1", { tabindex: "-1" }, title),
    h("div", { class: "row" }, tools),
    lead ? h("p", { class: "lead" }, rich(lead)) : null,
  );
}

export { named };
