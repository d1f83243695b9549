// Numbers and times as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(count) {
  let value = Number(count) || 0;
  let unit = 0;
  while (value >= (unit ? 1023.995 : 1024) && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(value >= 10 ? 1 : 2)} ${UNITS[unit]}`;
}

const COUNT = new Intl.NumberFormat("en");
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
/** From here on digits tell nothing any more. */
const COUNT_MAX = 1e15;
export const count = (value) =>
  Math.abs(value) < COUNT_MAX ? COUNT.format(value) : Number(value).toExponential(2);
export const compact = (value) =>
  Math.abs(value) < 10_000 || Math.abs(value) >= COUNT_MAX ? count(value) : COMPACT.format(value);

const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
export const moment = (value) => (value ? MOMENT.format(new Date(value)) : "");

const AGO = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
export function ago(value) {
  if (!value) return "";
  const seconds = (new Date(value) - Date.now()) / 1000;
  for (const [unit, size] of [
    ["day", 86400],
    ["hour", 3600],
    ["minute", 60],
  ]) {
    if (Math.abs(seconds) >= size)
      return unit === "day" && Math.abs(seconds) > 20 * 86400
        ? moment(value)
        : AGO.format(Math.round(seconds / size), unit);
  }
  return AGO.format(Math.round(seconds), "second");
}

export function duration(seconds) {
  if (seconds >= 172800) return `${Math.floor(seconds / 86400)} days`;
  if (seconds >= 7200) return `${Math.floor(seconds / 3600)} hours`;
  if (seconds >= 120) return `${Math.floor(seconds / 60)} minutes`;
  return `${Math.floor(seconds)} seconds`;
}
