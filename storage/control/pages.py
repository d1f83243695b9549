"""The pages of the console port: plain HTML, no script, nothing from elsewhere."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

import storage

router = APIRouter(include_in_schema=False)

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 3rem auto; padding: 0 1rem;
       color: #1c2330; background: #fdfdfc; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
code, pre { font: 14px/1.5 ui-monospace, monospace; background: #f0f1ee; border-radius: 4px; }
code { padding: 0 .25em; } pre { padding: .75rem 1rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } td { padding: .3rem .75rem .3rem 0;
        vertical-align: top; border-top: 1px solid #e2e4df; }
a { color: #0b5cad; }
@media (prefers-color-scheme: dark) {
  body { color: #e4e7ec; background: #14171c; } code, pre { background: #22262d; }
  td { border-color: #2d323a; } a { color: #7db7f5; } }
"""
_STYLE_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@router.get("/")
async def start(request: Request) -> HTMLResponse:
    """What is here."""
    base = escape(request.scope.get("root_path", ""))
    here = escape(str(request.base_url).rstrip("/"))
    return _page(
        "Oversight",
        f"""
<p>Version {escape(storage.__version__)}. This is the console port of an Oversight object store:
it carries the control API. S3 is served on a port of its own.</p>
<ul>
<li><a href="{base}/docs">What the control API answers</a></li>
<li><a href="{base}/openapi.json">The same as OpenAPI, for programs</a></li>
<li><a href="{base}/api/v1/health">Health</a></li>
</ul>
<h2>Without an S3 SDK</h2>
<pre>TOKEN=$(curl -s {here}/api/v1/login -H 'Content-Type: application/json' \\
  -d '{{"access_key": "...", "secret_key": "..."}}' | python3 -c 'import json,sys; \
print(json.load(sys.stdin)["token"])')
curl -T picture.png -H "Authorization: Bearer $TOKEN" \\
  {here}/api/v1/buckets/langfuse/objects/media/picture.png
curl -OJ -H "Authorization: Bearer $TOKEN" \\
  {here}/api/v1/buckets/langfuse/objects/media/picture.png</pre>
<p>On the command line, <code>oversight --help</code> speaks to the same API.</p>
""",
    )


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The control API as a page, made from its OpenAPI description."""
    schema: dict[str, Any] = request.app.openapi()
    groups: dict[str, list[str]] = {}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            rows = groups.setdefault(operation.get("tags", ["other"])[0], [])
            rows.append(
                f"<tr><td><code>{method.upper()}</code></td><td><code>{escape(path)}</code></td>"
                f"<td><b>{escape(operation.get('summary', ''))}</b><br>"
                f"{escape(operation.get('description', ''))}</td></tr>"
            )
    tables = "".join(
        f"<h2>{escape(tag.capitalize())}</h2><table>{''.join(rows)}</table>"
        for tag, rows in groups.items()
    )
    base = escape(request.scope.get("root_path", ""))
    return _page(
        "Control API",
        "<p>Sign in with <code>POST /api/v1/login</code>, then send the token as "
        "<code>Authorization: Bearer TOKEN</code>. Errors are "
        "<code>application/problem+json</code> with one sentence in <code>detail</code>. The "
        f'fields are in <a href="{base}/openapi.json">openapi.json</a>.</p>' + tables,
    )


def _page(title: str, body: str) -> HTMLResponse:
    html = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><h1>{title}</h1>{body}</html>"
    )
    return HTMLResponse(html, headers={"Content-Security-Policy": _POLICY})
