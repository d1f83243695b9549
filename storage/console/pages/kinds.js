// What an object is, as far as its name and type tell; what it really is nobody knows.
const KINDS = [
  ["image", "image", /\.(png|jpe?g|gif|webp|avif|svg|ico|bmp)$/i, /^image\//],
  ["video", "video", /\.(mp4|webm|mov|m4v|ogv)$/i, /^video\//],
  ["audio", "audio", /\.(mp3|wav|ogg|oga|m4a|flac|aac|opus)$/i, /^audio\//],
  ["pdf", "file", /\.pdf$/i, /^application\/pdf/],
  ["json", "code", /\.json$/i, /^application\/(.*\+)?json/],
  ["csv", "table", /\.(csv|tsv)$/i, /^text\/(csv|tab-separated-values)/],
  ["text", "code", /\.(txt|md|log|ya?ml|xml|html?|js|ts|css|py|sh|sql|ini|toml|jsonl|ndjson|env|conf)$/i, /^text\/|javascript|xml|yaml|ndjson|x-sh/],
];

/** {kind, icon} of an object; `kind` is "" where there is no preview. */
export function kindOf(key, type = "") {
  const generic = !type || /octet-stream/.test(type);
  for (const [kind, icon, name, types] of KINDS) if (generic ? name.test(key) : types.test(type)) return { kind, icon };
  for (const [kind, icon, name] of KINDS) if (name.test(key)) return { kind, icon };
  return { kind: "", icon: "file" };
}
