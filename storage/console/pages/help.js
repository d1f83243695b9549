// Settings to copy for clients, with the signed-in key's name and this store's addresses.
import { state } from "./api.js";
import { fill, h } from "./dom.js";
import { T } from "./texts.js";
import { card, copyable, head, note } from "./ui.js";

export async function render(page) {
  const key = state.session.me.access_key;
  const endpoint = state.session.s3;
  const api = new URL("..", location.href.split("#")[0]).href.replace(/\/$/, "");
  const secret = T.help.secret;
  const region = state.session.region;
  const langfuse = ["EVENT", "MEDIA"]
    .map((kind) =>
      [
        `LANGFUSE_S3_${kind}_UPLOAD_BUCKET=langfuse`,
        `LANGFUSE_S3_${kind}_UPLOAD_PREFIX=${kind === "EVENT" ? "events" : "media"}/`,
        `LANGFUSE_S3_${kind}_UPLOAD_ENDPOINT=${endpoint}`,
        `LANGFUSE_S3_${kind}_UPLOAD_REGION=auto`,
        `LANGFUSE_S3_${kind}_UPLOAD_ACCESS_KEY_ID=${key}`,
        `LANGFUSE_S3_${kind}_UPLOAD_SECRET_ACCESS_KEY=${secret}`,
        `LANGFUSE_S3_${kind}_UPLOAD_FORCE_PATH_STYLE=true`,
      ].join("\n"),
    )
    .join("\n");
  const clients = {
    boto3: `import boto3\nfrom botocore.config import Config\n\ns3 = boto3.client(\n    "s3",\n    endpoint_url="${endpoint}",\n    aws_access_key_id="${key}",\n    aws_secret_access_key="${secret}",\n    region_name="${region}",\n    config=Config(signature_version="s3v4"),\n)\ns3.upload_file("README.md", "langfuse", "README.md")`,
    mc: `mc alias set oversight ${endpoint} ${key} ${secret}\nmc ls oversight/`,
    aws: `export AWS_ENDPOINT_URL=${endpoint}\nexport AWS_ACCESS_KEY_ID=${key}\nexport AWS_SECRET_ACCESS_KEY=${secret}\nexport AWS_DEFAULT_REGION=${region}\naws s3 ls`,
    js: `import { S3Client, ListBucketsCommand } from "@aws-sdk/client-s3";\n\nconst s3 = new S3Client({\n  endpoint: "${endpoint}",\n  region: "${region}",\n  forcePathStyle: true,\n  credentials: { accessKeyId: "${key}", secretAccessKey: "${secret}" },\n});\nconsole.log(await s3.send(new ListBucketsCommand({})));`,
    langfuse,
    datahub: `DATAHUB_OBJECT_STORAGE_URI=s3://datahub/documents\nAWS_ENDPOINT_URL=${endpoint}\nAWS_ACCESS_KEY_ID=${key}\nAWS_SECRET_ACCESS_KEY=${secret}\nAWS_REGION=${region}`,
    curl: `TOKEN=$(curl -s ${api}/api/v1/login -H 'Content-Type: application/json' \\\n  -d '{"access_key": "${key}", "secret_key": "${secret}"}' \\\n  | python3 -c 'import json,sys; print(json.load(sys.stdin)["token"])')\ncurl -T picture.png -H "Authorization: Bearer $TOKEN" \\\n  ${api}/api/v1/buckets/langfuse/objects/media/picture.png\ncurl -OJ -H "Authorization: Bearer $TOKEN" \\\n  ${api}/api/v1/buckets/langfuse/objects/media/picture.png`,
  };
  fill(
    page,
    head(T.nav.help, [], T.help.lead),
    state.session.configured ? null : note(T.help.host(new URL(endpoint).host), "", "info"),
    h(
      "div",
      { class: "columns" },
      Object.entries(clients).map(([name, text]) => card(T.help.clients[name], copyable(text))),
      card(T.help.api, [
        h("p", {}, T.help.apiLead),
        h(
          "div",
          { class: "row" },
          h("a", { href: "../docs" }, T.help.docs),
          h("a", { href: "../openapi.json" }, "openapi.json"),
        ),
      ]),
    ),
  );
}
