// What a bucket is set to.
import { all, control, escaped, may, parse, s3, s3Put, s3Xml, textOf } from "./api.js";
import { deleteAny } from "./bulk.js";
import { fill, h } from "./dom.js";
import { count } from "./format.js";
import { T } from "./texts.js";
import { longWork } from "./transfers.js";
import {
  badge,
  button,
  card,
  check,
  confirm,
  fail,
  field,
  head,
  jsonEditor,
  note,
  pairs,
  toast,
} from "./ui.js";

const S = T.settings;

export async function render(page, { parts, link }) {
  const [bucket] = parts;
  const rights = await control("GET", ["buckets", bucket, "rights"]);
  const allowed = (action) => rights.bucket.includes(`s3:${action}`);
  const sections = [
    allowed("GetBucketVersioning") && versioning,
    allowed("GetBucketTagging") && tags,
    allowed("GetLifecycleConfiguration") && lifecycle,
    allowed("GetBucketCORS") && cors,
    allowed("GetBucketPublicAccessBlock") && block,
    allowed("GetBucketPolicy") && policy,
    allowed("DeleteBucket") && danger,
  ].filter(Boolean);
  const cards = await Promise.all(
    sections.map((section) =>
      section(bucket, allowed, link).catch((error) => note(error.message, "bad", "alert")),
    ),
  );
  fill(
    page,
    head(S.title(bucket), [
      h("a", { class: "button", href: link("browse", bucket) }, T.browse.open),
    ]),
    h("div", { class: "stack" }, cards.length ? cards : note(S.mayNotSee)),
  );
}

const lead = (text) => h("p", { class: "muted" }, text);

// -- versioning -----------------------------------------------------------------------------------

async function versioning(bucket, allowed) {
  const status = textOf(await s3Xml(bucket, "", { versioning: "" }), "Status");
  const place = h("div");
  const draw = (now) => {
    const on = now === "Enabled";
    const set = async () => {
      const next = on ? "Suspended" : "Enabled";
      await s3Put(
        "PUT",
        bucket,
        "",
        { versioning: "" },
        `<VersioningConfiguration><Status>${next}</Status></VersioningConfiguration>`,
      );
      draw(next);
      toast(T.common.saved(S.versioning));
    };
    fill(
      place,
      card(
        S.versioning,
        [lead(S.versioningLead), h("p", { class: "hint" }, S.onceOn)],
        badge(now ? S[now.toLowerCase()] : S.off, on ? "good" : now ? "warn" : ""),
        allowed("PutBucketVersioning") ? button(on ? S.suspend : S.enable, {}, set) : null,
      ),
    );
  };
  draw(status);
  return place;
}

// -- tags -----------------------------------------------------------------------------------------

async function tags(bucket, allowed) {
  const root = await s3Xml(bucket, "", { tagging: "" });
  const writable = allowed("PutBucketTagging");
  const editor = pairs(
    root
      ? all(all(root, "TagSet")[0], "Tag").map((tag) => [textOf(tag, "Key"), textOf(tag, "Value")])
      : [],
    { disabled: !writable },
  );
  const save = async () => {
    const set = editor
      .value()
      .map(
        ([key, value]) => `<Tag><Key>${escaped(key)}</Key><Value>${escaped(value)}</Value></Tag>`,
      );
    if (set.length)
      await s3Put(
        "PUT",
        bucket,
        "",
        { tagging: "" },
        `<Tagging><TagSet>${set.join("")}</TagSet></Tagging>`,
      );
    else await s3("DELETE", bucket, "", { tagging: "" });
    toast(T.object.tagsSaved);
  };
  return card(
    S.tags,
    [lead(S.tagsLead), editor.element],
    writable ? button(T.common.save, {}, save) : null,
  );
}

// -- rules ----------------------------------------------------------------------------------------

/** Rules that are added and removed, each with its `element`; where there are none, `none` says so. */
function ruleList(none) {
  const list = h("div", { class: "stack" });
  const rules = [];
  const draw = () => fill(list, rules.length ? rules.map((rule) => rule.element) : lead(none));
  const add = (rule) => {
    rules.push(rule);
    draw();
  };
  const remove = (rule) => {
    rules.splice(rules.indexOf(rule), 1);
    draw();
  };
  draw();
  return { list, rules, add, remove };
}

// -- lifecycle ------------------------------------------------------------------------------------

// A rule of these parts alone is edited here; every other one is kept as it came.
const SIMPLE = new Set([
  "ID",
  "Filter",
  "Prefix",
  "Status",
  "Expiration",
  "NoncurrentVersionExpiration",
  "AbortIncompleteMultipartUpload",
]);
const SIMPLE_INNER = {
  Filter: ["Prefix"],
  Expiration: ["Days"],
  NoncurrentVersionExpiration: ["NoncurrentDays"],
  AbortIncompleteMultipartUpload: ["DaysAfterInitiation"],
};

function isSimple(rule) {
  return [...rule.children].every(
    (part) =>
      SIMPLE.has(part.localName) &&
      (SIMPLE_INNER[part.localName] ?? []).length >= part.children.length &&
      [...part.children].every(({ localName }) => SIMPLE_INNER[part.localName].includes(localName)),
  );
}

async function lifecycle(bucket, allowed) {
  const root = await s3Xml(bucket, "", { lifecycle: "" });
  const writable = allowed("PutLifecycleConfiguration");
  const { list, rules, add, remove } = ruleList(S.noLifecycle);
  for (const given of root ? all(root, "Rule") : [])
    add(
      isSimple(given)
        ? lifecycleRule(given, writable, remove)
        : {
            element: note(`${textOf(given, "ID")}: ${S.complex}`),
            xml: () => new XMLSerializer().serializeToString(given),
          },
    );
  const save = async () => {
    if (rules.length)
      await s3Put(
        "PUT",
        bucket,
        "",
        { lifecycle: "" },
        `<LifecycleConfiguration>${rules.map((rule) => rule.xml()).join("")}</LifecycleConfiguration>`,
      );
    else await s3("DELETE", bucket, "", { lifecycle: "" });
    toast(T.common.saved(S.lifecycle));
  };
  return card(
    S.lifecycle,
    [
      lead(S.lifecycleLead),
      list,
      writable
        ? h(
            "div",
            {},
            button(S.addLifecycle, { icon: "plus", kind: "plain" }, () =>
              add(lifecycleRule(null, true, remove)),
            ),
          )
        : null,
    ],
    writable ? button(T.common.save, {}, save) : null,
  );
}

function lifecycleRule(given, writable, remove) {
  const inner = (part, name) => (given ? textOf(all(given, part)[0], name) : "");
  const days = (value) =>
    h("input", { type: "number", min: "1", max: "36500", value, disabled: !writable });
  const id = (given && textOf(given, "ID")) || `rule-${Math.random().toString(36).slice(2, 8)}`;
  const prefix = h("input", {
    value: inner("Filter", "Prefix") || (given ? textOf(given, "Prefix") : ""),
    placeholder: "events/",
    disabled: !writable,
    spellcheck: "false",
  });
  const expire = days(inner("Expiration", "Days"));
  const noncurrent = days(inner("NoncurrentVersionExpiration", "NoncurrentDays"));
  const abort = days(inner("AbortIncompleteMultipartUpload", "DaysAfterInitiation"));
  const on = check(S.enabled, {
    checked: !given || textOf(given, "Status") === "Enabled",
    disabled: !writable,
  });
  const part = (name, tag, input) =>
    input.value ? `<${name}><${tag}>${Number(input.value)}</${tag}></${name}>` : "";
  const rule = {
    xml: () =>
      `<Rule><ID>${escaped(id)}</ID><Filter><Prefix>${escaped(prefix.value)}</Prefix></Filter><Status>${on.input.checked ? "Enabled" : "Disabled"}</Status>${part("Expiration", "Days", expire)}${part("NoncurrentVersionExpiration", "NoncurrentDays", noncurrent)}${part("AbortIncompleteMultipartUpload", "DaysAfterInitiation", abort)}</Rule>`,
  };
  rule.element = h(
    "div",
    { class: "card" },
    h(
      "header",
      {},
      h("h3", { class: "grow" }, id),
      on.element,
      writable ? button(T.common.remove, { kind: "plain" }, () => remove(rule)) : null,
    ),
    h(
      "div",
      { class: "body grid" },
      field(S.prefix, prefix),
      field(S.expireAfter, expire),
      field(S.noncurrent, noncurrent),
      field(S.abort, abort),
    ),
  );
  return rule;
}

// -- CORS -----------------------------------------------------------------------------------------

const METHODS = ["GET", "PUT", "POST", "DELETE", "HEAD"];
const lines = (area) =>
  area.value
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);

async function cors(bucket, allowed) {
  const root = await s3Xml(bucket, "", { cors: "" });
  const writable = allowed("PutBucketCORS");
  const { list, rules, add, remove } = ruleList(S.noRules);
  const addRule = (given) => add(corsRule(given, rules.length + 1, writable, remove));
  for (const given of root ? all(root, "CORSRule") : []) addRule(given);
  const save = async () => {
    if (!rules.every((rule) => rule.isWhole())) throw new Error(S.corsPartial);
    if (rules.length)
      await s3Put(
        "PUT",
        bucket,
        "",
        { cors: "" },
        `<CORSConfiguration>${rules.map((rule) => rule.xml()).join("")}</CORSConfiguration>`,
      );
    else await s3("DELETE", bucket, "", { cors: "" });
    toast(T.common.saved(S.cors));
  };
  return card(
    S.cors,
    [
      lead(S.corsLead),
      list,
      writable
        ? h(
            "div",
            {},
            button(S.addRule, { icon: "plus", kind: "plain" }, () => addRule(null)),
          )
        : null,
    ],
    writable ? button(T.common.save, {}, save) : null,
  );
}

/** One rule as a form: `isWhole()` tells whether it can be saved, `xml()` how. */
function corsRule(given, number, writable, remove) {
  const values = (name) => (given ? all(given, name).map((each) => each.textContent) : []);
  const area = (name, placeholder) =>
    h("textarea", {
      rows: "3",
      value: values(name).join("\n"),
      placeholder,
      disabled: !writable,
      spellcheck: "false",
    });
  const origins = area("AllowedOrigin", "https://app.example.com");
  const headers = area("AllowedHeader", "*");
  const exposed = area("ExposeHeader", "ETag");
  const allowed = given ? values("AllowedMethod") : ["GET"];
  const methods = METHODS.map((method) => [
    method,
    check(method, { checked: allowed.includes(method), disabled: !writable }),
  ]);
  const age = h("input", {
    type: "number",
    min: "0",
    value: given ? textOf(given, "MaxAgeSeconds") : "3600",
    disabled: !writable,
  });
  const id = given ? textOf(given, "ID") : "";
  const chosen = () => methods.filter(([, box]) => box.input.checked).map(([method]) => method);
  const some = (tag, found) => found.map((value) => `<${tag}>${escaped(value)}</${tag}>`);
  const rule = {
    isWhole: () => lines(origins).length > 0 && chosen().length > 0,
    xml: () =>
      [
        "<CORSRule>",
        ...some("ID", id ? [id] : []),
        ...some("AllowedHeader", lines(headers)),
        ...some("AllowedMethod", chosen()),
        ...some("AllowedOrigin", lines(origins)),
        ...some("ExposeHeader", lines(exposed)),
        ...some("MaxAgeSeconds", age.value ? [String(Number(age.value))] : []),
        "</CORSRule>",
      ].join(""),
  };
  const boxes = methods.map(([, box]) => box.element);
  rule.element = h(
    "div",
    { class: "card" },
    h(
      "header",
      {},
      h("h3", { class: "grow" }, S.rule(number)),
      writable ? button(S.removeRule, { kind: "plain" }, () => remove(rule)) : null,
    ),
    h(
      "div",
      { class: "body grid" },
      field(S.origins, origins),
      h("fieldset", { class: "plain-set" }, h("legend", {}, S.methods), boxes),
      field(S.headers, headers),
      field(S.exposed, exposed),
      field(S.maxAge, age),
    ),
  );
  return rule;
}

// -- public access block --------------------------------------------------------------------------

async function block(bucket, allowed) {
  const root = await s3Xml(bucket, "", { publicAccessBlock: "" });
  const writable = allowed("PutBucketPublicAccessBlock");
  const boxes = Object.entries(S.blocks).map(([name, label]) => [
    name,
    check(label, {
      checked: root !== null && textOf(root, name).toLowerCase() === "true",
      disabled: !writable,
    }),
  ]);
  const save = async () => {
    await s3Put(
      "PUT",
      bucket,
      "",
      { publicAccessBlock: "" },
      `<PublicAccessBlockConfiguration>${boxes.map(([name, { input }]) => `<${name}>${input.checked}</${name}>`).join("")}</PublicAccessBlockConfiguration>`,
    );
    toast(T.common.saved(S.block));
  };
  return card(
    S.block,
    [
      lead(S.blockLead),
      h(
        "div",
        { class: "stack tight" },
        boxes.map(([, { element }]) => element),
      ),
    ],
    writable ? button(T.common.save, {}, save) : null,
  );
}

// -- policy ---------------------------------------------------------------------------------------

const TEMPLATES = {
  read: (bucket) => [
    {
      Sid: "Download",
      Effect: "Allow",
      Principal: "*",
      Action: "s3:GetObject",
      Resource: `arn:aws:s3:::${bucket}/*`,
    },
  ],
  list: (bucket) => [
    {
      Sid: "List",
      Effect: "Allow",
      Principal: "*",
      Action: ["s3:ListBucket", "s3:GetObject"],
      Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
    },
  ],
  deny: (bucket) => [
    {
      Sid: "TlsOnly",
      Effect: "Deny",
      Principal: "*",
      Action: "s3:*",
      Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
      Condition: { Bool: { "aws:SecureTransport": "false" } },
    },
  ],
};
const tidy = (document) => JSON.stringify(document, null, 2);

async function policy(bucket, allowed) {
  const answer = await s3("GET", bucket, "", { policy: "" }, { raw: true });
  const text = await answer.text();
  if (!answer.ok && answer.status !== 404) throw new Error(textOf(parse(text), "Message"));
  const writable = allowed("PutBucketPolicy");
  const editor = jsonEditor(answer.ok ? tidy(JSON.parse(text)) : "", {
    disabled: !writable,
    "aria-label": S.policy,
    placeholder: S.noPolicy,
  });
  const template = h(
    "select",
    {
      "aria-label": S.template,
      on: {
        change: () => {
          editor.set(tidy({ Version: "2012-10-17", Statement: TEMPLATES[template.value](bucket) }));
          template.value = "";
        },
      },
    },
    h("option", { value: "" }, S.template),
    Object.entries(S.templates).map(([name, label]) => h("option", { value: name }, label)),
  );
  template.style.setProperty("width", "auto");
  const save = async () => {
    if (!editor.area.value.trim()) throw new Error(S.emptyPolicy);
    await s3(
      "PUT",
      bucket,
      "",
      { policy: "" },
      { body: JSON.stringify(editor.value()), headers: { "content-type": "application/json" } },
    );
    toast(S.policySaved);
  };
  const remove = async () => {
    await s3("DELETE", bucket, "", { policy: "" });
    editor.set("");
    toast(S.policyRemoved);
  };
  const tools = writable
    ? [
        template,
        button(S.format, { kind: "plain" }, () => editor.set(tidy(editor.value()))),
        allowed("DeleteBucketPolicy") ? button(S.removePolicy, { kind: "plain" }, remove) : null,
        button(T.common.save, {}, save),
      ]
    : [];
  return card(
    S.policy,
    [lead(S.policyLead), editor.element, may("admin:GetPolicy") ? explain(bucket) : null],
    ...tools,
  );
}

/** Ask the store what it would decide. */
function explain(bucket) {
  const who = h("input", { autocomplete: "off", spellcheck: "false" });
  const action = h("input", { value: "s3:GetObject", spellcheck: "false" });
  const key = h("input", { spellcheck: "false" });
  const out = h("div", { role: "status" });
  const look = async () => {
    const told = await control("POST", ["explain"], {
      action: action.value,
      bucket,
      key: key.value,
      ...(who.value ? { user: who.value } : { anonymous: true }),
    });
    const kinds = { allows: "good", denies: "bad", nothing: "" };
    fill(
      out,
      h(
        "p",
        { class: "sentence" },
        badge(told.allowed ? S.allowed : S.denied, told.allowed ? "good" : "bad"),
        " ",
        h("span", {}, told.reason),
      ),
      h(
        "ul",
        { class: "steps" },
        told.steps.map((step) =>
          h(
            "li",
            {},
            badge(S.says[step.says] ?? step.says, kinds[step.says]),
            ` ${[[step.source, step.name].filter(Boolean).join(" "), step.why].filter(Boolean).join(": ")}`,
          ),
        ),
      ),
    );
  };
  return h(
    "details",
    {},
    h("summary", {}, S.explain),
    h(
      "div",
      { class: "stack" },
      h("p", { class: "hint" }, S.explainLead),
      h("div", { class: "grid" }, field(S.who, who), field(S.action, action), field(S.key, key)),
      h("div", {}, button(S.ask, {}, look)),
      out,
    ),
  );
}

// -- the end --------------------------------------------------------------------------------------

async function danger(bucket, allowed, link) {
  const remove = async () => {
    const { objects } = await control("GET", ["buckets", bucket]);
    await confirm({
      title: S.deleteTitle(bucket),
      lead: objects ? S.deleteFull(count(objects)) : S.deleteEmpty,
      action: S.danger,
      typed: bucket,
      submit: () => {
        (async () => {
          // Even one without objects may hold delete markers and earlier versions.
          if (
            allowed("ListBucketVersions") &&
            !(await longWork(S.emptied, (report, signal) => emptied(bucket, report, signal)))
          )
            return;
          await control("DELETE", ["buckets", bucket]);
          toast(S.deleted(bucket));
          location.hash = link("buckets");
        })().catch(fail);
        return true;
      },
    });
  };
  return card(
    S.danger,
    lead(S.dangerLead),
    button(S.danger, { kind: "danger", icon: "trash" }, remove),
  );
}

async function emptied(bucket, report, signal) {
  let done = 0;
  for (;;) {
    const root = await s3Xml(bucket, "", {
      versions: "",
      "encoding-type": "url",
      "max-keys": "900",
    });
    const found = [...root.children]
      .filter(({ localName }) => localName === "Version" || localName === "DeleteMarker")
      .map((each) => ({
        key: decodeURIComponent(textOf(each, "Key").replaceAll("+", " ")),
        version: textOf(each, "VersionId"),
      }));
    if (!found.length) return T.browse.deleted(count(done));
    const [deleted, errors] = await deleteAny(bucket, found, signal);
    if (errors.length) throw new Error(errors[0].message);
    report((done += deleted), 0);
  }
}
