// All buckets that the user may see.
import { control, may, s3Put, state } from "./api.js";
import { spark } from "./charts.js";
import { fill, h, icon, named } from "./dom.js";
import { ago, bytes, compact, count } from "./format.js";
import { T } from "./texts.js";
import { ask, button, check, empty, field, head } from "./ui.js";

export async function render(page, { link }) {
  let buckets = await control("GET", ["buckets"]).catch((error) => {
    if (error.status === 403) return [];
    throw error;
  });
  const trends = await trendsOf(buckets.map(({ name }) => name));
  const create = () =>
    may("s3:CreateBucket")
      ? button(T.buckets.create, { icon: "plus", kind: "primary" }, () => newBucket(link))
      : null;
  const filter = h("input", {
    type: "search",
    "aria-label": T.buckets.filter,
    placeholder: T.buckets.filter,
    on: { input: () => draw() },
  });
  const grid = h("div");
  const draw = () => {
    const shownBuckets = buckets.filter(({ name }) => name.includes(filter.value.toLowerCase()));
    fill(
      grid,
      buckets.length
        ? !shownBuckets.length
          ? h("div", { class: "card" }, empty("search", T.buckets.noMatch, ""))
          : h(
              "div",
              { class: "grid" },
              shownBuckets.map((bucket) => tile(bucket, link, trends.get(bucket.name))),
            )
        : h(
            "div",
            { class: "card" },
            may("s3:CreateBucket")
              ? empty("bucket", T.buckets.empty, T.buckets.emptyLead, create())
              : empty("shield", T.buckets.noneForYou, T.buckets.noneForYouLead),
          ),
    );
  };
  draw();
  const total = buckets.reduce((sum, bucket) => sum + bucket.bytes, 0);
  fill(
    page,
    head(
      T.buckets.title,
      [create()],
      T.buckets.lead(T.buckets.count(buckets.length), bytes(total)),
    ),
    buckets.length > 6
      ? h("div", { class: "row above" }, h("div", { class: "search" }, icon("search"), filter))
      : null,
    grid,
  );
}

/** Days that a trend shows, and buckets whose trends are asked for at once. */
const DAYS = 30;
const AT_ONCE = 50;

/** How buckets grew, by name; what is not known is left out. */
async function trendsOf(names) {
  const found = new Map();
  for (let at = 0; at < names.length; at += AT_ONCE) {
    const query = [
      ["days", DAYS],
      ...names.slice(at, at + AT_ONCE).map((name) => ["bucket", name]),
    ];
    const trends = await control("GET", ["trends"], undefined, query).catch(() => []);
    trends.forEach(({ bucket, points }) => found.set(bucket, points));
  }
  return found;
}

function tile(bucket, link, trend) {
  return h(
    "a",
    { class: "card bucket", href: link("browse", bucket.name) },
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
    trend?.length > 1 ? growth(trend) : null,
    h(
      "p",
      { class: "small muted" },
      T.buckets.created(ago(bucket.created)),
      bucket.owner === state.session.me.user ? "" : ` ${T.buckets.owner(bucket.owner)}`,
      bucket.uploads ? ` · ${T.buckets.uploads(bucket.uploads)}` : "",
    ),
  );
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
