// One scenario per call: `node langfuse.mjs NAME`, with S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY and
// S3_BUCKET in the environment. Each does what Langfuse's server does with its bucket, configured
// as Langfuse configures the SDK: region "auto", path style, checksums only when required.
// A scenario that returns has passed; anything else throws.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import http from "node:http";
import { Readable } from "node:stream";

import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const { S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY, S3_BUCKET: Bucket } = process.env;
const MIB = 1024 * 1024;
const EMPTY_SHA256 = createHash("sha256").digest("hex");

const settings = {
  endpoint: S3_ENDPOINT,
  region: "auto",
  forcePathStyle: true,
  credentials: { accessKeyId: S3_ACCESS_KEY, secretAccessKey: S3_SECRET_KEY },
};
const client = new S3Client({
  ...settings,
  requestChecksumCalculation: "WHEN_REQUIRED",
  responseChecksumValidation: "WHEN_REQUIRED",
});

// What really goes out, to be sure that the scenario is the one it says it is.
const sent = [];
const record = (recorded) =>
  recorded.middlewareStack.add(
    (next, context) => async (args) => {
      sent.push({ command: context.commandName, ...args.request });
      return next(args);
    },
    { step: "finalizeRequest", priority: "low", name: "record" },
  );
record(client);
const requests = (command) => sent.filter((request) => request.command === command);

const put = (Key, Body, ContentType = "application/json") =>
  client.send(new PutObjectCommand({ Bucket, Key, Body, ContentType }));
const read = async (Key) => {
  const answer = await client.send(new GetObjectCommand({ Bucket, Key }));
  return Buffer.from(await answer.Body.transformToByteArray());
};
const list = async (Prefix, MaxKeys = 200) => {
  const found = [];
  let ContinuationToken;
  do {
    const page = await client.send(
      new ListObjectsV2Command({ Bucket, Prefix, MaxKeys, ContinuationToken }),
    );
    assert.ok((page.Contents ?? []).length <= MaxKeys);
    found.push(...(page.Contents ?? []));
    ContinuationToken = page.NextContinuationToken;
    assert.equal(Boolean(page.IsTruncated), ContinuationToken !== undefined);
  } while (ContinuationToken);
  return found;
};
const noUploadsLeft = async () => {
  const left = await client.send(new ListMultipartUploadsCommand({ Bucket }));
  assert.deepEqual(left.Uploads ?? [], []);
};

async function inGroups(items, size, work) {
  for (let start = 0; start < items.length; start += size) {
    await Promise.all(items.slice(start, start + size).map(work));
  }
}

// Plain HTTP, for what browsers and SDKs do with a URL that Langfuse signed.
const plain = (method, url, headers = {}, body) =>
  new Promise((resolve, reject) => {
    const request = http.request(url, { method, headers }, (answer) => {
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () =>
        resolve({
          status: answer.statusCode,
          headers: answer.headers,
          body: Buffer.concat(chunks),
        }),
      );
    });
    request.on("error", reject);
    request.end(body);
  });

// Langfuse's media upload: exactly these headers are signed, none of them is hoisted into the URL.
const signedUpload = (Key, ContentType, body) =>
  getSignedUrl(
    client,
    new PutObjectCommand({
      Bucket,
      Key,
      ContentType,
      ContentLength: body.length,
      ChecksumSHA256: createHash("sha256").update(body).digest("base64"),
    }),
    {
      expiresIn: 3600,
      signableHeaders: new Set(["content-type", "content-length"]),
      unhoistableHeaders: new Set(["x-amz-checksum-sha256"]),
    },
  );

// Langfuse's buffered path: parts are gathered in memory and sent three at a time.
async function bufferedUpload(Key, chunks, partSize) {
  const { UploadId } = await client.send(
    new CreateMultipartUploadCommand({ Bucket, Key, ContentType: "application/json" }),
  );
  const bodies = [];
  let buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    buffer = Buffer.concat([buffer, chunk]);
    while (buffer.length >= partSize) {
      bodies.push(buffer.subarray(0, partSize));
      buffer = buffer.subarray(partSize);
    }
  }
  if (buffer.length) bodies.push(buffer);
  if (!bodies.length) {
    await client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }));
    return put(Key, "");
  }
  const Parts = [];
  const numbered = bodies.map((Body, index) => ({ Body, PartNumber: index + 1 }));
  await inGroups(numbered, 3, async ({ Body, PartNumber }) => {
    const { ETag } = await client.send(
      new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }),
    );
    Parts.push({ ETag, PartNumber });
  });
  Parts.sort((one, other) => one.PartNumber - other.PartNumber);
  return client.send(
    new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }),
  );
}

function* pieces(body, size) {
  for (let start = 0; start < body.length; start += size) {
    yield body.subarray(start, start + size);
  }
}

const scenarios = {
  async "put-and-get-events"() {
    const key = "events/otel/project/2026/11/22/05/46/7d0c.json";
    const body = JSON.stringify([{ traceId: "t", spans: ["ü"] }]);
    await put(key, body);
    assert.equal((await read(key)).toString(), body);
    const [request] = requests("PutObjectCommand");
    const hash = createHash("sha256").update(body).digest("hex");
    assert.equal(request.headers["x-amz-content-sha256"], hash);
    assert.match(request.headers.authorization, /\/auto\/s3\/aws4_request/);
    assert.equal(request.query["x-id"], "PutObject");
    assert.equal(request.headers["x-amz-trailer"], undefined);
    assert.equal(request.headers["x-amz-checksum-crc32"], undefined);
  },

  async "expect-100-continue"() {
    const body = randomBytes(3 * MIB);
    await put("media/project/large.bin", body, "application/octet-stream");
    assert.ok((await read("media/project/large.bin")).equals(body));
    assert.equal(requests("PutObjectCommand")[0].headers.Expect, "100-continue");
  },

  async "ids-of-any-length-and-content"() {
    const ids = [
      "a".repeat(800),
      "../../../etc/passwd",
      "..",
      ".",
      "with/slash",
      "back\\slash",
      "double//slash",
      "space and + and %2F and ?",
      "ünï©ødé-🎉",
      "quote\"'<&>",
    ];
    const keys = ids.map((id) => `events/project/trace/${id}/event.json`);
    for (const key of keys) await put(key, key);
    for (const key of keys) assert.equal((await read(key)).toString(), key);
    const found = (await list("events/project/trace/")).map((entry) => entry.Key);
    assert.deepEqual(found.sort(), [...keys].sort());
  },

  async "missing-key-and-bucket"() {
    await assert.rejects(read("events/never-was.json"), { name: "NoSuchKey" });
    const missing = new GetObjectCommand({ Bucket: `${Bucket}-not`, Key: "x" });
    await assert.rejects(client.send(missing), { name: "NoSuchBucket" });
  },

  async "list-by-200-and-delete-by-900"() {
    const keys = Array.from(
      { length: 1000 },
      (_, n) => `events/p/trace/t/${String(n).padStart(4, "0")}.json`,
    );
    await inGroups(keys, 16, (key) => put(key, key));
    const found = await list("events/p/");
    assert.deepEqual(
      found.map((entry) => entry.Key),
      keys,
    );
    assert.deepEqual(new Set(found.map((entry) => entry.Size)), new Set([keys[0].length]));
    assert.ok(found.every((entry) => Math.abs(Date.now() - entry.LastModified) < 300_000));
    for (let start = 0; start < keys.length; start += 900) {
      const Objects = keys.slice(start, start + 900).map((Key) => ({ Key }));
      const answer = await client.send(
        new DeleteObjectsCommand({ Bucket, Delete: { Objects, Quiet: true } }),
      );
      assert.deepEqual(answer.Errors ?? [], []);
      assert.deepEqual(answer.Deleted ?? [], [], "a Quiet answer names only errors");
    }
    assert.ok(requests("DeleteObjectsCommand")[0].headers["x-amz-checksum-crc32"]);
    assert.deepEqual(await list("events/p/"), []);
  },

  async "delete-with-other-checksums"() {
    for (const ChecksumAlgorithm of ["CRC32C", "SHA1", "SHA256"]) {
      await put("events/x", "x");
      await client.send(
        new DeleteObjectsCommand({
          Bucket,
          Delete: { Objects: [{ Key: "events/x" }], Quiet: true },
          ChecksumAlgorithm,
        }),
      );
      assert.deepEqual(await list("events/"), []);
    }
  },

  async "lib-storage-streams-parts-of-5-mib"() {
    const body = randomBytes(23 * MIB + 7);
    const upload = new Upload({
      client,
      params: {
        Bucket,
        Key: "exports/1-lf-traces-export-p.csv",
        Body: Readable.from(pieces(body, 65536)),
        ContentType: "text/csv",
      },
      partSize: 5 * MIB,
      queueSize: 4,
    });
    await upload.done();
    assert.equal(requests("UploadPartCommand").length, 5);
    assert.ok((await read("exports/1-lf-traces-export-p.csv")).equals(body));
    await noUploadsLeft();
  },

  async "lib-storage-small-stream-is-one-put"() {
    const Body = Readable.from([Buffer.from("a,b\n"), Buffer.from("1,2\n")]);
    await new Upload({ client, params: { Bucket, Key: "exports/small.csv", Body } }).done();
    assert.equal(requests("PutObjectCommand").length, 1);
    assert.equal((await read("exports/small.csv")).toString(), "a,b\n1,2\n");
  },

  async "lib-storage-abort-leaves-nothing"() {
    const broken = async function* () {
      yield randomBytes(11 * MIB);
      throw new Error("the query failed");
    };
    const params = { Bucket, Key: "exports/broken.csv", Body: Readable.from(broken()) };
    await assert.rejects(new Upload({ client, params, partSize: 5 * MIB }).done());
    assert.deepEqual(await list("exports/"), []);
    await noUploadsLeft();
  },

  async "buffered-parts-of-10-mib"() {
    const body = randomBytes(32 * MIB + 5);
    await bufferedUpload("exports/buffered.json", pieces(body, MIB), 10 * MIB);
    assert.equal(requests("UploadPartCommand").length, 4);
    assert.ok((await read("exports/buffered.json")).equals(body));
  },

  async "buffered-parts-of-100-mib"() {
    const body = randomBytes(120 * MIB);
    await bufferedUpload("exports/large.json", pieces(body, 8 * MIB), 100 * MIB);
    assert.equal(requests("UploadPartCommand").length, 2);
    assert.ok((await read("exports/large.json")).equals(body));
  },

  async "buffered-empty-stream-aborts-and-puts"() {
    await bufferedUpload("exports/empty.json", [], 10 * MIB);
    assert.equal(requests("AbortMultipartUploadCommand").length, 1);
    assert.equal((await read("exports/empty.json")).length, 0);
    assert.equal(requests("PutObjectCommand")[0].headers["x-amz-content-sha256"], EMPTY_SHA256);
    await noUploadsLeft();
  },

  // Not Langfuse: the SDK's defaults, which send the checksum of a stream behind it.
  async "default-checksum-as-trailer"() {
    const defaults = new S3Client(settings);
    record(defaults);
    const body = randomBytes(300_000);
    const params = { Bucket, Key: "stream", Body: Readable.from(pieces(body, 65536)) };
    await defaults.send(new PutObjectCommand({ ...params, ContentLength: body.length }));
    const [request] = requests("PutObjectCommand");
    assert.equal(request.headers["x-amz-content-sha256"], "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    assert.equal(request.headers["x-amz-trailer"], "x-amz-checksum-crc32");
    const answer = await defaults.send(new GetObjectCommand({ Bucket, Key: "stream" }));
    assert.ok(answer.ChecksumCRC32);
    assert.ok(Buffer.from(await answer.Body.transformToByteArray()).equals(body));
  },

  async "signed-download"() {
    const Key = "exports/1732000000000-lf-traces-export-p.csv";
    await put(Key, "a,b\n", "text/csv");
    for (const disposition of [undefined, `attachment; filename="${Key}"`]) {
      const command = new GetObjectCommand({
        Bucket,
        Key,
        ResponseContentDisposition: disposition,
      });
      const url = await getSignedUrl(client, command, { expiresIn: 24 * 3600 });
      const answer = await plain("GET", url);
      assert.equal(answer.status, 200);
      assert.equal(answer.body.toString(), "a,b\n");
      assert.equal(answer.headers["content-type"], "text/csv");
      assert.equal(answer.headers["content-disposition"], disposition);
      assert.equal((await plain("GET", `${url.slice(0, -1)}0x`)).status, 403);
    }
  },

  async "signed-upload-from-an-sdk"() {
    const body = randomBytes(50_000);
    const sha256 = createHash("sha256").update(body).digest("base64");
    const Key = `media/project/${createHash("sha256").update(body).digest("base64url").slice(0, 22)}.png`;
    const url = await signedUpload(Key, "image/png", body);
    assert.equal(
      new URL(url).searchParams.get("X-Amz-SignedHeaders"),
      "content-length;content-type;host;x-amz-checksum-sha256",
    );
    const headers = {
      "content-type": "image/png",
      "content-length": body.length,
      "x-amz-checksum-sha256": sha256,
      "x-ms-blob-type": "BlockBlob",
    };
    const answer = await plain("PUT", url, headers, body);
    assert.equal(answer.status, 200, answer.body.toString());
    assert.ok((await read(Key)).equals(body));
    const stored = await client.send(
      new GetObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }),
    );
    await stored.Body.transformToByteArray(); // an unread answer would hold its connection
    assert.equal(stored.ChecksumSHA256, sha256);
    assert.equal(stored.ContentType, "image/png");
  },

  async "signed-upload-refuses-other-bytes"() {
    const body = Buffer.from("what was announced");
    const url = await signedUpload("media/project/announced.txt", "text/plain", body);
    const headers = {
      "content-type": "text/plain",
      "content-length": body.length,
      "x-amz-checksum-sha256": createHash("sha256").update(body).digest("base64"),
    };
    const other = Buffer.from("what was smuggled.");
    assert.equal(other.length, body.length);
    assert.equal((await plain("PUT", url, headers, other)).status, 400);
    const longer = Buffer.concat([body, body]);
    const wrongLength = { ...headers, "content-length": longer.length };
    assert.equal((await plain("PUT", url, wrongLength, longer)).status, 403);
    const wrongType = { ...headers, "content-type": "text/html" };
    assert.equal((await plain("PUT", url, wrongType, body)).status, 403);
    assert.deepEqual(await list("media/"), []);
  },

  async "signed-upload-from-a-browser"() {
    const body = randomBytes(1000);
    const url = await signedUpload("media/project/browser.png", "image/png", body);
    const origin = "http://localhost:3000";
    const asked = "content-type,x-amz-checksum-sha256";
    const preflight = await plain("OPTIONS", url, {
      origin,
      "access-control-request-method": "PUT",
      "access-control-request-headers": asked,
    });
    assert.ok([200, 204].includes(preflight.status), String(preflight.status));
    const allowed = (name) => preflight.headers[name].toLowerCase().split(/\s*,\s*/);
    assert.ok(["*", origin].includes(preflight.headers["access-control-allow-origin"]));
    assert.ok(allowed("access-control-allow-methods").includes("put"));
    for (const name of asked.split(",")) {
      assert.ok(allowed("access-control-allow-headers").includes(name), name);
    }
    const answer = await plain(
      "PUT",
      url,
      {
        origin,
        "content-type": "image/png",
        "content-length": body.length,
        "x-amz-checksum-sha256": createHash("sha256").update(body).digest("base64"),
      },
      body,
    );
    assert.equal(answer.status, 200);
    assert.ok(["*", origin].includes(answer.headers["access-control-allow-origin"]));
    assert.ok((await read("media/project/browser.png")).equals(body));
  },
};

const name = process.argv[2];
if (name === "--list") {
  console.log(Object.keys(scenarios).join("\n"));
} else {
  assert.ok(name in scenarios, `no scenario ${name}`);
  await scenarios[name]();
}
