// Users, access keys and policies.
import { control, may, state } from "./api.js";
import { fill, h, icon, named } from "./dom.js";
import { ago } from "./format.js";
import { T } from "./texts.js";
import {
  ask,
  badge,
  button,
  check,
  confirm,
  copy,
  empty,
  field,
  head,
  iconButton,
  jsonEditor,
  menuButton,
  note,
  saveText,
  table,
  toast,
} from "./ui.js";

const P = T.people;

export async function render(page, { parts, link }) {
  const tabs = [
    ["users", P.users, may("admin:ListUsers"), users],
    ["keys", P.keys, true, keys],
    ["policies", P.policies, may("admin:ListUserPolicies"), policies],
  ].filter(([, , allowed]) => allowed);
  const [name, , , draw] = tabs.find(([each]) => each === parts[0]) ?? tabs[0];
  const body = h("div");
  const tools = h("div", { class: "row" });
  fill(
    page,
    head(P.title, [tools]),
    h(
      "nav",
      { class: "tabs", "aria-label": P.title },
      tabs.map(([each, label]) =>
        h(
          "a",
          { href: link("people", each), "aria-current": each === name ? "page" : null },
          label,
        ),
      ),
    ),
    h("section", { class: "card" }, body),
  );
  const again = () => draw(body, tools, again);
  await again();
}

const status = (value) =>
  badge(value === "enabled" ? P.enabled : P.disabled, value === "enabled" ? "good" : "warn");
const chips = (names) =>
  names.length
    ? h(
        "span",
        { class: "row" },
        names.map((name) => badge(name, "accent")),
      )
    : h("span", { class: "muted" }, T.common.none);

/** Show a new secret, this once. */
async function showSecret(made) {
  const row = (label, value) =>
    field(
      label,
      h(
        "div",
        { class: "secret" },
        h("code", {}, value),
        iconButton("copy", T.common.copy, () => copy(value)),
      ),
    );
  await ask({
    title: P.secretTitle,
    action: P.understood,
    closeable: false,
    body: [
      note(P.secretLead, "warn", "key"),
      row(P.accessKey, made.access_key),
      row(P.secretKey, made.secret_key),
      h(
        "div",
        {},
        button(P.downloadSecret, { icon: "download" }, () =>
          saveText(
            `${made.access_key}.json`,
            JSON.stringify(
              { accessKey: made.access_key, secretKey: made.secret_key, url: state.session.s3 },
              null,
              2,
            ),
          ),
        ),
      ),
    ],
  });
}

/** Policies to choose from: those that exist, and `given`, which must not get lost unseen. */
async function policyNames(given = []) {
  const found = may("admin:ListUserPolicies")
    ? (await control("GET", ["policies"])).map(({ name }) => name)
    : [];
  return [...new Set([...found, ...given])];
}

/** A menu of what is allowed; nothing where that is nothing. */
const menu = (entries) => (entries.some(Boolean) ? menuButton(T.common.more, () => entries) : null);

function policyBoxes(names, given) {
  const boxes = names.map((name) => [name, check(name, { checked: given.includes(name) })]);
  return {
    element: h(
      "fieldset",
      { class: "plain-set" },
      h("legend", {}, P.policiesOf),
      h(
        "div",
        { class: "stack tight" },
        boxes.map(([, { element }]) => element),
      ),
    ),
    value: () => boxes.filter(([, { input }]) => input.checked).map(([name]) => name),
  };
}

// -- users ----------------------------------------------------------------------------------------

async function users(body, tools, again) {
  const found = await control("GET", ["users"]);
  const add = () =>
    may("admin:CreateUser")
      ? button(P.addUser, { icon: "plus", kind: "primary" }, () => newUser(again))
      : null;
  fill(tools, add());
  if (!found.length) return fill(body, empty("users", P.noUsers, P.noUsersLead, add()));
  const rows = found.map((user) =>
    h(
      "tr",
      {},
      h(
        "td",
        {},
        h(
          "div",
          { class: "name" },
          icon("users"),
          h(
            "div",
            {},
            h("b", {}, named(user.name)),
            user.display_name && user.display_name !== user.name
              ? h("div", { class: "small muted" }, named(user.display_name))
              : null,
          ),
        ),
      ),
      h("td", { class: "not-on-phones" }, chips(user.policies)),
      h("td", { class: "num wide-only" }, String(user.keys.length)),
      h("td", {}, status(user.status)),
      h("td", { class: "wide-only muted" }, ago(user.created)),
      h("td", { class: "tight" }, menu(userMenu(user, again))),
    ),
  );
  return fill(
    body,
    table(
      [
        P.userName,
        h("th", { scope: "col", class: "not-on-phones" }, P.policies),
        h("th", { class: "num wide-only" }, P.keys),
        P.status,
        h("th", { class: "wide-only" }, P.created),
        h("th", { class: "tight" }, h("span", { class: "sr" }, T.common.actions)),
      ],
      rows,
    ),
  );
}

function userMenu(user, again) {
  const enabled = user.status === "enabled";
  const change = async (document) => {
    await control("PATCH", ["users", user.name], document);
    await again();
  };
  return [
    may("admin:AttachUserOrGroupPolicy") && ["shield", P.editPolicies, () => attach(user, change)],
    may("admin:CreateServiceAccount") && ["key", P.newKey, () => newKey(user.name, again)],
    may(enabled ? "admin:DisableUser" : "admin:EnableUser") && [
      enabled ? "close" : "check",
      enabled ? P.disable : P.enable,
      () => change({ status: enabled ? "disabled" : "enabled" }),
    ],
    may("admin:DeleteUser") && [
      "trash",
      T.common.remove,
      () =>
        confirm({
          title: P.removeUser(user.name),
          lead: P.removeUserLead,
          action: T.common.remove,
          typed: user.name,
          submit: async () => {
            await control("DELETE", ["users", user.name]);
            toast(P.userRemoved(user.name));
            await again();
            return true;
          },
        }),
    ],
  ];
}

async function attach(user, change) {
  const boxes = policyBoxes(await policyNames(user.policies), user.policies);
  await ask({
    title: `${P.policiesOf}: ${user.name}`,
    body: boxes.element,
    submit: async () => {
      await change({ policies: boxes.value() });
      return true;
    },
  });
}

async function newUser(again) {
  const name = h("input", {
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
    maxlength: "64",
    autofocus: true,
  });
  const display = h("input", { autocomplete: "off", maxlength: "128" });
  const boxes = policyBoxes(may("admin:AttachUserOrGroupPolicy") ? await policyNames() : [], [
    "readwrite",
  ]);
  const made = await ask({
    title: P.addUser,
    action: T.common.create,
    body: [
      field(P.userName, name),
      field(P.displayName, display),
      boxes.value().length ? boxes.element : null,
    ],
    submit: () =>
      control("POST", ["users"], {
        name: name.value.trim(),
        display_name: display.value.trim(),
        policies: boxes.value(),
      }),
  });
  if (!made) return;
  await again();
  await showSecret(made);
}

// -- keys -----------------------------------------------------------------------------------------

async function keys(body, tools, again) {
  const found = await control("GET", ["keys"]);
  const add = () =>
    mayForKeysOf(state.session.me.user, "admin:CreateServiceAccount")
      ? button(P.newKey, { icon: "plus", kind: "primary" }, () => newKey("", again))
      : null;
  fill(tools, add());
  if (!found.length) return fill(body, empty("key", P.noKeys, "", add()));
  const rows = found.map((key) =>
    h(
      "tr",
      {},
      h("td", {}, h("div", { class: "name" }, icon("key"), h("code", {}, named(key.access_key)))),
      h(
        "td",
        {},
        named(key.user),
        " ",
        key.user === state.session.me.user ? badge(P.own) : null,
        key.policy ? badge(P.narrowed, "warn") : null,
      ),
      h("td", {}, status(key.status)),
      h("td", { class: "wide-only muted" }, ago(key.created)),
      h("td", { class: "tight" }, menu(keyMenu(key, again))),
    ),
  );
  return fill(
    body,
    table(
      [
        P.accessKey,
        P.userName,
        P.status,
        h("th", { class: "wide-only" }, P.created),
        h("th", { class: "tight" }, h("span", { class: "sr" }, T.common.actions)),
      ],
      rows,
    ),
  );
}

/** Whether something is allowed with a user's keys: root's are root's. */
function mayForKeysOf(user, action, isRoot = false) {
  const { me } = state.session;
  return user === me.user ? me.own_keys.includes(action) : may(action) && (me.root || !isRoot);
}

function keyMenu(key, again) {
  const enabled = key.status === "enabled";
  const allowed = (action) => mayForKeysOf(key.user, action, key.root);
  return [
    allowed("admin:CreateServiceAccount") && ["history", P.rotate, () => rotate(key, again)],
    allowed("admin:UpdateServiceAccount") && [
      enabled ? "close" : "check",
      enabled ? P.disable : P.enable,
      async () => {
        await control("PATCH", ["keys", key.access_key], {
          status: enabled ? "disabled" : "enabled",
        });
        await again();
      },
    ],
    allowed("admin:RemoveServiceAccount") && [
      "trash",
      T.common.remove,
      () =>
        confirm({
          title: P.removeKey(key.access_key),
          lead: P.removeKeyLead,
          action: T.common.remove,
          submit: async () => {
            await control("DELETE", ["keys", key.access_key]);
            await again();
            return true;
          },
        }),
    ],
  ];
}

async function newKey(user, again) {
  const names =
    may("admin:CreateServiceAccount") && may("admin:ListUsers")
      ? [state.session.me.user, ...(await control("GET", ["users"])).map(({ name }) => name)]
      : [state.session.me.user];
  const owner = h(
    "select",
    {},
    [...new Set(names)].map((name) => h("option", { value: name, selected: name === user }, name)),
  );
  const made = await ask({
    title: P.newKey,
    action: T.common.create,
    body: [field(P.newKeyFor, owner)],
    submit: () => control("POST", ["keys"], { user: owner.value }),
  });
  if (!made) return;
  await again();
  await showSecret(made);
}

async function rotate(key, again) {
  const made = await ask({
    title: P.rotateTitle,
    action: T.common.create,
    body: h("p", {}, P.rotateLead),
    submit: () =>
      control("POST", ["keys"], { user: key.user, ...(key.policy ? { policy: key.policy } : {}) }),
  });
  if (!made) return;
  await again();
  await showSecret(made);
}

// -- policies -------------------------------------------------------------------------------------

async function policies(body, tools, again) {
  const found = await control("GET", ["policies"]);
  fill(
    tools,
    may("admin:CreatePolicy")
      ? button(P.addPolicy, { icon: "plus", kind: "primary" }, () => editPolicy(null, again))
      : null,
  );
  const rows = found.map((policy) => {
    const writable = !policy.canned && may("admin:CreatePolicy");
    return h(
      "tr",
      {},
      h(
        "td",
        {},
        h(
          "div",
          { class: "name" },
          icon("shield"),
          h("b", {}, named(policy.name)),
          policy.canned ? badge(P.canned) : null,
        ),
      ),
      h("td", { class: "muted tight" }, P.usedBy(policy.users.length)),
      h(
        "td",
        { class: "tight" },
        h(
          "div",
          { class: "row" },
          iconButton(writable ? "edit" : "eye", writable ? T.common.edit : P.view, () =>
            editPolicy(policy, again),
          ),
          writable && may("admin:DeletePolicy") && !policy.users.length
            ? iconButton("trash", T.common.remove, () =>
                confirm({
                  title: P.removePolicy(policy.name),
                  lead: P.removePolicyLead,
                  action: T.common.remove,
                  submit: async () => {
                    await control("DELETE", ["policies", policy.name]);
                    await again();
                    return true;
                  },
                }),
              )
            : null,
        ),
      ),
    );
  });
  fill(
    body,
    table(
      [
        P.policies,
        P.users,
        h("th", { class: "tight" }, h("span", { class: "sr" }, T.common.actions)),
      ],
      rows,
    ),
  );
}

const STARTER = {
  Version: "2012-10-17",
  Statement: [
    {
      Effect: "Allow",
      Action: ["s3:GetObject", "s3:ListBucket"],
      Resource: ["arn:aws:s3:::langfuse", "arn:aws:s3:::langfuse/*"],
    },
  ],
};

async function editPolicy(policy, again) {
  const writable = !policy?.canned && may("admin:CreatePolicy");
  const name = h("input", {
    value: policy?.name ?? "",
    disabled: Boolean(policy),
    maxlength: "128",
    autocomplete: "off",
    spellcheck: "false",
  });
  const editor = jsonEditor(JSON.stringify(policy?.document ?? STARTER, null, 2), {
    disabled: !writable,
    "aria-label": P.document,
  });
  await ask({
    title: policy ? policy.name : P.addPolicy,
    wide: true,
    action: writable ? T.common.save : T.common.close,
    cancel: writable ? T.common.cancel : null,
    body: [policy ? null : field(P.policyName, name), field(P.document, editor.element)],
    submit: async () => {
      if (!writable) return true;
      await control("PUT", ["policies", name.value.trim()], editor.value());
      toast(P.policySaved(name.value.trim()));
      await again();
      return true;
    },
  });
}
