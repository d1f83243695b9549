// A bucket's objects, folder by folder and page by page.
import { control, list, listDeleted, s3, s3Path, s3Xml, textOf, zipPath } from "./api.js";
import { copyChosen, deleteChosen, restoreChosen } from "./bulk.js";
import { brief, fill, h, icon, named, shown } from "./dom.js";
import { ago, bytes, moment } from "./format.js";
import { T } from "./texts.js";
import { dropped, picked, upload } from "./transfers.js";
import {
  ask,
  badge,
  button,
  confirm,
  empty,
  fail,
  field,
  iconButton,
  menuButton,
  note,
  released,
} from "./ui.js";
import { share } from "./share.js";
import { kindOf } from "./kinds.js";

const PAGE = 200;

export async function render(page, { parts, signal, link }) {
  const [bucket, prefix = "", what] = parts;
  const rights = await control("GET", ["buckets", bucket, "rights"], undefined, { prefix }).catch(
    () => ({ bucket: [], objects: [] }),
  );
  const asked = rights.bucket.includes("s3:ListBucketVersions")
    ? isVersioned(bucket, rights)
    : Promise.resolve(false);
  const view = new Browser({
    page,
    bucket,
    prefix,
    signal,
    link,
    rights,
    versions: false,
    deleted: what === DELETED && (await asked),
  });
  // The list does not wait for this.
  asked.then((versions) => {
    view.versions = versions;
    if (versions && view.entries) view.drawBar();
  });
  await view.load();
}

/** The part of an address that asks for what is deleted. */
const DELETED = "deleted";

/** Whether a bucket keeps, or kept, versions. */
async function isVersioned(bucket, rights) {
  if (!rights.bucket.includes("s3:GetBucketVersioning")) return false;
  return Boolean(textOf(await s3Xml(bucket, "", { versioning: "" }).catch(() => null), "Status"));
}

class Browser {
  constructor(given) {
    Object.assign(this, given);
    this.may = (action) => this.rights.objects.includes(action);
    this.chosen = new Map();
    // Where this page was before it was left, or loaded again: the browser keeps it with the address.
    const { tokens = [""], filter = "" } = history.state?.browse ?? {};
    this.tokens = tokens;
    this.filter = h("input", {
      type: "search",
      "aria-label": T.browse.filter,
      placeholder: T.browse.filter,
      value: filter,
      on: { input: () => this.filtered() },
    });
    this.body = h("div");
    this.bar = h("div", { class: "bar" });
    this.foot = h("div", { class: "foot" });
    const card = h(
      "section",
      { class: "card drop", "data-hint": T.browse.dropHint },
      this.bar,
      this.body,
      this.foot,
    );
    if (this.may("s3:PutObject") && !this.deleted) this.takeDrops(card);
    fill(
      this.page,
      this.deleted ? note(T.browse.deletedLead, "", "trash") : null,
      h(
        "div",
        { class: "page-head" },
        h("h1", { class: "sr" }, named(this.prefix || this.bucket)),
        crumbs(this.bucket, this.prefix, this.link),
        h(
          "div",
          { class: "row" },
          this.uploadButton(),
          h(
            "a",
            {
              class: "button",
              href: this.link("settings", this.bucket),
              title: T.browse.settings,
              "aria-label": T.browse.settings,
            },
            icon("gear"),
          ),
        ),
      ),
      card,
    );
  }

  // -- loading ----------------------------------------------------------------------------------

  async load() {
    const token = this.tokens.at(-1);
    this.loading?.abort();
    this.loading = new AbortController();
    const { signal } = this.loading;
    this.signal.addEventListener("abort", () => this.loading.abort());
    const filter = this.filter.value;
    const listing = await (this.deleted ? listDeleted : list)(this.bucket, {
      prefix: this.prefix + filter,
      token,
      max: PAGE,
      signal,
    });
    await released();
    if (signal.aborted) return;
    this.listing = listing;
    history.replaceState({ browse: { tokens: this.tokens, filter } }, "");
    this.chosen.clear();
    this.draw();
  }

  /** Turn to the next page, the one before, or (0) the first. */
  async go(step) {
    if (step > 0) this.tokens.push(this.listing.next);
    else this.tokens.length = step < 0 ? this.tokens.length - 1 : 1;
    await this.load().catch(fail);
    scrollTo(0, 0);
  }

  async reload() {
    if (!this.signal.aborted) await this.load().catch(fail);
  }

  filtered() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => {
      this.tokens = [""];
      this.load().catch(fail);
    }, 200);
  }

  // -- drawing ----------------------------------------------------------------------------------

  draw() {
    const entries = [
      ...this.listing.prefixes.map((key) => ({ key, folder: true })),
      ...this.listing.objects.filter(({ key }) => key !== this.prefix),
    ];
    this.entries = entries;
    const focused = this.focused();
    this.drawBar();
    if (!entries.length) {
      const nothing = this.filter.value
        ? empty("search", T.browse.noMatch, "")
        : this.deleted
          ? empty("trash", T.browse.noneDeleted, "")
          : empty(
              "upload",
              T.browse.empty,
              this.may("s3:PutObject") ? T.browse.emptyLead : "",
              this.uploadButton(),
            );
      fill(this.body, nothing);
    } else {
      const everything = h("input", {
        type: "checkbox",
        "aria-label": T.browse.all,
        on: { change: () => this.chooseAll(everything.checked) },
      });
      this.everything = everything;
      fill(
        this.body,
        h(
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
                h("th", { class: "tight" }, everything),
                h("th", { scope: "col" }, T.common.name),
                h("th", { scope: "col", class: "num" }, T.common.size),
                h("th", { scope: "col", class: "wide-only" }, T.common.modified),
                h("th", { class: "tight" }, h("span", { class: "sr" }, T.common.actions)),
              ),
            ),
            h(
              "tbody",
              {},
              entries.map((entry) => this.row(entry)),
            ),
          ),
        ),
      );
    }
    const first = this.tokens.length === 1;
    fill(
      this.foot,
      h(
        "span",
        { class: "grow" },
        T.browse.shown(entries.length),
        first && !this.listing.next ? "" : ` · ${T.browse.page(this.tokens.length)}`,
      ),
      this.tokens.length > 2 ? button(T.browse.first, {}, () => this.go(0)) : null,
      first ? null : button(T.common.previous, {}, () => this.go(-1)),
      this.listing.next ? button(T.common.next, {}, () => this.go(1)) : null,
    );
    focused?.();
  }

  /** How to give the focus back to where it was before all is drawn anew; null if it was elsewhere. */
  focused() {
    const at = document.activeElement;
    if (this.foot.contains(at))
      return () =>
        (
          [...this.foot.querySelectorAll("button")].find(
            ({ textContent }) => textContent === at.textContent,
          ) ?? this.foot.querySelector("button")
        )?.focus();
    const row = at.closest("tbody tr");
    if (!row || !this.body.contains(row)) return null;
    const index = row.sectionRowIndex;
    const what = at.matches("a") ? "a" : at.matches("input") ? "input" : "button";
    return () => {
      const rows = this.body.querySelectorAll("tbody tr");
      (rows[Math.min(index, rows.length - 1)]?.querySelector(what) ?? this.filter).focus({
        preventScroll: true,
      });
    };
  }

  drawBar() {
    const chosen = [...this.chosen.values()];
    this.bar.classList.toggle("chosen", chosen.length > 0);
    // The field stays in the document, so that typing goes on.
    if (!this.search) this.search = h("div", { class: "search" }, icon("search"), this.filter);
    const tools =
      chosen.length && this.deleted
        ? [
            badge(T.browse.chosen(chosen.length), "accent"),
            button(T.browse.restore, { icon: "history" }, () => this.restore(chosen)),
          ]
        : this.deleted
          ? [this.otherView(), iconButton("again", T.common.refresh, () => this.reload(), "")]
          : chosen.length
            ? [
                badge(T.browse.chosen(chosen.length), "accent"),
                this.may("s3:GetObject")
                  ? button(T.browse.copyTo, { icon: "copy" }, () => this.copy(chosen, false))
                  : null,
                this.may("s3:DeleteObject")
                  ? button(T.browse.moveTo, { icon: "move" }, () => this.copy(chosen, true))
                  : null,
                this.may("s3:DeleteObject")
                  ? button(T.browse.deleteChosen, { icon: "trash", kind: "danger" }, () =>
                      this.remove(chosen),
                    )
                  : null,
              ]
            : [
                this.may("s3:PutObject")
                  ? button(T.browse.newFolder, { icon: "folder" }, () => this.newFolder())
                  : null,
                this.may("s3:GetObject") && this.entries.length
                  ? h(
                      "a",
                      { class: "button", href: zipPath(this.bucket, this.prefix), download: true },
                      icon("download"),
                      T.browse.zip,
                    )
                  : null,
                this.otherView(),
                iconButton("again", T.common.refresh, () => this.reload(), ""),
              ];
    if (this.search.parentNode !== this.bar) fill(this.bar, this.search);
    while (this.search.nextSibling) this.search.nextSibling.remove();
    this.bar.append(h("span", { class: "grow" }), ...tools.filter(Boolean));
  }

  /** The way to what is deleted here, and back. */
  otherView() {
    if (!this.versions) return null;
    const target = this.deleted ? [this.prefix] : [this.prefix, DELETED];
    return h(
      "a",
      { class: "button", href: this.link("browse", this.bucket, ...target) },
      icon(this.deleted ? "folder" : "trash"),
      this.deleted ? T.browse.showPresent : T.browse.showDeleted,
    );
  }

  row(entry) {
    const { key, folder } = entry;
    const place = folder
      ? ["browse", this.bucket, key, ...(this.deleted ? [DELETED] : [])]
      : ["object", this.bucket, key];
    const name = key.slice(this.prefix.length);
    const box = h("input", {
      type: "checkbox",
      "aria-label": T.browse.choose(shown(name)),
      on: { change: () => this.choose(entry, box.checked, line) },
    });
    const line = h(
      "tr",
      {},
      h(
        "td",
        { class: "tight" },
        this.deleted && (folder || !this.may("s3:DeleteObjectVersion")) ? null : box,
      ),
      h(
        "td",
        {},
        h(
          "div",
          { class: "name" },
          icon(folder ? "folder" : kindOf(key).icon, folder ? "folder" : ""),
          h(
            "a",
            { href: this.link(...place), title: name.length > 90 ? shown(name) : undefined },
            named(name),
          ),
        ),
      ),
      h(
        "td",
        { class: "num" },
        folder ? "" : this.deleted ? badge(T.browse.isDeleted, "bad") : bytes(entry.size),
      ),
      h(
        "td",
        { class: "wide-only muted", title: folder ? "" : moment(entry.modified) },
        folder ? "" : ago(entry.modified),
      ),
      h(
        "td",
        { class: "tight" },
        menuButton(T.common.more, () => this.menu(entry, name)),
      ),
    );
    entry.line = { line, box };
    return line;
  }

  menu(entry, name) {
    const { key, folder } = entry;
    if (this.deleted)
      return [
        folder || !this.may("s3:DeleteObjectVersion")
          ? null
          : ["history", T.browse.restore, () => this.restore([entry])],
        [
          folder ? "folder" : "file",
          T.browse.open,
          () =>
            (location.hash = this.link(
              ...(folder ? ["browse", this.bucket, key, DELETED] : ["object", this.bucket, key]),
            )),
        ],
      ];
    const writes = this.may("s3:PutObject");
    const deletes = this.may("s3:DeleteObject");
    return [
      this.may("s3:GetObject") && [
        folder ? "download" : "download",
        folder ? T.browse.zip : T.common.download,
        () => this.download(entry),
      ],
      !folder &&
        this.may("s3:GetObject") && ["link", T.browse.share, () => share(this.bucket, key)],
      writes && deletes && ["edit", T.browse.rename, () => this.rename(entry, name)],
      ["copy", T.browse.copyTo, () => this.copy([entry], false)],
      deletes && ["move", T.browse.moveTo, () => this.copy([entry], true)],
      deletes && ["trash", T.common.delete, () => this.remove([entry])],
    ];
  }

  // -- choosing ---------------------------------------------------------------------------------

  choose(entry, on, line) {
    if (on) this.chosen.set(entry.key, entry);
    else this.chosen.delete(entry.key);
    line.classList.toggle("chosen", on);
    this.everything.checked =
      this.chosen.size === this.entries.filter(({ line }) => line.box.isConnected).length;
    this.everything.indeterminate = this.chosen.size > 0 && !this.everything.checked;
    this.drawBar();
  }

  chooseAll(on) {
    for (const entry of this.entries.filter(({ line }) => line.box.isConnected)) {
      entry.line.box.checked = on;
      entry.line.line.classList.toggle("chosen", on);
      if (on) this.chosen.set(entry.key, entry);
      else this.chosen.delete(entry.key);
    }
    this.drawBar();
  }

  // -- work -------------------------------------------------------------------------------------

  download({ key, folder }) {
    const href = folder ? zipPath(this.bucket, key) : downloadPath(this.bucket, key);
    h("a", { href, download: "" }).click();
  }

  async restore(chosen) {
    restoreChosen(this.bucket, chosen).then(() => this.reload());
  }

  async remove(chosen) {
    await confirm({
      title: T.browse.deleteTitle(chosen.length),
      lead: T.browse.deleteLead,
      action: T.common.delete,
      submit: () => deleteChosen(this.bucket, chosen).then(() => this.reload()) && true,
    });
  }

  async copy(chosen, move) {
    const buckets = (await control("GET", ["buckets"])).map(({ name }) => name);
    const target = h(
      "select",
      {},
      buckets.map((name) => h("option", { value: name, selected: name === this.bucket }, name)),
    );
    const prefix = h("input", {
      value: this.prefix,
      spellcheck: "false",
      on: { input: () => tell() },
    });
    const example = h("p", { class: "hint", role: "status" });
    const tell = () =>
      fill(
        example,
        T.browse.becomes(
          brief(chosen[0].key),
          brief(prefix.value + chosen[0].key.slice(this.prefix.length)),
        ),
      );
    tell();
    await ask({
      title: move ? T.browse.moveTitle : T.browse.copyTitle,
      action: move ? T.browse.move : T.common.copy,
      body: [
        field(T.browse.target, target),
        field(T.browse.targetPrefix, prefix, `${T.browse.targetHint} ${T.browse.exists}`),
        example,
      ],
      submit: () => {
        copyChosen(this.bucket, this.prefix, chosen, target.value, prefix.value, { move }).then(
          () => this.reload(),
        );
        return true;
      },
    });
  }

  async rename(entry, name) {
    const input = h("input", {
      value: name.replace(/\/$/, ""),
      spellcheck: "false",
      maxlength: "1024",
    });
    await ask({
      title: T.browse.renameTitle,
      action: T.browse.renameTitle,
      body: [field(T.browse.newName, input, T.browse.exists)],
      submit: () => {
        if (!input.value) throw new Error(T.browse.newName);
        const to = this.prefix + input.value + (entry.folder ? "/" : "");
        copyChosen(this.bucket, this.prefix, [entry], this.bucket, "", {
          move: true,
          rename: (key) => to + key.slice(entry.key.length),
        }).then(() => this.reload());
        return true;
      },
    });
  }

  async newFolder() {
    const name = h("input", { autocomplete: "off", autofocus: true, maxlength: "900" });
    const made = await ask({
      title: T.browse.newFolder,
      action: T.common.create,
      body: [field(T.browse.folderName, name, T.browse.folderHint)],
      submit: async () => {
        const key = `${this.prefix}${name.value.replace(/\/+$/, "")}/`;
        // The object may exist and hold something.
        await s3(
          "PUT",
          this.bucket,
          key,
          {},
          { body: new Uint8Array(), headers: { "if-none-match": "*" } },
        ).catch((error) => {
          throw error.status === 412 ? new Error(T.browse.folderExists(shown(key))) : error;
        });
        return key;
      },
    });
    if (made) location.hash = this.link("browse", this.bucket, made);
  }

  // -- uploads ----------------------------------------------------------------------------------

  uploadButton() {
    if (!this.may("s3:PutObject") || this.deleted) return null;
    const files = h("input", {
      type: "file",
      multiple: true,
      hidden: true,
      "data-upload": "files",
      on: { change: () => this.upload(picked(files)) },
    });
    const folder = h("input", {
      type: "file",
      webkitdirectory: true,
      hidden: true,
      "data-upload": "folder",
      on: { change: () => this.upload(picked(folder)) },
    });
    return h(
      "span",
      {},
      menuButton(
        T.browse.upload,
        () => [
          ["file", T.browse.files, () => files.click()],
          ["folder", T.browse.folder, () => folder.click()],
        ],
        { name: "upload", text: T.browse.upload, kind: "primary" },
      ),
      files,
      folder,
    );
  }

  upload(found) {
    upload(
      this.bucket,
      found.map(({ file, path }) => ({ file, key: this.prefix + path })),
      () => this.reload(),
    );
  }

  takeDrops(card) {
    let depth = 0;
    const hasFiles = (event) => [...event.dataTransfer.types].includes("Files");
    card.addEventListener(
      "dragenter",
      (event) =>
        hasFiles(event) && (event.preventDefault(), (depth += 1), card.classList.add("over")),
    );
    card.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
    card.addEventListener(
      "dragleave",
      () => (depth = Math.max(0, depth - 1)) || card.classList.remove("over"),
    );
    card.addEventListener("drop", (event) => {
      event.preventDefault();
      depth = 0;
      card.classList.remove("over");
      dropped(event.dataTransfer).then((found) => this.upload(found), fail);
    });
  }
}

/** Where an object is downloaded from, whatever its name. */
export function downloadPath(bucket, key, version) {
  return s3Path(bucket, key, {
    ".save": key.replace(/\/+$/, "").split("/").at(-1) || "object",
    ...(version ? { versionId: version } : {}),
  });
}

/** Steps of a way that are all shown. */
const STEPS_MAX = 6;

/** The way to a folder or an object. */
export function crumbs(bucket, key, link, object = false) {
  const steps = key.split("/");
  if (!object || steps.at(-1) === "") steps.pop();
  const entries = [
    h(
      "a",
      { href: link("browse", bucket), "aria-current": steps.length ? null : "page" },
      named(bucket),
    ),
  ];
  const sep = () => h("span", { class: "sep", "aria-hidden": "true" }, "/");
  const paths = steps.map((_, at) =>
    link("browse", bucket, steps.slice(0, at + 1).join("/") + "/"),
  );
  const name = (step) => h("bdi", {}, brief(step) || "∅");
  // Of a deep path the middle is in a menu: it would fill the screen.
  const inMenu = steps.length > STEPS_MAX ? [1, steps.length - 3] : [0, 0];
  steps.forEach((step, at) => {
    if (at > inMenu[0] && at < inMenu[1]) return;
    entries.push(sep());
    if (at === inMenu[0] && inMenu[1])
      entries.push(
        menuButton(T.browse.between(inMenu[1] - inMenu[0]), () =>
          steps
            .slice(...inMenu)
            .map((each, n) => [
              "folder",
              brief(each) || "∅",
              () => (location.hash = paths[inMenu[0] + n]),
            ]),
        ),
      );
    else
      entries.push(
        at === steps.length - 1
          ? h("span", { "aria-current": "page" }, name(step))
          : h("a", { href: paths[at] }, name(step)),
      );
  });
  return h(
    "nav",
    { class: "crumbs", tabindex: "-1", "aria-label": T.nav.buckets },
    h("a", { href: link("buckets") }, T.buckets.title),
    h("span", { class: "sep", "aria-hidden": "true" }, "/"),
    entries,
  );
}
