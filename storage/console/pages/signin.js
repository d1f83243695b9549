// Signing in, at the beginning and when a session has ended meanwhile.
import { session, state } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { T } from "./texts.js";
import { ask, field, note } from "./ui.js";

function fields() {
  const key = h("input", {
    name: "username",
    autocomplete: "username",
    autocapitalize: "none",
    spellcheck: "false",
    required: true,
    autofocus: true,
  });
  const secret = h("input", {
    name: "password",
    type: "password",
    autocomplete: "current-password",
    required: true,
  });
  return {
    key,
    secret,
    elements: [field(T.signIn.accessKey, key), field(T.signIn.secretKey, secret)],
  };
}

const enter = ({ key, secret }) =>
  session("POST", { access_key: key.value.trim(), secret_key: secret.value });

/** The first page; resolves with the session. */
export function signIn(app) {
  return new Promise((resolve) => {
    const inputs = fields();
    const error = h("p", { class: "error", role: "alert" });
    const submit = h("button", { class: "primary", type: "submit" }, T.signIn.submit);
    const form = h(
      "form",
      {
        class: "stack",
        novalidate: true,
        on: {
          submit: async (event) => {
            event.preventDefault();
            fill(error);
            submit.disabled = true;
            fill(submit, T.signIn.working);
            try {
              resolve(await enter(inputs));
            } catch (problem) {
              fill(error, problem.message);
              inputs.secret.select();
            } finally {
              submit.disabled = false;
              fill(submit, T.signIn.submit);
            }
          },
        },
      },
      h("h2", {}, T.signIn.title),
      h("p", { class: "muted" }, T.signIn.lead),
      inputs.elements,
      error,
      submit,
    );
    fill(
      app,
      h(
        "main",
        { class: "gate" },
        h(
          "div",
          { class: "art" },
          h("div", { class: "brand" }, h("img", { src: "static/icon.svg", alt: "" }), T.name),
          h(
            "div",
            {},
            h("h1", {}, T.signIn.headline),
            h(
              "ul",
              {},
              T.signIn.points.map((point) => h("li", {}, icon("check"), point)),
            ),
          ),
          h("div"),
        ),
        h("div", { class: "entry" }, form),
      ),
    );
    inputs.key.focus();
  });
}

let asking = null;

/** Ask once, however many requests found the session over; the page stays as it is. */
export function signInAgain(why = "") {
  asking ??= again(why).finally(() => (asking = null));
  return asking;
}

async function again(why) {
  const before = state.session.me.id;
  const inputs = fields();
  inputs.key.value = state.session.me.access_key;
  inputs.key.autofocus = false;
  inputs.secret.autofocus = true;
  await ask({
    title: T.signIn.again,
    action: T.signIn.submit,
    closeable: false,
    body: [
      why ? note(why, "warn", "shield") : null,
      h("p", { class: "muted" }, T.signIn.againLead),
      inputs.elements,
    ],
    submit: async () => {
      state.session = await enter(inputs);
    },
  });
  // What is on this page belongs to somebody else then.
  if (state.session.me.id !== before) location.reload();
}
