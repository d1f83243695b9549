// What an object is, as far as its name and type tell; what it really is nobody knows.
const KINDS = [
  ["image", "image", /\.(png|jpe?g|gif|webp|avif|svg|ico|bmp)$/i, /^image\//],
  ["video", "video", /\.(mp4|webm|mov|m4v|ogv)$/i, /^video\//],
  ["audio", "audio", /\.(mp3|wav|ogg|oga|m4a|flac|aac|opus)$/i, /^audio\//],
  ["pdf", "file", /\.pdf$/i, /^application\/pdf/],
  ["json", "code", /\.json$/i, /^application\/(.*\+)?json/],
  ["parquet", "table", /\.(parquet|pq)$/i, /parquet/],
  ["csv", "table", /\.(csv|tsv)$/i, /^text\/(csv|tab-separated-values)/],
  [
    "text",
    "code",
    /\.(txt|md|log|ya?ml|xml|html?|js|ts|css|py|sh|sql|ini|toml|jsonl|ndjson|env|conf)$/i,
    /^text\/|javascript|xml|yaml|ndjson|x-sh/,
  ],
];

// What may be shown of a file that gzip packed.
const UNPACKED = ["json", "csv", "text"];

/** {kind, icon, packed} of an object; `kind` is "" where there is no preview, `packed` whether its name
 * or type tell of gzip. */
export function kindOf(key, type = "") {
  const packed = /\.gz$/i.test(key);
  const found = plainKind(packed ? key.slice(0, -3) : key, /gzip/.test(type) ? "" : type);
  return { ...found, kind: packed && !UNPACKED.includes(found.kind) ? "" : found.kind, packed };
}

function plainKind(key, type) {
  const generic = !type || /octet-stream/.test(type);
  for (const [kind, icon, name, types] of KINDS)
    if (generic ? name.test(key) : types.test(type)) return { kind, icon };
  for (const [kind, icon, name] of KINDS) if (name.test(key)) return { kind, icon };
  return { kind: "", icon: "file" };
}
