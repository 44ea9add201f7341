-- A mock of the OpenAI API, as it is usually written in OpenResty's Lua: the light thread of each
-- request repeatedly sends a word, flushes and sleeps. `make bench-mock` compares our mock with it.
--
-- It sends the same as our mock with `fields=minimal`, and ignores the request.

local format, random = string.format, math.random
local say, flush, sleep, time = ngx.say, ngx.flush, ngx.sleep, ngx.time
local read_body, header = ngx.req.read_body, ngx.header

local WORDS = { "powered ", "by ", "openai" }

local M = {}

-- In content_by_lua: sends the response, with `delay` seconds between words.
function M.stream(delay)
    read_body()
    header["Content-Type"] = "text/event-stream; charset=utf-8"
    header["Cache-Control"] = "no-cache"
    local opening = format(
        'data: {"id":"chatcmpl-%06d","object":"chat.completion.chunk","created":%d,'
            .. '"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":',
        random(0, 999999),
        time()
    )
    say(opening, '{"role":"assistant"},"finish_reason":null}]}\n')
    flush(true)
    for i, word in ipairs(WORDS) do
        if i > 1 and delay > 0 then
            sleep(delay)
        end
        say(opening, '{"content":"', word, '"},"finish_reason":null}]}\n')
        flush(true)
    end
    say(opening, '{},"finish_reason":"stop"}]}\n')
    say("data: [DONE]\n")
    flush(true)
end

return M
