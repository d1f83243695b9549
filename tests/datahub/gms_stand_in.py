"""A small stand-in for DataHub's metadata service (GMS): its REST calls for metadata, no more.

It takes a proposal only if DataHub's own schema classes do: the aspect must exist, belong to the
entity's type, and validate. What it accepted it keeps as GMS would, patches applied. It is not
DataHub: no search, no user interface, no lineage graph.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from datahub.emitter.serialization_helper import post_json_transform
from datahub.metadata import schema_classes as models
from datahub.metadata.schema_classes import ASPECT_NAME_MAP, KEY_ASPECTS
from datahub.utilities.urns.urn import Urn

from tests.http_server import HttpServer

URN_BYTES_MAX = 512
#: Lists that proposals may patch, and the class of what they hold.
_PATCHED = {
    ("ownership", "owners"): models.OwnerClass,
    ("upstreamLineage", "upstreams"): models.UpstreamClass,
}
#: Single fields that proposals may patch.
_SET = {("datasetProperties", "lastModified")}
_CONFIG = {
    "noCode": "true",
    "statefulIngestionCapable": True,
    "datahub": {"serverType": "quickstart"},
    "versions": {"acryldata/datahub": {"version": "v1.4.0", "commit": "0" * 40}},
}


class Refused(Exception):
    """Why a proposal is none, as an answer of GMS would say it."""


@dataclass
class GmsStandIn(HttpServer):
    """Serve on a free port while the ``with`` block runs.

    ``entities``: aspects by URN, each as a plain object. ``proposals``: what was accepted, in
    order, as (URN, change, aspect's name). ``refused``: answers other than 200. ``token``, if set,
    is asked for. ``fail_after``: how many proposals are accepted before the service breaks.
    """

    token: str = ""
    fail_after: int | None = None
    entities: dict[str, dict[str, Any]] = field(default_factory=dict)
    proposals: list[tuple[str, str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _Handler

    def alive(self, kind: str = "") -> set[str]:
        """URNs that are not soft-deleted, of one type if ``kind`` names it."""
        return {
            urn
            for urn, aspects in self.entities.items()
            if urn.startswith(f"urn:li:{kind}") and aspects.get("status") == {"removed": False}
        }

    def aspect(self, urn: str, name: str) -> Any:
        return self.entities[urn][name]

    def take(self, proposals: list[dict[str, Any]]) -> None:
        """Accept all or none. Raises Refused."""
        understood = [_understood(each) for each in proposals]
        with self._lock:
            accepted = len(self.proposals) + len(understood)
            if self.fail_after is not None and accepted > self.fail_after:
                raise Refused("the database is away")
            for urn, change, name, value in understood:
                aspects = self.entities.setdefault(urn, {})
                if change == "PATCH":
                    _patch(aspects.setdefault(name, {}), name, value)
                elif ASPECT_NAME_MAP[name].get_aspect_type() == "timeseries":
                    aspects.setdefault(name, []).append(value)
                else:
                    aspects[name] = value
                self.proposals.append((urn, change, name))


def _understood(proposal: dict[str, Any]) -> tuple[str, str, str, Any]:
    """(URN, change, aspect's name, value) of a proposal that DataHub's classes accept."""
    mcp = models.MetadataChangeProposalClass.from_obj(post_json_transform(proposal))
    if not mcp.validate():
        raise Refused("no proposal")
    urn, name = mcp.entityUrn or "", mcp.aspectName or ""
    entity_type = Urn.from_string(urn).entity_type
    if len(urn.encode()) > URN_BYTES_MAX:
        raise Refused(f"URN of {len(urn.encode())} bytes")
    if entity_type != mcp.entityType or entity_type not in KEY_ASPECTS:
        raise Refused(f"{urn} is no {mcp.entityType}")
    if name not in KEY_ASPECTS[entity_type].get_aspect_info()["entityAspects"]:
        raise Refused(f"a {entity_type} has no aspect {name}")
    assert mcp.aspect is not None
    value = json.loads(mcp.aspect.value)
    if mcp.changeType == "PATCH":
        return urn, "PATCH", name, _checked_patch(name, value)
    if mcp.changeType != "UPSERT":
        raise Refused(f"a change {mcp.changeType}")
    _check(ASPECT_NAME_MAP[name], value)
    return urn, "UPSERT", name, value


def _check(kind: Any, value: Any) -> None:
    if not kind.from_obj(post_json_transform(value)).validate():
        raise Refused(f"{value} is no {kind.__name__}")


def _checked_patch(name: str, value: Any) -> list[dict[str, Any]]:
    operations: list[dict[str, Any]] = value["patch"] if isinstance(value, dict) else value
    for each in operations:
        head = each["path"].split("/")[1]
        if each["op"] != "add" or not ((name, head) in _PATCHED or (name, head) in _SET):
            raise Refused(f"a patch {each} of {name}")
        if (name, head) in _PATCHED:
            _check(_PATCHED[name, head], each["value"])
    return operations


def _patch(aspect: dict[str, Any], name: str, operations: list[dict[str, Any]]) -> None:
    for each in operations:
        _, head, *key = each["path"].split("/")
        if key:
            aspect.setdefault(head, {})["/".join(key)] = each["value"]
        else:
            aspect[head] = each["value"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if self._gms.token and self.headers.get("Authorization") != f"Bearer {self._gms.token}":
            return self._answer(401, {"message": "Unauthorized to perform this action."})
        if parts.path == "/config":
            return self._answer(200, _CONFIG)
        if parts.path.startswith("/aspects/"):
            urn = unquote(parts.path.removeprefix("/aspects/"))
            name = parse_qs(parts.query).get("aspect", [""])[0]
            value = self._gms.entities.get(urn, {}).get(name)
            if value is None:
                return self._answer(404, {"message": "no such aspect"}, expected=True)
            return self._answer(200, {"aspect": {name: value}, "version": 0})
        return self._answer(404, {"message": f"the stand-in does not know {self.path}"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._gms.token and self.headers.get("Authorization") != f"Bearer {self._gms.token}":
            return self._answer(401, {"message": "Unauthorized to perform this action."})
        action = parse_qs(urlsplit(self.path).query).get("action", [""])[0]
        try:
            if action == "ingestProposalBatch":
                self._gms.take(body["proposals"])
            elif action == "ingestProposal":
                self._gms.take([body["proposal"]])
            elif action == "getTimeseriesAspectValues":
                return self._answer(200, {"value": self._series(body)})
            else:
                return self._answer(404, {"message": f"the stand-in does not know {self.path}"})
        except Refused as error:
            return self._answer(422, {"message": str(error)})
        return self._answer(200, {"value": "success"})

    @property
    def _gms(self) -> GmsStandIn:
        return self.server.owner  # type: ignore[attr-defined, no-any-return]

    def _series(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The latest value of a series, as rest.li wraps it."""
        values = self._gms.entities.get(asked["urn"], {}).get(asked["aspect"], [])
        latest = [{"aspect": {"value": json.dumps(each)}} for each in values[-1:]]
        return {"entityName": asked["entity"], "aspectName": asked["aspect"], "values": latest}

    def _answer(self, status: int, document: Any, *, expected: bool = False) -> None:
        if status != 200 and not expected:
            self._gms.refused.append(f"{status} {self.command} {self.path}: {document}")
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
