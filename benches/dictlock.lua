-- A lease of a key's slot in OpenResty's Lua on one machine: an entry of a shared dictionary, which
-- all workers see, put there before the request goes upstream and deleted when it has ended.

local set_header = ngx.req.set_header

-- Long after it was to be given back, a slot whose worker died is free again.
local TTL = 600

local leases
local slots, last = {}, 0

local M = {}

-- In init_by_lua: the keys of the pool, one a line of a file.
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

-- In access_by_lua: the first slot that is free, from where the last search ended.
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
