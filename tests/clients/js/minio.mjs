// One scenario per call: `node minio.mjs NAME`, with S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY and
// S3_BUCKET in the environment. MinIO's client with its defaults. A scenario that returns has passed.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";

import * as Minio from "minio";

const { S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY, S3_BUCKET: bucket } = process.env;
const MIB = 1024 * 1024;
const ODD = [
  "with space",
  "plus+sign",
  "per%cent",
  "per%2Fcent",
  "é/日本",
  "quo'te\"",
  "a&b=c",
  "q?u#e",
  "tilde~(paren)!*$,;:@",
  "[brackets]{braces}",
  "back\\slash",
];

const address = new URL(S3_ENDPOINT ?? "http://unset");
const client = new Minio.Client({
  endPoint: address.hostname,
  port: Number(address.port),
  useSSL: false,
  accessKey: S3_ACCESS_KEY,
  secretKey: S3_SECRET_KEY,
  partSize: 5 * MIB,
});

async function read(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

const get = async (key, options) => read(await client.getObject(bucket, key, options));

async function list(...options) {
  const found = [];
  for await (const entry of client.listObjectsV2(bucket, ...options)) found.push(entry);
  return found;
}

const scenarios = {
  async "objects-go-round"() {
    const body = randomBytes(100_000);
    await client.putObject(bucket, "a/b", body, body.length, {
      "Content-Type": "image/png",
      who: "me",
    });
    const found = await client.statObject(bucket, "a/b");
    assert.deepEqual([found.size, found.metaData["content-type"]], [body.length, "image/png"]);
    assert.equal(found.metaData.who, "me");
    assert.deepEqual(await get("a/b"), body);
    const part = await read(await client.getPartialObject(bucket, "a/b", 10, 20));
    assert.deepEqual(part, body.subarray(10, 30));
  },

  async "files-and-streams-by-parts"() {
    const folder = await mkdtemp(path.join(tmpdir(), "minio-"));
    const body = randomBytes(13 * MIB);
    await writeFile(path.join(folder, "up"), body);
    await client.fPutObject(bucket, "file", path.join(folder, "up"));
    await client.fGetObject(bucket, "file", path.join(folder, "down"));
    assert.deepEqual(await readFile(path.join(folder, "down")), body);
    await client.putObject(
      bucket,
      "stream",
      Readable.from([body.subarray(0, MIB), body.subarray(MIB)]),
    );
    assert.deepEqual(await get("stream"), body);
    assert.match((await client.statObject(bucket, "stream")).etag, /-\d+$/);
    await rm(folder, { recursive: true });
  },

  async "odd-names"() {
    for (const key of ODD) {
      await client.putObject(bucket, key, key);
      assert.equal(String(await get(key)), key);
    }
    assert.deepEqual((await list("", true)).map((entry) => entry.name).sort(), [...ODD].sort());
    await client.removeObjects(bucket, ODD);
    assert.deepEqual(await list("", true), []);
  },

  async "lists-and-copies"() {
    for (const key of ["top", "dir/a", "dir/b"]) await client.putObject(bucket, key, key);
    assert.deepEqual(
      (await list("")).map((entry) => entry.name ?? entry.prefix),
      ["top", "dir/"],
    );
    assert.deepEqual(
      (await list("dir/", true, "dir/a")).map((entry) => entry.name),
      ["dir/b"],
    );
    await client.copyObject(bucket, "copy", `/${bucket}/top`);
    assert.equal(String(await get("copy")), "top");
    const { etag } = await client.statObject(bucket, "top");
    const conditions = new Minio.CopyConditions();
    conditions.setMatchETagExcept(etag);
    await assert.rejects(client.copyObject(bucket, "no", `/${bucket}/top`, conditions), {
      code: "PreconditionFailed",
    });
    await client.removeObject(bucket, "top");
    await assert.rejects(client.statObject(bucket, "top"), { code: "NotFound" });
  },

  async composes() {
    await client.putObject(bucket, "one", randomBytes(5 * MIB));
    await client.putObject(bucket, "two", "and more");
    const sources = ["one", "two"].map(
      (Object) => new Minio.CopySourceOptions({ Bucket: bucket, Object }),
    );
    await client.composeObject(
      new Minio.CopyDestinationOptions({ Bucket: bucket, Object: "both" }),
      sources,
    );
    assert.equal((await client.statObject(bucket, "both")).size, 5 * MIB + 8);
  },

  async "presigned-urls-and-a-form"() {
    const put = await client.presignedPutObject(bucket, "by url+", 60);
    assert.equal((await fetch(put, { method: "PUT", body: "by url" })).status, 200);
    const url = await client.presignedGetObject(bucket, "by url+", 60, {
      "response-content-type": "a/b",
    });
    const answer = await fetch(url);
    assert.deepEqual([answer.headers.get("content-type"), await answer.text()], ["a/b", "by url"]);
    const policy = client.newPostPolicy();
    policy.setBucket(bucket);
    policy.setKeyStartsWith("forms/");
    policy.setContentLengthRange(1, 100);
    policy.setExpires(new Date(Date.now() + 60_000));
    const { postURL, formData } = await client.presignedPostPolicy(policy);
    const form = new FormData();
    for (const [name, value] of Object.entries({ ...formData, key: "forms/a" }))
      form.set(name, value);
    form.set("file", new Blob(["by form"]), "a.txt");
    assert.equal((await fetch(postURL, { method: "POST", body: form })).status, 204);
    assert.equal(String(await get("forms/a")), "by form");
  },

  async "versions-and-tags"() {
    await client.setBucketVersioning(bucket, { Status: "Enabled" });
    const first = await client.putObject(bucket, "k", "first");
    await client.putObject(bucket, "k", "second");
    assert.equal(String(await get("k", { versionId: first.versionId })), "first");
    await client.setObjectTagging(bucket, "k", { a: "b" });
    assert.deepEqual(await client.getObjectTagging(bucket, "k"), [{ Key: "a", Value: "b" }]);
    await client.removeObject(bucket, "k");
    const rows = [];
    for await (const row of client.listObjects(bucket, "", true, { IncludeVersion: true }))
      rows.push(row);
    assert.equal(rows.length, 3);
    assert.equal(rows.filter((row) => row.isDeleteMarker).length, 1);
    await client.setBucketTagging(bucket, { team: "x" });
    assert.deepEqual(await client.getBucketTagging(bucket), [{ Key: "team", Value: "x" }]);
  },

  async "bucket-policy-and-lifecycle"() {
    const statement = {
      Effect: "Allow",
      Principal: "*",
      Action: ["s3:GetObject"],
      Resource: [`arn:aws:s3:::${bucket}/public/*`],
    };
    await client.putObject(bucket, "public/a", "for all");
    await client.setBucketPolicy(
      bucket,
      JSON.stringify({ Version: "2012-10-17", Statement: [statement] }),
    );
    assert.equal(JSON.parse(await client.getBucketPolicy(bucket)).Statement.length, 1);
    assert.equal(await (await fetch(`${S3_ENDPOINT}/${bucket}/public/a`)).text(), "for all");
    await client.setBucketPolicy(bucket, "");
    assert.equal((await fetch(`${S3_ENDPOINT}/${bucket}/public/a`)).status, 403);
    const rule = {
      ID: "old",
      Status: "Enabled",
      Filter: { Prefix: "old/" },
      Expiration: { Days: 7 },
    };
    await client.setBucketLifecycle(bucket, { Rule: [rule] });
    assert.equal((await client.getBucketLifecycle(bucket)).Rule.ID, "old");
    await client.removeBucketLifecycle(bucket);
  },

  async "buckets-and-unfinished-uploads"() {
    const other = `${bucket}-other`;
    await client.makeBucket(other);
    assert.ok(await client.bucketExists(other));
    assert.ok((await client.listBuckets()).some((entry) => entry.name === other));
    await client.initiateNewMultipartUpload(other, "unfinished", {});
    const uploads = [];
    for await (const upload of client.listIncompleteUploads(other, "", true))
      uploads.push(upload.key);
    assert.deepEqual(uploads, ["unfinished"]);
    await client.removeIncompleteUpload(other, "unfinished");
    await client.removeBucket(other);
    assert.ok(!(await client.bucketExists(other)));
  },
};

const [name] = process.argv.slice(2);
if (name === "--list") console.log(Object.keys(scenarios).join("\n"));
else await scenarios[name]();
