"""`oversight datahub`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stack.output import WRONG, AsJson, fail, show, warn
from stack.store import environ

if TYPE_CHECKING:
    from stack.integrations.datahub.description import Wishes
    from stack.integrations.datahub.objects import Address
    from stack.integrations.datahub.sinks import Sink
    from stack.integrations.datahub.sync import Report

datahub = typer.Typer(help="Objects as entities of DataHub.", no_args_is_help=True)

_KINDS = ("dataset", "model", "document", "media")
_PROBLEMS_SHOWN = 20

As = Annotated[
    str,
    typer.Option(
        "--as",
        metavar="KIND",
        help=f"One of {', '.join(_KINDS)}; by name and content type if not given.",
    ),
]
Owner = Annotated[
    list[str], typer.Option(metavar="OWNER", help="Owner: NAME, group:NAME or URN; repeatable.")
]
Property = Annotated[
    list[str],
    typer.Option("--property", metavar="NAME=VALUE", help="Custom property; repeatable."),
]
Upstream = Annotated[
    list[str],
    typer.Option(
        metavar="URL|URN", help="What it was made of: s3://... or a dataset's URN; repeatable."
    ),
]
Link = Annotated[
    str, typer.Option(metavar="TEMPLATE", help="External URL with {bucket} and {key}.")
]
Project = Annotated[
    str,
    typer.Option(
        "--langfuse-project",
        metavar="ID",
        help="Project of Langfuse; read from Langfuse's keys if not given.",
    ),
]
Env = Annotated[
    str, typer.Option(metavar="ENV", help="DataHub's environment.", envvar="DATAHUB_ENV")
]
Instance = Annotated[str, typer.Option(metavar="NAME", help="DataHub's platform instance.")]
Endpoint = Annotated[
    str, typer.Option(metavar="URL", help="The store; AWS_ENDPOINT_URL if not given.")
]
Gms = Annotated[str, typer.Option(metavar="URL", help="DataHub; DATAHUB_GMS_URL if not given.")]
ToFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write a metadata file instead of calling DataHub."),
]


@datahub.command()
def register(
    urls: Annotated[list[str], typer.Argument(metavar="S3://BUCKET/KEY...")],
    kind: As = "",
    name: Annotated[
        str, typer.Option(metavar="TEXT", help="Name to show instead of the file's.")
    ] = "",
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is.")] = "",
    owner: Owner = [],  # noqa: B006 - typer copies it
    properties: Property = [],  # noqa: B006
    upstream: Upstream = [],  # noqa: B006
    link: Link = "",
    version_id: Annotated[
        str, typer.Option(metavar="ID", help="Describe this version of the object.")
    ] = "",
    project: Project = "",
    env: Env = "PROD",
    instance: Instance = "",
    endpoint: Endpoint = "",
    gms: Gms = "",
    to_file: ToFile = None,
    as_json: AsJson = False,
) -> None:
    """Describe objects to DataHub: facts, schema, owner, lineage, containers.

    Repeating it changes nothing. A URL that ends in a slash describes a bucket or folder alone.
    """
    from stack.integrations.datahub import sdk

    sdk.require()
    from stack.integrations.datahub.description import Describer
    from stack.integrations.datahub.names import Naming
    from stack.integrations.datahub.objects import Address, Objects
    from stack.integrations.datahub.registration import register as registering

    addresses = [Address.parse(url) for url in urls]
    wishes = _wishes(kind, owner, properties, upstream, link, project, name, description)
    objects = Objects.from_environment(endpoint)
    describer = Describer(objects, Naming(env, instance), wishes)
    with _sink(gms, to_file) as sink:
        registered = registering(objects, describer, sink, addresses, version_id)
    for each in registered:
        if each.problem:
            warn(each.problem)
    rows = [asdict(each) for each in registered]
    show(rows, as_json, (("OBJECT", "url"), ("KIND", "kind"), ("URN", "urn")))


@datahub.command()
def sync(
    url: Annotated[str, typer.Argument(metavar="S3://BUCKET/PREFIX")],
    kind: As = "",
    owner: Owner = [],  # noqa: B006 - typer copies it
    properties: Property = [],  # noqa: B006
    upstream: Upstream = [],  # noqa: B006
    link: Link = "",
    project: Project = "",
    env: Env = "PROD",
    instance: Instance = "",
    endpoint: Endpoint = "",
    gms: Gms = "",
    to_file: ToFile = None,
    journal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where it is kept what DataHub was told."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Describe all objects of a prefix to DataHub, and soft-delete there what was deleted here.

    Only what changed since the last run is sent; a run that was interrupted goes on where it
    stopped. A metadata file (--to-file) holds everything, unless --journal is given, too.
    """
    from stack.integrations.datahub import sdk

    sdk.require()
    from stack.integrations.datahub.description import Describer
    from stack.integrations.datahub.journal import Journal, default_path
    from stack.integrations.datahub.names import Naming
    from stack.integrations.datahub.objects import Address, Objects
    from stack.integrations.datahub.sync import Sync

    prefix = Address.parse(url)
    naming = Naming(env, instance)
    wishes = _wishes(kind, owner, properties, upstream, link, project)
    objects = Objects.from_environment(endpoint)
    describer = Describer(objects, naming, wishes)
    with _sink(gms, to_file) as sink, _progress(prefix) as watch:
        if journal is None and to_file is None:
            journal = default_path(sink.name, objects.endpoint, prefix.url, env, instance)
        book = Journal(journal)
        report = Sync(objects, describer, sink, book, watch).run(prefix)
    book.commit()
    book.close()
    _tell(report, as_json)


def _wishes(
    kind: str,
    owners: list[str],
    properties: list[str],
    upstreams: list[str],
    link: str,
    project: str,
    name: str = "",
    description: str = "",
) -> Wishes:
    """Leaves with a sentence if one can't be understood."""
    from stack.integrations.datahub.description import Wishes
    from stack.integrations.datahub.kinds import Kind

    if kind and kind not in _KINDS:
        fail(f"--as is one of {', '.join(_KINDS)}, not {kind}.", WRONG)
    pairs = [each.partition("=") for each in properties]
    for given, (named, separator, _) in zip(properties, pairs, strict=True):
        if not named or not separator:
            fail(f"--property is NAME=VALUE, not {given}.", WRONG)
    variables = environ()
    return Wishes(
        kind=Kind(kind) if kind else None,
        name=name,
        description=description,
        owners=tuple(owners),
        properties={named: value for named, _, value in pairs},
        upstreams=tuple(upstreams),
        link=link,
        project=project,
        langfuse_bucket=variables.get("OVERSIGHT_LANGFUSE_BUCKET") or "langfuse",
        langfuse_url=variables.get("LANGFUSE_BASE_URL") or variables.get("NEXTAUTH_URL") or "",
    )


@contextmanager
def _sink(gms: str, to_file: Path | None) -> Iterator[Sink]:
    """The destination; it is finished when the block ends well, and undone when it does not."""
    from stack.integrations.datahub.sinks import FileSink, RestSink

    sink: Sink = (
        FileSink(to_file) if to_file is not None else RestSink.from_environment(gms, environ())
    )
    try:
        yield sink
        sink.close()
    except BaseException:
        sink.abandon()
        raise


@contextmanager
def _progress(prefix: Address) -> Iterator[Any]:
    """Draw a bar on a terminal; elsewhere, nothing."""
    if not sys.stderr.isatty():
        yield lambda report: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(prefix.url, total=None)

        def watch(report: Report) -> None:
            done = report.described + report.unchanged + report.left_out
            progress.update(task, completed=done, total=max(report.seen, done))

        yield watch


def _tell(report: Report, as_json: bool) -> None:
    for problem in report.problems[:_PROBLEMS_SHOWN]:
        warn(problem)
    more = len(report.problems) - _PROBLEMS_SHOWN
    if more > 0:
        warn(f"... and {more} more; --json lists all.")
    facts = asdict(report)
    if not as_json:
        del facts["problems"]
    show(facts, as_json)
