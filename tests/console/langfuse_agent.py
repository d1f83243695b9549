"""An agent traced with Langfuse's own SDK: what a trace of such a program looks like in the store.

Configured by the SDK's variables, LANGFUSE_BASE_URL and the two keys. Prints the trace's id.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from langfuse import get_client, propagate_attributes
from langfuse.media import LangfuseMedia

QUESTION = "Our second drive is filling up. When is it full, and what should we do?"
ANSWER = (
    "**Drive 2 is full in about 19 days** (it grows by 4.1 GiB a day).\n\n"
    "1. Let raw events expire after 90 days: that frees 61 %.\n"
    "2. Move exports older than a week to the archive bucket.\n\n"
    "Shall I write the lifecycle rule for you?"
)
SYSTEM = "You help operators of an object store. Use the tools; answer briefly and with figures."
FORECAST = '{"drive": 2, "days_left": 19.2, "growth_gib_per_day": 4.1}'
TOOLS = [
    {"type": "function", "function": {"name": "capacity_forecast", "parameters": {"drive": "int"}}}
]


def main(picture: Path) -> None:
    langfuse = get_client()
    image = LangfuseMedia(content_bytes=picture.read_bytes(), content_type="image/png")
    with (
        langfuse.start_as_current_observation(
            name="support-agent", as_type="agent", input=QUESTION
        ) as agent,
        propagate_attributes(
            user_id="ada@example.com", session_id="shift-42", tags=["storage", "beta"],
            metadata={"team": "platform"}, version="2026.11", trace_name="Capacity question",
        ),
    ):  # fmt: skip
        with langfuse.start_as_current_observation(
            name="search-handbook", as_type="retriever", input={"query": "drive full"}
        ) as retriever:
            _embed(langfuse)
            time.sleep(0.03)
            retriever.update(
                output=[{"document": "capacity.md", "score": 0.83}, {"document": "lifecycle.md"}]
            )
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": [{"type": "text", "text": QUESTION}, image]},
        ]
        _plan(langfuse, messages)
        _failed_tool(langfuse)
        with langfuse.start_as_current_observation(
            name="capacity_forecast", as_type="tool", input={"drive": 2}
        ) as tool:
            time.sleep(0.04)
            tool.update(output={"drive": 2, "days_left": 19.2, "growth_gib_per_day": 4.1})
        _answer(langfuse, messages)
        langfuse.create_event(name="shown-to-user", input={"channel": "web"})
        agent.update(output=ANSWER)
        agent.score_trace(name="helpful", value=0.9, comment="Figures and a next step.")
        agent.score(name="grounded", value="yes", data_type="CATEGORICAL")
        print(agent.trace_id)
    langfuse.flush()
    langfuse.shutdown()


def _embed(langfuse: Any) -> None:
    with langfuse.start_as_current_observation(
        name="embed-query", as_type="embedding", model="text-embedding-3-small", input="drive full",
        usage_details={"input": 2}, cost_details={"total": 0.00000004},
    ):  # fmt: skip
        time.sleep(0.01)


def _plan(langfuse: Any, messages: list[dict[str, Any]]) -> None:
    with langfuse.start_as_current_observation(
        name="plan", as_type="generation", model="gpt-5-mini",
        model_parameters={"temperature": 0.2, "max_tokens": 800}, input={
            "messages": messages, "tools": TOOLS
        },
    ) as plan:  # fmt: skip
        time.sleep(0.05)
        plan.update(
            completion_start_time=datetime.now(UTC),
            output={
                "role": "assistant", "content": None, "tool_calls": [{
                    "id": "call_1", "type": "function",
                    "function": {"name": "capacity_forecast", "arguments": '{"drive": 2}'},
                }],
            },
            usage_details={"input": 412, "output": 38, "cache_read_input_tokens": 256},
            cost_details={"input": 0.000103, "output": 0.000076, "total": 0.000179},
        )  # fmt: skip


def _failed_tool(langfuse: Any) -> None:
    with langfuse.start_as_current_observation(
        name="inventory", as_type="tool", input={"bucket": "langfuse"}, level="ERROR",
        status_message="TimeoutError: the inventory did not answer within 2 s",
    ):  # fmt: skip
        time.sleep(0.02)


def _answer(langfuse: Any, messages: list[dict[str, Any]]) -> None:
    call = {"name": "capacity_forecast", "arguments": '{"drive": 2}'}
    with langfuse.start_as_current_observation(
        name="answer", as_type="generation", model="gpt-5-mini", metadata={"attempt": 1},
        input=[
            *messages,
            {"role": "assistant", "tool_calls": [{"id": "call_1", "function": call}]},
            {"role": "tool", "tool_call_id": "call_1", "content": FORECAST},
        ],
    ) as answer:  # fmt: skip
        time.sleep(0.09)
        answer.update(
            output={"role": "assistant", "content": ANSWER},
            usage_details={"input": 498, "output": 96},
            cost_details={"input": 0.000125, "output": 0.000192, "total": 0.000317},
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
