// Inputs and outputs as people read them: messages of a chat with tool calls and media, documents
// as trees, text as text. What is shown was written by strangers: nothing of it is ever markup.
import { fill, h, icon, shown } from "./dom.js";
import { parsed, text as asText } from "./observations.js";
import { jsonTree } from "./preview.js";
import { T } from "./texts.js";
import { badge } from "./ui.js";

const L = T.langfuse;
/** Characters of one text that are shown at first, and messages of one conversation. */
const TEXT_MAX = 20_000;
const MESSAGES_MAX = 40;
/** Characters of a text, or lines, from which on it is folded. */
const FOLD = 1600;

const REFERENCE =
  /@@@langfuseMedia:type=([^|@]{1,100})\|id=([A-Za-z0-9_-]{1,64})\|source=[^@]{1,40}@@@/g;
const INLINE = /^data:image\/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]{1,8000000}$/;

/** An input or output. `media(id, type)` makes the element that stands for a reference. What is no
 * message though it looks like one is shown as the document that it is. */
export function content(value, media) {
  const document = parsed(value);
  try {
    return talk(document, media);
  } catch {
    return jsonTree(document, 2);
  }
}

function talk(document, media) {
  if (document === undefined || document === null) return h("p", { class: "muted" }, L.nothing);
  if (typeof document === "string") return said(document, media);
  if (typeof document !== "object")
    return h("pre", { class: "said", tabindex: "0" }, asText(document));
  const { messages, rest } = messagesOf(document);
  if (!messages) return withMedia(document, media);
  const list = h("ol", { class: "talk" });
  const add = (from) => {
    list.append(
      ...messages.slice(from, from + MESSAGES_MAX).map((each) => h("li", {}, message(each, media))),
    );
    const left = messages.length - from - MESSAGES_MAX;
    if (left > 0) {
      const more = h(
        "li",
        {},
        h(
          "button",
          {
            type: "button",
            class: "plain",
            on: {
              click: () => {
                more.remove();
                add(from + MESSAGES_MAX);
              },
            },
          },
          icon("plus"),
          T.object.moreEntries(left),
        ),
      );
      list.append(more);
    }
  };
  add(0);
  return h(
    "div",
    { class: "stack tight" },
    list,
    rest
      ? h(
          "details",
          { class: "rest" },
          h("summary", {}, L.besides(Object.keys(rest).join(", "))),
          jsonTree(rest, 2),
        )
      : null,
  );
}

// -- messages -------------------------------------------------------------------------------------

const ROLES =
  /^(system|developer|user|human|assistant|ai|model|tool|function|tool_result|tool-result)$/i;

/** The messages of a document, and what stands beside them; null where it is no conversation. */
function messagesOf(document) {
  if (Array.isArray(document))
    return { messages: document.length && document.every(isMessage) ? document : null };
  const { choices } = document;
  if (Array.isArray(choices) && choices.length && choices.every((each) => isMessage(each?.message)))
    return { messages: choices.map((each) => each.message), rest: without(document, "choices") };
  for (const name of ["messages", "input", "contents", "output"]) {
    const found = parsed(document[name]);
    if (Array.isArray(found) && found.length && found.every(isMessage)) {
      const system = document.system ?? document.systemInstruction ?? document.instructions;
      return {
        messages: system ? [{ role: "system", content: system }, ...found] : found,
        rest: without(document, name, "system", "systemInstruction", "instructions"),
      };
    }
  }
  return isMessage(document) ? { messages: [document] } : { messages: null };
}

function without(document, ...names) {
  const rest = Object.fromEntries(
    Object.entries(document).filter(([name]) => !names.includes(name)),
  );
  return Object.keys(rest).length ? rest : null;
}

const roleOf = (each) =>
  each.role ??
  (each.type === "function_call"
    ? "assistant"
    : each.type === "function_call_output"
      ? "tool"
      : typeof each.type === "string" && ROLES.test(each.type)
        ? each.type
        : undefined);

function isMessage(each) {
  if (!each || typeof each !== "object" || Array.isArray(each)) return false;
  return (
    typeof roleOf(each) === "string" &&
    [
      "content",
      "parts",
      "tool_calls",
      "toolCalls",
      "function_call",
      "arguments",
      "output",
      "refusal",
      "reasoning",
    ].some((name) => name in each)
  );
}

const SIDES = {
  __proto__: null,
  system: "system",
  developer: "system",
  user: "user",
  human: "user",
  tool: "tool",
  function: "tool",
};

function message(each, media) {
  const role = roleOf(each);
  const side = SIDES[role.toLowerCase()] ?? "assistant";
  const name = each.name ?? each.tool_name ?? "";
  const calls = [
    ...list(each.tool_calls ?? each.toolCalls ?? each.additional_kwargs?.tool_calls),
    each.function_call && typeof each.function_call === "object" ? each.function_call : null,
    each.type === "function_call" ? each : null,
  ].filter(Boolean);
  const parts =
    each.content ?? each.parts ?? (each.type === "function_call_output" ? each.output : undefined);
  const thought = each.reasoning ?? each.reasoning_content ?? each.thinking;
  return h(
    "article",
    { class: `message ${side}` },
    h(
      "header",
      {},
      h("b", {}, shown(asText(role))),
      name ? h("code", {}, shown(asText(name))) : null,
      (each.tool_call_id ?? each.call_id)
        ? h("span", { class: "muted small mono" }, shown(asText(each.tool_call_id ?? each.call_id)))
        : null,
    ),
    thought
      ? h(
          "details",
          { class: "rest" },
          h("summary", {}, L.thinking),
          said(typeof thought === "string" ? thought : JSON.stringify(thought, null, 2), media),
        )
      : null,
    side === "tool" && typeof parts === "string" ? result(parts, media) : partsOf(parts, media),
    each.refusal ? said(asText(each.refusal), media) : null,
    calls.map(call),
  );
}

const list = (value) => (Array.isArray(value) ? value : []);

/** What a tool answered: a document as a tree. */
function result(value, media) {
  const document = parsed(value);
  return typeof document === "object" && document ? jsonTree(document, 2) : said(value, media);
}

/** The content of a message: a text, or parts of several kinds. */
function partsOf(value, media) {
  if (value === undefined || value === null || value === "") return null;
  if (typeof value === "string") return said(value, media);
  if (!Array.isArray(value))
    return value.parts
      ? partsOf(value.parts, media)
      : typeof value.text === "string"
        ? said(value.text, media)
        : jsonTree(value, 2);
  return value.map((part) => partOf(part, media));
}

function partOf(part, media) {
  if (typeof part === "string") return said(part, media);
  if (!part || typeof part !== "object") return said(asText(part), media);
  const text =
    part.text ??
    part.input_text ??
    part.output_text ??
    (typeof part.content === "string" && !/call|result|response/.test(asText(part.type))
      ? part.content
      : undefined);
  if (typeof text === "string") return said(text, media);
  if (/^(tool_use|tool-call|tool_call|function_call)$/.test(asText(part.type))) return call(part);
  if (/^(tool_result|tool-result|tool_call_response|function_call_output)$/.test(asText(part.type)))
    return h(
      "div",
      { class: "call" },
      h(
        "header",
        {},
        icon("check"),
        h("b", {}, L.toolResult),
        h("code", {}, shown(asText(part.toolName ?? part.tool_use_id ?? part.id ?? ""))),
      ),
      typeof (part.result ?? part.content ?? part.response ?? part.output) === "string"
        ? result(part.result ?? part.content ?? part.response ?? part.output, media)
        : jsonTree(part.result ?? part.content ?? part.response ?? part.output ?? part, 2),
    );
  if (part.functionCall)
    return call({ name: part.functionCall.name, args: part.functionCall.args });
  const source =
    part.image_url?.url ??
    part.image_url ??
    part.image ??
    part.url ??
    part.input_audio?.data ??
    part.source?.data ??
    part.data ??
    part.file_data ??
    part.file?.file_data;
  if (typeof source === "string") return picture(source, part, media);
  return withMedia(part, media);
}

/** An image, sound or file that a message holds. Nothing is fetched from elsewhere. */
function picture(source, part, media) {
  if (INLINE.test(source))
    return h(
      "div",
      { class: "preview" },
      h("img", { src: source, alt: L.picture, loading: "lazy" }),
    );
  if (source.includes("@@@langfuseMedia:")) return said(source, media);
  const kind = part.media_type ?? part.source?.media_type ?? part.mimeType ?? part.type ?? "";
  if (/^https?:\/\//i.test(source))
    return h(
      "p",
      {},
      badge(shown(asText(kind).slice(0, 40))),
      " ",
      h(
        "a",
        { href: source, target: "_blank", rel: "noopener noreferrer" },
        shown(source.slice(0, 300)),
      ),
    );
  return h(
    "p",
    { class: "muted" },
    badge(shown(asText(kind).slice(0, 40))),
    ` ${L.characters(source.length)}`,
  );
}

/** A call of a tool: its name and arguments. */
function call(each) {
  const named = each.function ?? each;
  const given = parsed(named.arguments ?? named.args ?? named.input ?? each.input ?? "");
  return h(
    "div",
    { class: "call" },
    h(
      "header",
      {},
      icon("code"),
      h("b", {}, L.toolCall),
      h("code", {}, shown(asText(named.name ?? each.toolName ?? each.name ?? "?"))),
      (each.id ?? each.call_id ?? each.toolCallId)
        ? h(
            "span",
            { class: "muted small mono" },
            shown(asText(each.id ?? each.call_id ?? each.toolCallId)),
          )
        : null,
    ),
    given && typeof given === "object"
      ? jsonTree(given, 2)
      : given === ""
        ? null
        : h("pre", { class: "said", tabindex: "0" }, asText(given)),
  );
}

// -- texts ----------------------------------------------------------------------------------------

/** A text; references to media in it become the media, long ones are folded. */
export function said(text, media) {
  const pieces = [];
  let at = 0;
  for (const match of text.matchAll(REFERENCE)) {
    if (match.index > at) pieces.push(plain(text.slice(at, match.index)));
    pieces.push(media(match[2], match[1]));
    at = match.index + match[0].length;
  }
  if (at < text.length || !pieces.length) pieces.push(plain(text.slice(at)));
  return pieces.length === 1
    ? pieces[0]
    : h(
        "div",
        { class: "stack tight" },
        pieces.filter((piece) => piece.textContent.trim() || piece.childElementCount),
      );
}

function plain(text) {
  if (INLINE.test(text.trim()))
    return h(
      "div",
      { class: "preview" },
      h("img", { src: text.trim(), alt: L.picture, loading: "lazy" }),
    );
  const block = h("pre", { class: "said", tabindex: "0" }, text.slice(0, TEXT_MAX));
  if (text.length <= FOLD && text.split("\n").length <= 24) return block;
  block.classList.add("folded");
  const more = h(
    "button",
    {
      type: "button",
      class: "plain",
      "aria-expanded": "false",
      on: {
        click: () => {
          const open = block.classList.toggle("folded") === false;
          if (open) fill(block, text);
          more.setAttribute("aria-expanded", String(open));
          fill(more, icon(open ? "close" : "plus"), open ? L.less : L.all(text.length));
        },
      },
    },
    icon("plus"),
    L.all(text.length),
  );
  return h("div", { class: "stack tight" }, block, more);
}

/** A document as a tree, and below it the media that it refers to. */
function withMedia(document, media) {
  const found = [
    ...new Map(
      [...asText(document).matchAll(REFERENCE)].map((match) => [match[2], match]),
    ).values(),
  ].slice(0, 12);
  return h(
    "div",
    { class: "stack tight" },
    jsonTree(document, 3),
    found.map((match) => media(match[2], match[1])),
  );
}
