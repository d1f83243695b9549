// A link that lets its holder download one object for a while.
import { session, sign, state } from "./api.js";
import { fill, h, rich, svg } from "./dom.js";
import { moment } from "./format.js";
import { qr } from "./qr.js";
import { T } from "./texts.js";
import { ask, copyable, fail, field, note } from "./ui.js";
import { isTidiedUp } from "./transfers.js";

const PERIODS = [15, 60, 240, 720];

export async function share(bucket, key, version) {
  if (isTidiedUp(key)) throw new Error(T.share.dots);
  const period = h(
    "select",
    { on: { change: () => make().catch(fail) } },
    PERIODS.map((minutes) =>
      h(
        "option",
        { value: minutes, selected: minutes === 60 },
        minutes < 60 ? T.share.minutes(minutes) : T.share.hours(minutes / 60),
      ),
    ),
  );
  const out = h("div", { class: "stack" });
  let latest = 0;
  const make = async () => {
    const number = (latest += 1);
    const wanted = Number(period.value) * 60;
    // The link ends with the session, which gets as much time as it may have first.
    if (state.session.expires - Date.now() / 1000 < wanted)
      state.session = await session("PUT").catch(() => state.session);
    const [url] = await sign([
      { method: "GET", bucket, key, query: version ? { versionId: version } : {}, seconds: wanted },
    ]);
    if (number !== latest) return; // another time was chosen meanwhile
    const seconds = Number(new URL(url).searchParams.get("X-Amz-Expires"));
    const ends = moment(Date.now() + seconds * 1000);
    fill(
      out,
      copyable(url),
      h("p", { class: "hint" }, T.share.ends(ends)),
      seconds < wanted - 5 ? note(rich(T.share.short), "warn", "alert") : null,
      picture(url),
      h("p", { class: "hint" }, T.share.host(new URL(url).host)),
    );
  };
  await make();
  await ask({
    title: T.share.title,
    action: T.common.done,
    cancel: null,
    body: [note(T.share.lead, "", "link"), field(T.share.expires, period), out],
  });
  return state.session;
}

function picture(url) {
  const rows = qr(url);
  if (!rows) return null;
  const path = rows
    .map((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : "")).join(""))
    .join("");
  return svg(
    "svg",
    {
      class: "qr",
      viewBox: `-4 -4 ${rows.length + 8} ${rows.length + 8}`,
      role: "img",
      "aria-label": T.share.qr,
      "shape-rendering": "crispEdges",
    },
    svg("path", { d: path, fill: "#000" }),
  );
}
