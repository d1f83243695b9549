// How the store is.
import { control, may } from "./api.js";
import { fill, h } from "./dom.js";
import { bytes, compact, count, duration, moment } from "./format.js";
import { T } from "./texts.js";
import { badge, card, head, meter, note, stat, table } from "./ui.js";

const M = T.monitoring;
/** Milliseconds between two looks. */
const EVERY = 5000;

export async function render(page, { signal }) {
  const body = h("div", { class: "stack" });
  fill(page, head(M.title, [badge(M.live, "good")]), body);
  const look = async () => {
    const [status, drives] = await Promise.all([control("GET", ["status"]), may("admin:StorageInfo") ? control("GET", ["drives"]) : null]);
    if (!signal.aborted) draw(body, status, drives);
  };
  await look();
  const timer = setInterval(() => document.hidden || look().catch(() => {}), EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
}

function draw(body, status, drives) {
  const { total, free } = status.capacity;
  const used = total ? 1 - free / total : 0;
  fill(
    body,
    status.warnings.map((warning) => note(warning, "warn", "alert")),
    h("div", { class: "grid" }, stat(M.objects, compact(status.objects), status.objects < 10_000 ? "" : count(status.objects)), stat(M.stored, bytes(status.bytes)), stat(M.buckets, count(status.buckets)), stat(M.uptime, duration(status.uptime), `${M.version} ${status.version}`), stat(M.workers, String(status.workers))),
    h("div", { class: "grid wide" }, card(M.capacity, [h("div", { class: "row" }, h("b", {}, M.used(Math.round(used * 100))), h("span", { class: "muted" }, M.free(bytes(free)))), meter(used, M.capacity, used > 0.9 ? "bad" : "")]), card(M.scrub, [h("p", {}, status.scrub.finished ? M.scrubbed(moment(status.scrub.finished)) : M.neverScrubbed), h("p", {}, `${M.damages}: `, badge(String(status.scrub.damages + status.damages), status.scrub.damages + status.damages ? "bad" : "good"))])),
    drives ? card(M.drives, [table([T.common.name, T.people.status], drives.drives.map((drive) => h("tr", {}, h("td", {}, h("code", {}, drive.path)), h("td", {}, badge(drive.online ? M.online : M.offline, drive.online ? "good" : "bad"))))), drives.inodes_total ? h("p", { class: "muted" }, `${M.inodes}: ${compact(drives.inodes_free)}`) : null]) : null,
  );
}
