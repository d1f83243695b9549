// What stored events say of one trace, as a tree of observations. Pure: no network, no elements.
//
// Two kinds of documents are read: OpenTelemetry's resource spans (an array, or an OTLP request in
// JSON), and events of Langfuse's own ingestion API. Attributes follow Langfuse's SDKs, the GenAI
// conventions of OpenTelemetry, OpenInference, and the AI SDK.

/** How deep a trace may be nested before the rest is shown flat, and the value of an attribute. */
const DEPTH_MAX = 60;
const VALUE_DEPTH_MAX = 60;
/** Bytes of an id in such a form. */
const ID_BYTES_MAX = 64;
/** Times outside of this are mistakes (the index knows none there either): 2000 and 2200, in ms. */
const TIME_MIN = 946_684_800_000;
const TIME_MAX = 7_258_118_400_000;

/** A trace without anything in it. `since`: when it was said what is known `about` it. */
export const newTrace = () => ({
  about: {},
  since: {},
  observations: new Map(),
  scores: [],
  unnamed: 0,
});

/** Add what a document says of the trace `id`. `source` is remembered with each observation. */
export function read(trace, document, id, source) {
  const documents = Array.isArray(document) ? document : [document];
  for (const each of documents.flatMap(resources))
    for (const scope of each.scopeSpans)
      for (const span of items(scope?.spans))
        if (span && hex(span.traceId) === hex(id)) readSpan(trace, span, scope.scope, source);
  for (const each of documents.flatMap((found) =>
    Array.isArray(found?.batch) ? found.batch : [found],
  ))
    if (each && typeof each === "object" && each.body && typeof each.body === "object")
      readEvent(trace, each, id, source);
}

const items = (value) => (Array.isArray(value) ? value : []);
const resources = (each) =>
  (Array.isArray(each?.resourceSpans) ? each.resourceSpans : [each]).filter((found) =>
    Array.isArray(found?.scopeSpans),
  );

// -- OpenTelemetry --------------------------------------------------------------------------------

/** Names of attributes, the most telling first. */
const INPUT = [
  "langfuse.observation.input",
  "gen_ai.input.messages",
  "gen_ai.prompt",
  "input.value",
  "ai.prompt.messages",
  "ai.prompt",
  "ai.toolCall.args",
  "gen_ai.tool.call.arguments",
  "traceloop.entity.input",
  "mlflow.spanInputs",
  "tool_arguments",
  "pydantic-ai.all_messages",
  "all_messages_events",
  "input",
];
const OUTPUT = [
  "langfuse.observation.output",
  "gen_ai.output.messages",
  "gen_ai.completion",
  "output.value",
  "ai.response.text",
  "ai.response.object",
  "ai.response.toolCalls",
  "ai.toolCall.result",
  "gen_ai.tool.call.result",
  "traceloop.entity.output",
  "mlflow.spanOutputs",
  "tool_response",
  "final_result",
  "output",
];
const MODEL = [
  "langfuse.observation.model.name",
  "gen_ai.response.model",
  "ai.response.model",
  "gen_ai.request.model",
  "ai.model.id",
  "llm.response.model",
  "llm.model_name",
  "model",
];
/** Counts of tokens that instrumentations tell, by what they are here. */
const COUNTED = {
  input: [
    "gen_ai.usage.prompt_tokens",
    "gen_ai.usage.input_tokens",
    "llm.token_count.prompt",
    "ai.usage.promptTokens",
    "ai.usage.inputTokens",
  ],
  output: [
    "gen_ai.usage.completion_tokens",
    "gen_ai.usage.output_tokens",
    "llm.token_count.completion",
    "ai.usage.completionTokens",
    "ai.usage.outputTokens",
  ],
  total: [
    "gen_ai.usage.total_tokens",
    "llm.token_count.total",
    "ai.usage.totalTokens",
    "ai.usage.tokens",
  ],
  input_cached_tokens: [
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.cache_read_tokens",
    "gen_ai.usage.details.cache_read_tokens",
    "gen_ai.usage.details.cache_read_input_tokens",
    "gen_ai.usage.input_cached_tokens",
    "llm.token_count.prompt_details.cache_read",
    "ai.usage.cachedInputTokens",
  ],
  input_cache_creation: [
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.cache_write_tokens",
    "gen_ai.usage.details.cache_write_tokens",
    "gen_ai.usage.details.cache_creation_input_tokens",
    "gen_ai.usage.input_cache_creation",
    "llm.token_count.prompt_details.cache_write",
  ],
  output_reasoning_tokens: [
    "gen_ai.usage.reasoning.output_tokens",
    "llm.token_count.completion_details.reasoning",
    "ai.usage.reasoningTokens",
  ],
  output_audio_tokens: ["llm.token_count.completion_details.audio"],
};
const COSTS = ["gen_ai.usage.cost", "llm.cost.total"];
/** Spans that tell once more what the spans of their models told. */
const AGAIN = /^(invoke_agent|agent_step)$/;
const OUTER = /^ai\.[A-Za-z]+$/;
const KINDS = {
  __proto__: null,
  LLM: "generation",
  CHAIN: "chain",
  TOOL: "tool",
  RETRIEVER: "retriever",
  EMBEDDING: "embedding",
  AGENT: "agent",
  GUARDRAIL: "guardrail",
  EVALUATOR: "evaluator",
};
const OPERATIONS = {
  __proto__: null,
  chat: "generation",
  completion: "generation",
  text_completion: "generation",
  generate_content: "generation",
  embeddings: "embedding",
  execute_tool: "tool",
  invoke_agent: "agent",
  create_agent: "agent",
};

function readSpan(trace, span, scope, source) {
  const said = attributes(span);
  const first = (names) =>
    names
      .map((name) => said[name])
      .find((value) => value !== undefined && value !== null && value !== "");
  const exception = items(span.events).find((event) => event?.name === "exception");
  const failed = span.status?.code === 2 || span.status?.code === "STATUS_CODE_ERROR";
  const again = AGAIN.test(said["gen_ai.operation.name"]) || OUTER.test(said["ai.operationId"]);
  const start = nanoseconds(span.startTimeUnixNano);
  const end = nanoseconds(span.endTimeUnixNano);
  const metadata = below(said, "langfuse.observation.metadata");
  keep(
    trace,
    {
      id: hex(span.spanId) || unnamed(trace),
      parent: hex(span.parentSpanId).replace(/^0+$/, ""),
      name: text(span.name),
      type: kindOf(said),
      start,
      end,
      level: text(said["langfuse.observation.level"] ?? (failed ? "ERROR" : "")),
      status: text(
        said["langfuse.observation.status_message"] ??
          span.status?.message ??
          exceptionText(exception),
      ),
      input:
        parsed(first(INPUT)) ??
        numbered(said, "gen_ai.prompt") ??
        numbered(said, "llm.input_messages"),
      output:
        parsed(first(OUTPUT)) ??
        numbered(said, "gen_ai.completion") ??
        numbered(said, "llm.output_messages"),
      model: text(first(MODEL) ?? ""),
      parameters:
        parsed(first(["langfuse.observation.model.parameters", "llm.invocation_parameters"])) ??
        requested(said),
      usage: again
        ? {}
        : total(
            firstOf(numbers(parsed(said["langfuse.observation.usage_details"])), () =>
              counted(said),
            ),
          ),
      cost: again
        ? {}
        : total(
            firstOf(numbers(parsed(said["langfuse.observation.cost_details"])), () =>
              numbers({ total: first(COSTS) }),
            ),
          ),
      prompt: promptOf(
        said["langfuse.observation.prompt.name"],
        said["langfuse.observation.prompt.version"],
      ),
      completion: moment(parsed(said["langfuse.observation.completion_start_time"])),
      metadata: Object.keys(metadata).length ? metadata : undefined,
      scope: text(scope?.name ?? ""),
      source,
      raw: span,
    },
    end || start,
  );
  about(
    trace,
    {
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
    },
    start,
  );
}

/** Attributes of a span or an event, by name. */
const attributes = (each) =>
  Object.fromEntries(
    items(each?.attributes)
      .filter((found) => typeof found?.key === "string")
      .map(({ key, value }) => [key, plain(value)]),
  );

const unnamed = (trace) => `#${(trace.unnamed += 1)}`;
const firstOf = (found, otherwise) => (Object.keys(found).length ? found : otherwise());
const promptOf = (name, version) => (name ? `${text(name)} v${text(version ?? "?")}` : "");

/**
 * Tokens as the GenAI conventions and OpenInference tell them, in parts that do not overlap: what
 * they count as input holds what came from a cache, their output what was thought.
 */
function counted(said) {
  const found = numbers(
    Object.fromEntries(
      Object.entries(COUNTED).map(([kind, names]) => [
        kind,
        names.map((name) => said[name]).find((value) => number(value) !== undefined),
      ]),
    ),
  );
  const {
    input,
    output,
    input_cached_tokens: cached = 0,
    input_cache_creation: created = 0,
    output_reasoning_tokens: thought = 0,
    output_audio_tokens: spoken = 0,
  } = found;
  if (input !== undefined) found.input = Math.max(0, input - cached - created);
  if (output !== undefined) found.output = Math.max(0, output - thought - spoken);
  return found;
}

function kindOf(said) {
  const told =
    said["langfuse.observation.type"] ??
    KINDS[said["openinference.span.kind"]] ??
    OPERATIONS[said["gen_ai.operation.name"]];
  if (typeof told === "string") return told.toLowerCase().slice(0, 24);
  if (said["ai.toolCall.name"] ?? said["gen_ai.tool.name"]) return "tool";
  return said["gen_ai.request.model"] || said["llm.model_name"] ? "generation" : "span";
}

const exceptionText = (event) => {
  const said = attributes(event);
  return [said["exception.type"], said["exception.message"]].filter(Boolean).map(text).join(": ");
};

/** What was asked of a model, by the GenAI conventions. */
function requested(said) {
  const found = Object.entries(said)
    .filter(([key]) => key.startsWith("gen_ai.request.") && key !== "gen_ai.request.model")
    .map(([key, value]) => [key.slice(15), value]);
  return found.length ? Object.fromEntries(found) : undefined;
}

/** Attributes `name` (a document) and `name.*`. */
function below(said, name) {
  const whole = parsed(said[name]);
  const found =
    whole && typeof whole === "object" && !Array.isArray(whole)
      ? { ...whole }
      : whole === undefined
        ? {}
        : { value: whole };
  for (const [key, value] of Object.entries(said))
    if (key.startsWith(`${name}.`)) found[key.slice(name.length + 1)] = parsed(value);
  return found;
}

/** Messages in attributes that have numbers: `prefix.0.role`, `prefix.0.message.content`, ... */
function numbered(said, prefix) {
  const messages = [];
  for (const [key, value] of Object.entries(said)) {
    const match =
      key.startsWith(`${prefix}.`) &&
      /^(\d{1,4})\.(?:message\.)?(.+)$/.exec(key.slice(prefix.length + 1));
    if (match) (messages[Number(match[1])] ??= {})[match[2]] = value;
  }
  const found = messages.filter(Boolean);
  return found.length ? found : undefined;
}

/** The value of an attribute, as JSON has it; what lies too deep stays as it is stored. */
export function plain(value, depth = 0) {
  if (value === null || typeof value !== "object" || depth > VALUE_DEPTH_MAX) return value;
  if ("stringValue" in value) return value.stringValue;
  if ("boolValue" in value) return value.boolValue;
  if ("intValue" in value) return integer(value.intValue);
  if ("doubleValue" in value) return value.doubleValue;
  if ("arrayValue" in value)
    return items(value.arrayValue?.values).map((each) => plain(each, depth + 1));
  if ("kvlistValue" in value)
    return Object.fromEntries(
      items(value.kvlistValue?.values)
        .filter((each) => typeof each?.key === "string")
        .map(({ key, value: inner }) => [key, plain(inner, depth + 1)]),
    );
  return value.bytesValue;
}

/** An integer: a number, its digits, or the two halves of a Long. NaN for everything else. */
function integer(value) {
  if (typeof value === "number" || typeof value === "string") return Number(value);
  return number(value?.low) === undefined
    ? NaN
    : (number(value.high) ?? 0) * 2 ** 32 + (value.low >>> 0);
}

/** Milliseconds of a time in nanoseconds: digits, a number, or the two halves of a Long. */
function nanoseconds(value) {
  if (typeof value === "string" && /^\d{7,24}$/.test(value))
    return sane(Number(value.slice(0, -6)) + Number(value.slice(-6)) / 1e6);
  return sane(integer(value) / 1e6);
}

/** Milliseconds of a time as text, or in milliseconds. */
const moment = (value) =>
  typeof value === "number" ? sane(value) : typeof value === "string" ? sane(Date.parse(value)) : 0;

const sane = (milliseconds) =>
  milliseconds >= TIME_MIN && milliseconds < TIME_MAX ? milliseconds : 0;

/** An id as hexadecimal digits: it comes as such, as base64, or as the bytes of a Node.js Buffer. */
export function hex(id) {
  if (Array.isArray(id?.data ?? id))
    return (id.data ?? id)
      .slice(0, ID_BYTES_MAX)
      .map((byte) => (number(byte) ?? 0).toString(16).padStart(2, "0"))
      .join("");
  if (typeof id !== "string") return "";
  if (/^([0-9a-f]{32}|[0-9a-f]{16})$/i.test(id)) return id.toLowerCase();
  if (/^([A-Za-z0-9+/]{22}==|[A-Za-z0-9+/]{11}=)$/.test(id))
    return [...atob(id)].map((c) => c.charCodeAt(0).toString(16).padStart(2, "0")).join("");
  return id;
}

// -- Langfuse's ingestion events ------------------------------------------------------------------

const EVENT_KINDS = {
  __proto__: null,
  "span-create": "span",
  "span-update": "span",
  "generation-create": "generation",
  "generation-update": "generation",
  "event-create": "event",
};

function readEvent(trace, event, id, source) {
  const { body } = event;
  const when = moment(event.timestamp);
  const type = text(event.type ?? "");
  if (type.startsWith("score") || (body.value !== undefined && body.name !== undefined && !type)) {
    if (body.traceId === undefined ? !body.sessionId : hex(body.traceId) === hex(id))
      keepScore(trace, scoreOf(body, event, source), when);
  } else if (type.startsWith("trace") || (!type && body.traceId === undefined && !body.startTime)) {
    if (body.id !== undefined && text(body.id) !== id && hex(body.id) !== hex(id)) return;
    about(
      trace,
      {
        name: body.name,
        user: body.userId,
        session: body.sessionId,
        environment: body.environment,
        release: body.release,
        version: body.version,
        tags: body.tags,
        input: parsed(body.input),
        output: parsed(body.output),
        metadata: body.metadata,
      },
      when,
    );
  } else if (hex(body.traceId) === hex(id)) {
    keep(
      trace,
      {
        id: text(body.id ?? event.id ?? "") || unnamed(trace),
        parent: text(body.parentObservationId ?? ""),
        name: text(body.name ?? ""),
        type: text(body.type ?? EVENT_KINDS[type] ?? "")
          .toLowerCase()
          .slice(0, 24),
        start: moment(body.startTime) || (type.endsWith("-create") ? when : 0),
        end: moment(body.endTime),
        level: text(body.level ?? ""),
        status: text(body.statusMessage ?? ""),
        input: parsed(body.input ?? undefined),
        output: parsed(body.output ?? undefined),
        model: text(body.model ?? ""),
        parameters: body.modelParameters ?? undefined,
        usage: total(usageOf(body)),
        cost: total(costOf(body)),
        prompt: promptOf(body.promptName, body.promptVersion),
        completion: moment(body.completionStartTime),
        metadata: body.metadata ?? undefined,
        scope: "",
        source,
        raw: event,
      },
      when,
    );
  }
}

const scoreOf = (body, event, source) => ({
  id: text(body.id ?? event.id ?? ""),
  name: text(body.name ?? ""),
  value: body.stringValue ?? body.value,
  comment: text(body.comment ?? ""),
  kind: text(body.source ?? body.dataType ?? ""),
  observation: text(body.observationId ?? ""),
  source,
});

function usageOf(body) {
  const details = numbers(body.usageDetails);
  if (Object.keys(details).length) return details;
  const {
    input,
    output,
    total: whole,
    promptTokens,
    completionTokens,
    totalTokens,
  } = body.usage ?? {};
  return numbers({
    input: input ?? promptTokens,
    output: output ?? completionTokens,
    total: whole ?? totalTokens,
  });
}

function costOf(body) {
  const details = numbers(body.costDetails);
  if (Object.keys(details).length) return details;
  return numbers({
    input: body.usage?.inputCost,
    output: body.usage?.outputCost,
    total: body.usage?.totalCost,
  });
}

// -- together -------------------------------------------------------------------------------------

const isEmpty = (value) =>
  value === undefined ||
  value === "" ||
  value === 0 ||
  value === null ||
  (typeof value === "object" && !Object.keys(value).length);

/**
 * Merge what was said `when` into what is known. The latest word counts, in whichever order objects
 * are read; what says nothing takes nothing away. `since` remembers when each word was said.
 */
function merge(known, since, said, when) {
  for (const [name, value] of Object.entries(said)) {
    if (isEmpty(value) || when < (since[name] ?? 0)) continue;
    known[name] = value;
    since[name] = when;
  }
}

function keep(trace, said, when) {
  const known = trace.observations.get(said.id);
  if (!known) {
    trace.observations.set(said.id, {
      ...said,
      since: Object.fromEntries(
        Object.entries(said)
          .filter(([, value]) => !isEmpty(value))
          .map(([name]) => [name, when]),
      ),
    });
    return;
  }
  const { start, ...others } = said;
  if (start && (!known.start || start < known.start)) known.start = start;
  if (others.type === "span" && known.type) delete others.type;
  merge(known, known.since, others, when);
}

/** A score that was given again under its id takes the place of the one before. They stand by time
 * and name, in whatever order their objects were read. */
function keepScore(trace, score, when) {
  const at = score.id ? trace.scores.findIndex(({ id }) => id === score.id) : -1;
  if (at >= 0 && when < trace.scores[at].when) return;
  if (at >= 0) trace.scores.splice(at, 1);
  const later = (other) => (other.when === when ? other.name > score.name : other.when > when);
  const before = trace.scores.findLastIndex((other) => !later(other));
  trace.scores.splice(before + 1, 0, { ...score, when });
}

const WORDS = ["name", "user", "session", "environment", "release", "version"];

function about(trace, said, when) {
  for (const name of WORDS) said[name] = text(said[name]);
  merge(trace.about, trace.since, said, when);
}

/** Roots with their children, by time; every observation once, whatever its parents say. */
export function nested(trace) {
  const all = [...trace.observations.values()].sort(
    (a, b) => a.start - b.start || (a.id < b.id ? -1 : 1),
  );
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
      for (let at = below.length - 1; at >= 0; at -= 1)
        waiting.push([below[at], Math.min(depth + 1, DEPTH_MAX)]);
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
  const end = all.reduce((latest, each) => Math.max(latest, each.end, each.start), 0);
  const sum = (pick) => all.reduce((whole, each) => whole + (pick(each) || 0), 0);
  return {
    start,
    end,
    milliseconds: start ? end - start : undefined,
    input: sum(({ usage }) => part(usage, "input")),
    output: sum(({ usage }) => part(usage, "output")),
    tokens: sum(({ usage }) => usage.total),
    cost: sum(({ cost }) => cost.total),
    models: [...new Set(all.map(({ model }) => model).filter(Boolean))],
    errors: all.filter(({ level }) => level === "ERROR").length,
  };
}

/** All of `counts` that is of one side, "input" or "output": kinds are named after theirs. */
export const part = (counts, side) =>
  Object.entries(counts).reduce(
    (sum, [kind, value]) => (kind.includes(side) ? sum + value : sum),
    0,
  );

// -- values ---------------------------------------------------------------------------------------

/** Anything as text: what is no text in JSON is as it stands there. */
export function text(value) {
  if (typeof value === "string") return value;
  if (value === undefined || value === null) return "";
  try {
    return JSON.stringify(value);
  } catch {
    return "…"; // nested deeper than the browser's stack
  }
}

/** A document that stands in a text; everything else as it is. */
export function parsed(value) {
  if (typeof value !== "string" || !/^\s*[[{"]/.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/** A finite number, or the digits of one; undefined for everything else. */
function number(value) {
  const found =
    typeof value === "number"
      ? value
      : typeof value === "string" && value.trim()
        ? Number(value)
        : NaN;
  return Number.isFinite(found) ? found : undefined;
}

const numbers = (found) =>
  Object.fromEntries(
    Object.entries(found && typeof found === "object" ? found : {})
      .map(([key, value]) => [key, number(value)])
      .filter(([, value]) => value !== undefined),
  );

/** `counts` with a total: what they say themselves, else all of them, as Langfuse has it. */
function total(counts) {
  if (!Object.keys(counts).length || counts.total !== undefined) return counts;
  return { ...counts, total: Object.values(counts).reduce((a, b) => a + b, 0) };
}
