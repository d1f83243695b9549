// One client per call: `node forms.mjs NAME`, with S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY and
// S3_BUCKET in the environment. Each signs a form's policy as an application's server does, and
// sends the form as its page does. What returns has passed; anything else throws.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";

import { GetObjectCommand, HeadObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { createPresignedPost } from "@aws-sdk/s3-presigned-post";
import { Client } from "minio";

const { S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY, S3_BUCKET: Bucket } = process.env;
const s3 = new S3Client({
  endpoint: S3_ENDPOINT,
  region: "us-east-1",
  forcePathStyle: true,
  credentials: { accessKeyId: S3_ACCESS_KEY, secretAccessKey: S3_SECRET_KEY },
});

async function send(url, fields, content, name = "photo.png") {
  const form = new FormData();
  for (const [field, value] of Object.entries(fields)) form.append(field, value);
  form.append("file", new File([content], name, { type: "image/png" }));
  const answer = await fetch(url, { method: "POST", body: form, redirect: "manual" });
  return { status: answer.status, text: await answer.text(), headers: answer.headers };
}

async function stored(Key) {
  const answer = await s3.send(new GetObjectCommand({ Bucket, Key }));
  return Buffer.from(await answer.Body.transformToByteArray());
}

const clients = {
  async "aws-sdk"() {
    const { url, fields } = await createPresignedPost(s3, {
      Bucket,
      Key: "aws/${filename}",
      Conditions: [
        ["content-length-range", 1, 2 ** 20],
        ["starts-with", "$Content-Type", "image/"],
      ],
      Fields: { success_action_status: "201", "x-amz-meta-by": "page" },
      Expires: 60,
    });
    const content = randomBytes(300_000);
    const done = await send(url, { ...fields, "Content-Type": "image/png" }, content);
    assert.equal(done.status, 201, done.text);
    assert.match(done.text, /<PostResponse><Location>/);
    assert.deepEqual(await stored("aws/photo.png"), content);
    const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "aws/photo.png" }));
    assert.deepEqual([head.ContentType, head.Metadata], ["image/png", { by: "page" }]);

    const large = await send(url, { ...fields, "Content-Type": "image/png" }, randomBytes(2 ** 21));
    assert.deepEqual([large.status, large.text.includes("EntityTooLarge")], [400, true]);
    const other = await send(url, { ...fields, "Content-Type": "text/html" }, content);
    assert.deepEqual([other.status, other.text.includes("Policy Condition failed")], [403, true]);
  },

  async minio() {
    const { hostname, port } = new URL(S3_ENDPOINT);
    const client = new Client({
      endPoint: hostname,
      port: Number(port),
      useSSL: false,
      accessKey: S3_ACCESS_KEY,
      secretKey: S3_SECRET_KEY,
      region: "us-east-1",
    });
    const policy = client.newPostPolicy();
    policy.setBucket(Bucket);
    policy.setKeyStartsWith("minio/");
    policy.setExpires(new Date(Date.now() + 60_000));
    policy.setContentType("image/png");
    policy.setContentLengthRange(1, 2 ** 20);
    policy.setUserMetaData({ by: "page" });
    const { postURL, formData } = await client.presignedPostPolicy(policy);
    const content = randomBytes(1000);
    const done = await send(postURL, { ...formData, key: "minio/a b.png" }, content);
    assert.equal(done.status, 204, done.text);
    assert.deepEqual(await stored("minio/a b.png"), content);
    const other = await send(postURL, { ...formData, key: "elsewhere/x" }, content);
    assert.equal(other.status, 403, other.text);
  },
};

const [name] = process.argv.slice(2);
if (name === "--list") console.log(Object.keys(clients).join("\n"));
else await clients[name]();
