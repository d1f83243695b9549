// The checks of `oversight doctor`, run from where the store runs.
import { control } from "./api.js";
import { fill, h, rich } from "./dom.js";
import { T } from "./texts.js";
import { badge, button, card, empty, head, note, table } from "./ui.js";

const D = T.doctor;
const KINDS = { passed: "good", warning: "warn", failed: "bad" };

export async function render(page) {
  const checks = await control("GET", ["doctor"]);
  const body = h("div", { class: "stack" });
  const run = async () => {
    fill(body, h("div", { class: "card" }, empty("doctor", D.running, "")));
    try {
      draw(body, await control("POST", ["doctor"], {}));
    } catch (error) {
      fill(body, note(error.message, "bad", "alert"), known(checks));
    }
  };
  fill(
    page,
    head(D.title, [button(D.run, { kind: "primary", icon: "doctor" }, run)], D.lead),
    body,
  );
  fill(body, known(checks));
}

const known = (checks) =>
  h(
    "section",
    { class: "card" },
    table(
      [D.check, D.times],
      checks.map(({ title, scope }) =>
        h("tr", {}, h("td", {}, title), h("td", { class: "muted" }, D.scopes[scope] ?? scope)),
      ),
    ),
  );

function draw(body, { healthy, troubles, results }) {
  fill(
    body,
    note(
      healthy && !troubles.length ? D.healthy : healthy ? D.warned : D.unhealthy,
      healthy ? (troubles.length ? "warn" : "") : "bad",
      healthy && !troubles.length ? "check" : "alert",
    ),
    troubles.map(({ severity, sentence, cure, code }) =>
      card(
        sentence,
        [
          h("p", {}, h("b", {}, `${D.cure}: `), rich(cure)),
          h("p", { class: "small muted" }, h("code", {}, code)),
        ],
        badge(
          severity === "failure" ? D.failure : D.warning,
          severity === "failure" ? "bad" : "warn",
        ),
      ),
    ),
    h(
      "section",
      { class: "card" },
      table(
        [D.check, h("th", { scope: "col", class: "not-on-phones" }, D.door), D.result],
        results.map((each) =>
          h(
            "tr",
            {},
            h(
              "td",
              {},
              each.title,
              each.reason ? h("div", { class: "small muted" }, each.reason) : null,
            ),
            h("td", { class: "muted not-on-phones" }, each.endpoint || each.door),
            h("td", {}, badge(each.verdict, KINDS[each.verdict] ?? "")),
          ),
        ),
      ),
    ),
  );
}
