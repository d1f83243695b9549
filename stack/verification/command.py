"""`oversight verify`: makes the proof and prints a table of its steps."""

from __future__ import annotations

from stack.nearest import nearest_endpoint
from stack.output import FAILED, WRONG, fail, show
from stack.progress import steps
from stack.s3.client import S3
from stack.s3.signing import Credentials
from stack.settings import Stack, environment
from stack.verification.langfuse import Langfuse
from stack.verification.proof import Proof, Step, api_keys, base_url, prove, steps_of
from storage.settings import SettingsError

_MARKS = {"passed": "ok", "failed": "FAILED", "left out": "left out"}


def run(wait: float, as_json: bool) -> int:
    """Verify and print; the exit code. Raises CommandError."""
    environ = environment()
    try:
        stack = Stack.of(environ)
    except SettingsError as error:
        fail(error.problems, WRONG)
    langfuse = Langfuse(base_url(environ, stack), *api_keys(environ, stack))
    credentials = Credentials(stack.event_access_key, stack.event_secret_key)
    s3 = S3(nearest_endpoint(stack), credentials, stack.event_region)
    proof = Proof(langfuse, s3, stack, environ, wait)
    todo = steps_of(proof, datahub=bool(environ.get("DATAHUB_GMS_URL")))
    with steps("Verifying", len(todo), hidden=as_json) as tell:
        done = list(prove(todo, tell))
    passed = all(step.verdict == "passed" for step in done)
    _report(done, proof, passed, as_json)
    return 0 if passed else FAILED


def _report(done: list[Step], proof: Proof, passed: bool, as_json: bool) -> None:
    if as_json:
        rows = [step.__dict__ for step in done]
        show({"passed": passed, "trace": proof.trace, "steps": rows}, as_json=True)
        return
    table = [
        {
            "mark": _MARKS[step.verdict],
            "name": step.name,
            "time": f"{step.seconds:.2f} s" if step.verdict != "left out" else "",
            "detail": step.detail,
        }
        for step in done
    ]
    columns = (("", "mark"), ("STEP", "name"), ("TIME", "time"), ("", "detail"))
    show(table, False, columns)
    total = sum(step.seconds for step in done)
    if passed:
        print(f"It works: {len(done)} steps in {total:.1f} s. The trace {proof.name} stays.")
