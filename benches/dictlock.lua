-- Leases of keys' slots in OpenResty's Lua, on one machine: an entry in a shared dictionary, added
-- before the request goes upstream and deleted after it.

local set_header = ngx.req.set_header

-- Seconds after which the slot of a worker that died is free again; much longer than a request.
local TTL = 600

local leases
local slots, last = {}, 0

local M = {}

-- In init_by_lua: reads the keys of the pool, one from each line of a file.
function M.setup(_, keys)
    for key in io.lines(keys) do
        slots[#slots + 1] = { name = "slot:" .. #slots, authorization = "Bearer " .. key }
    end
end

-- In init_worker_by_lua.
function M.seed()
    leases = ngx.shared.leases
    last = math.random(#slots)
end

-- In access_by_lua: takes the first free slot after the last one taken.
function M.access()
    for _ = 1, #slots do
        last = last % #slots + 1
        local slot = slots[last]
        if leases:add(slot.name, true, TTL) then
            ngx.ctx.slot = slot
            set_header("Authorization", slot.authorization)
            return
        end
    end
    return ngx.exit(ngx.HTTP_SERVICE_UNAVAILABLE)
end

-- In log_by_lua.
function M.log()
    local slot = ngx.ctx.slot
    if slot then
        leases:delete(slot.name)
    end
end

return M
