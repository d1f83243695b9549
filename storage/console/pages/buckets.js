// All buckets that the user may see.
import { control, may, s3Put, state } from "./api.js";
import { spark } from "./charts.js";
import { fill, h, icon, named } from "./dom.js";
import { ago, bytes, compact, count } from "./format.js";
import { T } from "./texts.js";
import { ask, button, check, empty, field, head } from "./ui.js";

/** Buckets of one page; whole rows on every screen. The API tells the trends of more at once. */
const PAGE = 48;
/** Days that a trend shows. */
const DAYS = 30;
/** Milliseconds after the last letter of a filter until trends are asked for. */
const PAUSE = 200;

export async function render(page, { link, signal }) {
  const buckets = await control("GET", ["buckets"]).catch((error) => {
    if (error.status === 403) return [];
    throw error;
  });
  const create = () =>
    may("s3:CreateBucket")
      ? button(T.buckets.create, { icon: "plus", kind: "primary" }, () => newBucket(link))
      : null;
  const total = buckets.reduce((sum, bucket) => sum + bucket.bytes, 0);
  fill(
    page,
    head(
      T.buckets.title,
      [create()],
      T.buckets.lead(T.buckets.count(count(buckets.length)), bytes(total)),
    ),
    buckets.length
      ? new Buckets(buckets, link, signal).elements
      : h(
          "div",
          { class: "card" },
          may("s3:CreateBucket")
            ? empty("bucket", T.buckets.empty, T.buckets.emptyLead, create())
            : empty("shield", T.buckets.noneForYou, T.buckets.noneForYouLead),
        ),
  );
}

/** The list: a page at a time, of those that have a text in their names. */
class Buckets {
  constructor(buckets, link, signal) {
    Object.assign(this, { buckets, link, signal });
    this.trends = new Map();
    // Where this list was before it was left, or loaded again: the browser keeps it with the address.
    const { at = 0, filter = "" } = history.state?.buckets ?? {};
    this.at = at;
    this.filter = h("input", {
      type: "search",
      "aria-label": T.buckets.filter,
      placeholder: T.buckets.filter,
      value: filter,
      on: { input: () => this.filtered() },
    });
    this.grid = h("div");
    this.foot = h("div", { class: "foot below" });
    this.elements = [
      buckets.length > 6 || filter
        ? h(
            "div",
            { class: "row above" },
            h("div", { class: "search" }, icon("search"), this.filter),
          )
        : null,
      this.grid,
      this.foot,
    ];
    this.draw();
    this.ask();
  }

  filtered() {
    this.at = 0;
    this.draw();
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.ask(), PAUSE);
  }

  /** Turn to the next page, the one before, or (0) the first. */
  go(step) {
    this.at = step ? this.at + step : 0;
    this.draw();
    this.ask();
    scrollTo(0, 0);
    (this.foot.querySelector("button") ?? this.filter).focus({ preventScroll: true });
  }

  draw() {
    const wanted = this.filter.value.toLowerCase();
    const found = this.buckets.filter(({ name }) => name.includes(wanted));
    const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
    this.at = Math.min(this.at, last);
    this.places = new Map();
    const tiles = found.slice(this.at * PAGE, (this.at + 1) * PAGE).map((each) => this.tile(each));
    fill(
      this.grid,
      tiles.length
        ? h("div", { class: "grid" }, tiles)
        : h("div", { class: "card" }, empty("search", T.buckets.noMatch, "")),
    );
    this.foot.hidden = !last;
    const turn = (text, step) => button(text, {}, () => this.go(step));
    fill(
      this.foot,
      h(
        "span",
        { class: "grow", role: "status" },
        T.buckets.page(this.at + 1, last + 1, count(found.length)),
      ),
      this.at > 1 ? turn(T.browse.first, 0) : null,
      this.at ? turn(T.common.previous, -1) : null,
      this.at < last ? turn(T.common.next, 1) : null,
    );
    if (!this.signal.aborted)
      history.replaceState({ buckets: { at: this.at, filter: this.filter.value } }, "");
  }

  /** Ask how the shown buckets grew; they don't wait for it. */
  async ask() {
    const names = [...this.places.keys()].filter((name) => !this.trends.has(name));
    if (!names.length || this.signal.aborted) return;
    const query = [["days", DAYS], ...names.map((name) => ["bucket", name])];
    const told = await control("GET", ["trends"], undefined, query).catch(() => []);
    names.forEach((name) => this.trends.set(name, []));
    told.forEach(({ bucket, points }) => this.trends.set(bucket, points));
    this.places.forEach((place, name) => drawTrend(place, this.trends.get(name)));
  }

  tile(bucket) {
    const trend = h("div", { class: "growth" });
    this.places.set(bucket.name, trend);
    // A bucket that was there yesterday gets its trend in a moment: nothing moves when it comes.
    const known = this.trends.get(bucket.name);
    if (known || !isOlder(bucket)) drawTrend(trend, known);
    return h(
      "a",
      { class: "card bucket", href: this.link("browse", bucket.name) },
      h("div", { class: "top" }, icon("bucket"), h("b", {}, named(bucket.name))),
      h(
        "div",
        { class: "figures" },
        h(
          "div",
          { title: count(bucket.objects) },
          h("b", {}, compact(bucket.objects)),
          h("span", {}, T.buckets.objects(bucket.objects)),
        ),
        h("div", {}, h("b", {}, bytes(bucket.bytes)), h("span", {}, T.buckets.bytes)),
      ),
      trend,
      h(
        "p",
        { class: "small muted" },
        T.buckets.created(ago(bucket.created)),
        bucket.owner === state.session.me.user ? "" : ` ${T.buckets.owner(bucket.owner)}`,
        bucket.uploads ? ` · ${T.buckets.uploads(bucket.uploads)}` : "",
      ),
    );
  }
}

/** Whether a bucket was there before today (UTC, as trends count days). */
const isOlder = ({ created }) =>
  Date.parse(created) < Math.floor(Date.now() / 86_400_000) * 86_400_000;

function drawTrend(place, trend = []) {
  place.hidden = trend.length < 2;
  fill(place, place.hidden ? null : growth(trend));
}

/** Which way a bucket went, as a line and in words. */
function growth(trend) {
  const sizes = trend.map((point) => point.bytes);
  const change = sizes.at(-1) - sizes[0];
  const days = Math.round((Date.parse(trend.at(-1).day) - Date.parse(trend[0].day)) / 86_400_000);
  return [
    spark(T.buckets.trend, sizes),
    h(
      "p",
      { class: "small" },
      T.buckets.change(`${change < 0 ? "−" : "+"}${bytes(Math.abs(change))}`, days),
    ),
  ];
}

async function newBucket(link) {
  const name = h("input", {
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
    maxlength: "63",
    autofocus: true,
  });
  const versioned = check(T.buckets.versioned);
  const made = await ask({
    title: T.buckets.createTitle,
    action: T.common.create,
    body: [field(T.buckets.name, name, T.buckets.nameHint), versioned.element],
    submit: async () => {
      const bucket = await control("POST", ["buckets"], { name: name.value.trim() });
      if (versioned.input.checked)
        await s3Put(
          "PUT",
          bucket.name,
          "",
          { versioning: "" },
          "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        );
      return bucket.name;
    },
  });
  if (made) location.hash = link("browse", made);
}
