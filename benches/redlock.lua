-- A Redlock on a slot of a key in OpenResty's Lua, as the module takes one for a pool with `store`:
-- acquired before the request goes upstream, and released after it.
--
-- As fast as possible with common techniques: commands are packed once, except for the nonce; only
-- the first line of a reply is read; there is no client library. The nodes are asked in parallel
-- over kept connections, one by the request's own light thread and each of the others by a new one.

local format, random = string.format, math.random
local set_header, now = ngx.req.set_header, ngx.now
local spawn, wait, timer_at = ngx.thread.spawn, ngx.thread.wait, ngx.timer.at
local tcp = ngx.socket.tcp
local log, ERR = ngx.log, ngx.ERR

local TTL_MS = 30000
local VALID_S = (TTL_MS - TTL_MS / 100 - 2) / 1000
local TIMEOUT_MS = 500
local IDLE_MS = 60000
local TRIES = 3
-- More connections than there are ever concurrent commands.
local POOL = { pool_size = 512 }

local RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then "
    .. "return redis.call('del', KEYS[1]) else return 0 end"
local RELEASE_SHA = ngx.sha1_bin(RELEASE):gsub(".", function(byte)
    return format("%02x", byte:byte())
end)

local ports, quorum
local slots, last = {}, 0

local function packed(...)
    local parts = { format("*%d\r\n", select("#", ...)) }
    for _, part in ipairs({ ... }) do
        parts[#parts + 1] = format("$%d\r\n%s\r\n", #part, part)
    end
    return table.concat(parts)
end

-- The packed commands of a slot, split where the nonce belongs.
local function slot_of(number, key)
    local lock = format("{lua}:l:%d:0", number)
    local nonce = ("?"):rep(32)
    local function around(...)
        local command = packed(...)
        local from, to = command:find(nonce, 1, true)
        return command:sub(1, from - 1), command:sub(to + 1)
    end
    local slot = { authorization = "Bearer " .. key, lock = lock }
    slot.take, slot.take_end = around("SET", lock, nonce, "NX", "PX", tostring(TTL_MS))
    slot.release, slot.release_end = around("EVALSHA", RELEASE_SHA, "1", lock, nonce)
    return slot
end

-- Sends a command to a node. Returns the first line of its reply.
local function ask(port, command)
    local socket = tcp()
    socket:settimeout(TIMEOUT_MS)
    local ok, err = socket:connect("127.0.0.1", port, POOL)
    if not ok then
        return nil, err
    end
    ok, err = socket:send(command)
    if not ok then
        socket:close()
        return nil, err
    end
    local line
    line, err = socket:receive()
    if not line then
        socket:close()
        return nil, err
    end
    socket:setkeepalive(IDLE_MS)
    return line
end

-- Sends a command to all nodes. Returns their replies in the order of the nodes.
local function ask_all(command)
    local threads, replies = {}, {}
    for i = 2, #ports do
        threads[i] = spawn(ask, ports[i], command)
    end
    replies[1] = ask(ports[1], command) or false
    for i = 2, #ports do
        local _, line = wait(threads[i])
        replies[i] = line or false
    end
    return replies
end

local function release(_, slot, nonce)
    local replies = ask_all(slot.release .. nonce .. slot.release_end)
    for i, line in ipairs(replies) do
        -- The node does not have the script: send its text, which also loads it.
        if line and line:find("^-NOSCRIPT") then
            ask(ports[i], packed("EVAL", RELEASE, "1", slot.lock, nonce))
        end
    end
end

local function release_later(slot, nonce)
    local ok, err = timer_at(0, release, slot, nonce)
    if not ok then
        log(ERR, "no timer to give a lock back: ", err)
    end
end

local M = {}

-- In init_by_lua: stores the nodes, and reads the keys of the pool, one from each line of a file.
function M.setup(nodes, keys)
    ports, quorum = nodes, math.floor(#nodes / 2) + 1
    for key in io.lines(keys) do
        slots[#slots + 1] = slot_of(#slots + 1, key)
    end
end

-- In init_worker_by_lua: seeds the generator so that workers use different nonces.
function M.seed()
    local urandom = assert(io.open("/dev/urandom", "rb"))
    local a, b, c, d, e, f = urandom:read(6):byte(1, 6)
    urandom:close()
    math.randomseed(((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f)
    last = random(#slots)
end

-- In access_by_lua: takes slots in turn, so that requests of one worker do not collide. If a slot
-- is held by another worker, the next one is tried.
function M.access()
    for _ = 1, TRIES do
        last = last % #slots + 1
        local slot = slots[last]
        local nonce = format(
            "%08x%08x%08x%08x",
            random(0, 0xffffffff),
            random(0, 0xffffffff),
            random(0, 0xffffffff),
            random(0, 0xffffffff)
        )
        local start, votes = now(), 0
        for _, line in ipairs(ask_all(slot.take .. nonce .. slot.take_end)) do
            if line == "+OK" then
                votes = votes + 1
            end
        end
        if votes >= quorum and now() - start < VALID_S then
            local ctx = ngx.ctx
            ctx.slot, ctx.nonce = slot, nonce
            set_header("Authorization", slot.authorization)
            return
        end
        release_later(slot, nonce)
    end
    return ngx.exit(ngx.HTTP_SERVICE_UNAVAILABLE)
end

-- In log_by_lua, where sockets cannot be used: a timer releases the lock at once.
function M.log()
    local ctx = ngx.ctx
    if ctx.slot then
        release_later(ctx.slot, ctx.nonce)
    end
end

return M
