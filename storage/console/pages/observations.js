// What stored events say of one trace, as a tree of observations. Pure: no network, no elements.
//
// Two kinds of documents are read: OpenTelemetry's resource spans (an array, or an OTLP request in
// JSON), and events of Langfuse's own ingestion API. Attributes follow Langfuse's SDKs, the GenAI
// conventions of OpenTelemetry, OpenInference, and the AI SDK.

/** How deep a trace may be nested before the rest is shown flat. */
const DEPTH_MAX = 60;

/** A trace without anything in it. */
export const newTrace = () => ({ about: {}, observations: new Map(), scores: [] });

/** Add what a document says of the trace `id`. `source` is remembered with each observation. */
export function read(trace, document, id, source) {
  const documents = Array.isArray(document) ? document : [document];
  for (const each of documents.flatMap(resources)) for (const scope of each.scopeSpans ?? []) for (const span of scope?.spans ?? []) if (span && hex(span.traceId) === hex(id)) readSpan(trace, span, scope.scope, source);
  for (const each of documents.flatMap((found) => found?.batch ?? [found])) if (each && typeof each === "object" && each.body && typeof each.body === "object") readEvent(trace, each, id, source);
}

const resources = (each) => (each?.resourceSpans ?? [each]).filter((found) => Array.isArray(found?.scopeSpans));

// -- OpenTelemetry --------------------------------------------------------------------------------

/** Names of attributes, the most telling first. */
const INPUT = ["langfuse.observation.input", "gen_ai.input.messages", "gen_ai.prompt", "input.value", "ai.prompt.messages", "ai.prompt", "ai.toolCall.args", "gen_ai.tool.call.arguments", "traceloop.entity.input", "mlflow.spanInputs", "tool_arguments", "pydantic-ai.all_messages", "all_messages_events", "input"];
const OUTPUT = ["langfuse.observation.output", "gen_ai.output.messages", "gen_ai.completion", "output.value", "ai.response.text", "ai.response.object", "ai.response.toolCalls", "ai.toolCall.result", "gen_ai.tool.call.result", "traceloop.entity.output", "mlflow.spanOutputs", "tool_response", "final_result", "output"];
const MODEL = ["langfuse.observation.model.name", "gen_ai.response.model", "ai.response.model", "gen_ai.request.model", "ai.model.id", "llm.response.model", "llm.model_name", "model"];
const COUNTED = [
  ["gen_ai.usage.input_tokens", "input"], ["gen_ai.usage.output_tokens", "output"], ["gen_ai.usage.prompt_tokens", "input"], ["gen_ai.usage.completion_tokens", "output"], ["gen_ai.usage.total_tokens", "total"],
  ["llm.token_count.prompt", "input"], ["llm.token_count.completion", "output"], ["llm.token_count.total", "total"], ["ai.usage.promptTokens", "input"], ["ai.usage.completionTokens", "output"], ["ai.usage.inputTokens", "input"], ["ai.usage.outputTokens", "output"],
];
const KINDS = { LLM: "generation", CHAIN: "chain", TOOL: "tool", RETRIEVER: "retriever", EMBEDDING: "embedding", AGENT: "agent", GUARDRAIL: "guardrail", EVALUATOR: "evaluator" };
const OPERATIONS = { chat: "generation", completion: "generation", text_completion: "generation", generate_content: "generation", embeddings: "embedding", execute_tool: "tool", invoke_agent: "agent", create_agent: "agent" };

function readSpan(trace, span, scope, source) {
  const said = Object.fromEntries((span.attributes ?? []).filter((each) => each?.key).map(({ key, value }) => [key, plain(value)]));
  const first = (names) => names.map((name) => said[name]).find((value) => value !== undefined && value !== null && value !== "");
  const exception = (span.events ?? []).find((event) => event?.name === "exception");
  const failed = span.status?.code === 2 || span.status?.code === "STATUS_CODE_ERROR";
  const usage = numbers(parsed(said["langfuse.observation.usage_details"]));
  if (!Object.keys(usage).length) for (const [name, kind] of COUNTED) if (said[name] !== undefined) usage[kind] ??= Number(said[name]);
  const cost = numbers(parsed(said["langfuse.observation.cost_details"]));
  if (!Object.keys(cost).length && said["gen_ai.usage.cost"] !== undefined) cost.total = Number(said["gen_ai.usage.cost"]);
  const metadata = below(said, "langfuse.observation.metadata");
  keep(trace, {
    id: hex(span.spanId),
    parent: hex(span.parentSpanId).replace(/^0+$/, ""),
    name: text(span.name),
    type: kindOf(said),
    start: nanoseconds(span.startTimeUnixNano),
    end: nanoseconds(span.endTimeUnixNano),
    level: text(said["langfuse.observation.level"] ?? (failed ? "ERROR" : "")),
    status: text(said["langfuse.observation.status_message"] ?? span.status?.message ?? exceptionText(exception)),
    input: parsed(first(INPUT)) ?? numbered(said, "gen_ai.prompt") ?? numbered(said, "llm.input_messages"),
    output: parsed(first(OUTPUT)) ?? numbered(said, "gen_ai.completion") ?? numbered(said, "llm.output_messages"),
    model: text(first(MODEL) ?? ""),
    parameters: parsed(first(["langfuse.observation.model.parameters", "llm.invocation_parameters"])) ?? requested(said),
    usage: total(usage),
    cost: total(cost),
    prompt: said["langfuse.observation.prompt.name"] ? `${said["langfuse.observation.prompt.name"]} v${said["langfuse.observation.prompt.version"] ?? "?"}` : "",
    completion: Date.parse(parsed(said["langfuse.observation.completion_start_time"]) ?? "") || 0,
    metadata: Object.keys(metadata).length ? metadata : undefined,
    scope: text(scope?.name ?? ""),
    source,
    raw: span,
  });
  about(trace, {
    name: said["langfuse.trace.name"],
    user: said["langfuse.user.id"] ?? said["user.id"],
    session: said["langfuse.session.id"] ?? said["session.id"],
    environment: said["langfuse.environment"] ?? said["deployment.environment.name"],
    release: said["langfuse.release"],
    version: said["langfuse.version"],
    tags: parsed(said["langfuse.trace.tags"] ?? said["tag.tags"]),
    input: parsed(said["langfuse.trace.input"]),
    output: parsed(said["langfuse.trace.output"]),
    metadata: below(said, "langfuse.trace.metadata"),
  });
}

function kindOf(said) {
  const told = said["langfuse.observation.type"] ?? KINDS[said["openinference.span.kind"]] ?? OPERATIONS[said["gen_ai.operation.name"]];
  if (typeof told === "string") return told.toLowerCase().slice(0, 24);
  if (said["ai.toolCall.name"] ?? said["gen_ai.tool.name"]) return "tool";
  return said["gen_ai.request.model"] || said["llm.model_name"] ? "generation" : "span";
}

const exceptionText = (event) => {
  const said = Object.fromEntries((event?.attributes ?? []).map(({ key, value }) => [key, plain(value)]));
  return [said["exception.type"], said["exception.message"]].filter(Boolean).join(": ");
};

/** What was asked of a model, by the GenAI conventions. */
function requested(said) {
  const found = Object.entries(said).filter(([key]) => key.startsWith("gen_ai.request.") && key !== "gen_ai.request.model").map(([key, value]) => [key.slice(15), value]);
  return found.length ? Object.fromEntries(found) : undefined;
}

/** Attributes `name` (a document) and `name.*`. */
function below(said, name) {
  const whole = parsed(said[name]);
  const found = whole && typeof whole === "object" && !Array.isArray(whole) ? { ...whole } : whole === undefined ? {} : { value: whole };
  for (const [key, value] of Object.entries(said)) if (key.startsWith(`${name}.`)) found[key.slice(name.length + 1)] = parsed(value);
  return found;
}

/** Messages in attributes that have numbers: `prefix.0.role`, `prefix.0.message.content`, ... */
function numbered(said, prefix) {
  const messages = [];
  for (const [key, value] of Object.entries(said)) {
    const match = key.startsWith(`${prefix}.`) && /^(\d{1,4})\.(?:message\.)?(.+)$/.exec(key.slice(prefix.length + 1));
    if (match) (messages[Number(match[1])] ??= {})[match[2]] = value;
  }
  const found = messages.filter(Boolean);
  return found.length ? found : undefined;
}

/** The value of an attribute, as JSON has it. */
export function plain(value) {
  if (value === null || typeof value !== "object") return value;
  if ("stringValue" in value) return value.stringValue;
  if ("boolValue" in value) return value.boolValue;
  if ("intValue" in value) return integer(value.intValue);
  if ("doubleValue" in value) return value.doubleValue;
  if ("arrayValue" in value) return (value.arrayValue?.values ?? []).map(plain);
  if ("kvlistValue" in value) return Object.fromEntries((value.kvlistValue?.values ?? []).map(({ key, value: inner }) => [key, plain(inner)]));
  return value.bytesValue;
}

const integer = (value) => (value && typeof value === "object" ? (value.high ?? 0) * 2 ** 32 + ((value.low ?? 0) >>> 0) : Number(value));

/** Milliseconds of a time in nanoseconds: digits, a number, or the two halves of a Long. */
function nanoseconds(value) {
  if (typeof value === "string" && /^\d{7,24}$/.test(value)) return Number(value.slice(0, -6)) + Number(value.slice(-6)) / 1e6;
  return value ? integer(value) / 1e6 || 0 : 0;
}

/** An id as hexadecimal digits: it comes as such, as base64, or as the bytes of a Node.js Buffer. */
export function hex(id) {
  if (Array.isArray(id?.data ?? id)) return (id.data ?? id).map((byte) => Number(byte).toString(16).padStart(2, "0")).join("");
  if (typeof id !== "string") return "";
  if (/^([0-9a-f]{32}|[0-9a-f]{16})$/i.test(id)) return id.toLowerCase();
  if (/^([A-Za-z0-9+/]{22}==|[A-Za-z0-9+/]{11}=)$/.test(id)) return [...atob(id)].map((c) => c.charCodeAt(0).toString(16).padStart(2, "0")).join("");
  return id;
}

// -- Langfuse's ingestion events ------------------------------------------------------------------

const EVENT_KINDS = { "span-create": "span", "span-update": "span", "generation-create": "generation", "generation-update": "generation", "event-create": "event" };

function readEvent(trace, event, id, source) {
  const { body } = event;
  const type = text(event.type ?? "");
  if (type.startsWith("score") || (body.value !== undefined && body.name !== undefined && !type)) {
    if (body.traceId === undefined || hex(body.traceId) === hex(id)) trace.scores.push(scoreOf(body, event, source));
  } else if (type.startsWith("trace") || (!type && body.traceId === undefined && !body.startTime)) {
    about(trace, { name: body.name, user: body.userId, session: body.sessionId, environment: body.environment, release: body.release, version: body.version, tags: body.tags, input: parsed(body.input), output: parsed(body.output), metadata: body.metadata });
  } else if (hex(body.traceId) === hex(id)) {
    keep(trace, {
      id: text(body.id ?? event.id ?? ""),
      parent: text(body.parentObservationId ?? ""),
      name: text(body.name ?? ""),
      type: text(body.type ?? EVENT_KINDS[type] ?? "").toLowerCase().slice(0, 24),
      start: Date.parse(body.startTime ?? "") || (type.endsWith("-create") ? Date.parse(event.timestamp ?? "") : 0) || 0,
      end: Date.parse(body.endTime ?? "") || 0,
      level: text(body.level ?? ""),
      status: text(body.statusMessage ?? ""),
      input: parsed(body.input ?? undefined),
      output: parsed(body.output ?? undefined),
      model: text(body.model ?? ""),
      parameters: body.modelParameters ?? undefined,
      usage: total(usageOf(body)),
      cost: total(costOf(body)),
      prompt: body.promptName ? `${body.promptName} v${body.promptVersion ?? "?"}` : "",
      completion: Date.parse(body.completionStartTime ?? "") || 0,
      metadata: body.metadata ?? undefined,
      scope: "",
      source,
      raw: event,
    });
  }
}

const scoreOf = (body, event, source) => ({ id: text(body.id ?? event.id ?? ""), name: text(body.name ?? ""), value: body.value ?? body.stringValue, comment: text(body.comment ?? ""), kind: text(body.source ?? body.dataType ?? ""), observation: text(body.observationId ?? ""), source });

function usageOf(body) {
  const details = numbers(body.usageDetails);
  if (Object.keys(details).length) return details;
  const { input, output, total: whole, promptTokens, completionTokens, totalTokens } = body.usage ?? {};
  return numbers({ input: input ?? promptTokens, output: output ?? completionTokens, total: whole ?? totalTokens });
}

function costOf(body) {
  const details = numbers(body.costDetails);
  if (Object.keys(details).length) return details;
  return numbers({ input: body.usage?.inputCost, output: body.usage?.outputCost, total: body.usage?.totalCost });
}

// -- together -------------------------------------------------------------------------------------

/** Merge an observation into what is known of it: what says something wins over what does not. */
function keep(trace, said) {
  const known = trace.observations.get(said.id);
  if (!known) {
    trace.observations.set(said.id, said);
    return;
  }
  for (const [name, value] of Object.entries(said)) {
    const empty = value === undefined || value === "" || value === 0 || value === null || (typeof value === "object" && !Object.keys(value).length);
    if (!empty && (name !== "start" || !known.start || value < known.start) && !(name === "type" && value === "span" && known.type)) known[name] = value;
  }
}

function about(trace, said) {
  for (const [name, value] of Object.entries(said)) {
    const empty = value === undefined || value === null || value === "" || (typeof value === "object" && !Object.keys(value).length);
    if (!empty) trace.about[name] = value;
  }
}

/** Roots with their children, by time; every observation once, whatever its parents say. */
export function nested(trace) {
  const all = [...trace.observations.values()].sort((a, b) => a.start - b.start || (a.id < b.id ? -1 : 1));
  const children = new Map();
  const roots = [];
  for (const each of all) {
    if (each.parent && each.parent !== each.id && trace.observations.has(each.parent)) {
      if (!children.has(each.parent)) children.set(each.parent, []);
      children.get(each.parent).push(each);
    } else roots.push(each);
  }
  const seen = new Set();
  const rows = [];
  const visit = (root) => {
    const waiting = [[root, 0]];
    while (waiting.length) {
      const [each, depth] = waiting.pop();
      if (seen.has(each.id)) continue;
      seen.add(each.id);
      const below = children.get(each.id) ?? [];
      rows.push({ observation: each, depth, size: below.length });
      for (let at = below.length - 1; at >= 0; at -= 1) waiting.push([below[at], Math.min(depth + 1, DEPTH_MAX)]);
    }
  };
  roots.forEach(visit);
  all.forEach(visit); // parents that go round in a circle
  return rows;
}

/** What a trace comes to: its span of time, tokens, cost, models, levels. */
export function summary(trace) {
  const all = [...trace.observations.values()];
  const starts = all.map(({ start }) => start).filter(Boolean);
  const start = starts.length ? starts.reduce((a, b) => Math.min(a, b)) : 0;
  const end = all.reduce((latest, each) => Math.max(latest, each.end || each.start), 0);
  const sum = (pick) => all.reduce((whole, each) => whole + (pick(each) || 0), 0);
  return {
    start,
    end,
    seconds: start ? (end - start) / 1000 : 0,
    input: sum(({ usage }) => usage.input),
    output: sum(({ usage }) => usage.output),
    tokens: sum(({ usage }) => usage.total),
    cost: sum(({ cost }) => cost.total),
    models: [...new Set(all.map(({ model }) => model).filter(Boolean))],
    errors: all.filter(({ level }) => level === "ERROR").length,
  };
}

// -- values ---------------------------------------------------------------------------------------

const text = (value) => (value === undefined || value === null ? "" : String(value));

/** A document that stands in a text; everything else as it is. */
export function parsed(value) {
  if (typeof value !== "string" || !/^\s*[[{"]/.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

const numbers = (found) => Object.fromEntries(Object.entries(found && typeof found === "object" ? found : {}).map(([key, value]) => [key, Number(value)]).filter(([, value]) => Number.isFinite(value)));

/** `counts` with a total: what they say themselves, else input and output, else all of it. */
function total(counts) {
  if (!Object.keys(counts).length || counts.total !== undefined) return counts;
  const { input, output, ...others } = counts;
  const sum = input !== undefined || output !== undefined ? (input ?? 0) + (output ?? 0) : Object.values(others).reduce((a, b) => a + b, 0);
  return { ...counts, total: sum };
}
