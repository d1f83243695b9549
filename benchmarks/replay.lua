-- Replays prepared requests: wrk -s replay.lua URL -- REQUESTS BODIES BODY_SIZE BODY_COUNT MODE
-- REQUESTS holds records of 5 digits (length of the head), 3 digits (number of the body, 0 for
-- none) and the head; BODIES holds BODY_COUNT payloads of BODY_SIZE bytes. MODE "loop" starts
-- again at the end of the file; "once" says "exhausted" and repeats the last record until stopped.

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  heads = assert(io.open(args[1], "rb"))
  heads:setvbuf("full", 262144)
  bodies = {}
  local size, count = tonumber(args[3]), tonumber(args[4])
  if count > 0 then
    local file = assert(io.open(args[2], "rb"))
    for number = 1, count do
      bodies[number] = assert(file:read(size))
    end
    file:close()
  end
  once = args[5] == "once"
  refusal = ""
  if once then
    response = note_refusal -- costs too much while anything is measured
  end
  wraps = 0
  sent = 0
  last = nil
end

local function next_request()
  local prefix = heads:read(8)
  if not prefix then
    wraps = wraps + 1
    if once then
      if wraps == 1 then
        io.stdout:write("exhausted\n")
        io.stdout:flush()
      end
      return last
    end
    heads:seek("set")
    prefix = heads:read(8)
  end
  local head = heads:read(tonumber(prefix:sub(1, 5)))
  local body = bodies[tonumber(prefix:sub(6, 8))]
  if body then
    last = head .. body
  else
    last = head
  end
  return last
end

function note_refusal(status, headers, body)
  if status > 299 and refusal == "" then
    refusal = status .. " " .. body:gsub("%s+", " "):sub(1, 300)
  end
end

-- wrk asks for one request before it starts, to look at it, and never sends it.
function request()
  sent = sent + 1
  local text = next_request()
  if sent == 1 then
    heads:seek("set")
  end
  return text
end

function done(summary, latency, requests)
  local wrapped = 0
  for _, thread in ipairs(threads) do
    wrapped = wrapped + thread:get("wraps")
    if thread:get("refusal") ~= "" then
      io.stdout:write("refused: ", thread:get("refusal"), "\n")
    end
  end
  local errors = summary.errors
  io.stdout:write(string.format(
    '{"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, ' ..
    '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d, "wrapped": %d}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout, wrapped))
end
