-- What wrk asks for: the kinds given behind `--`, in turn, for a tenant each
-- thread names. Counts the answers that are not what that kind is to get.

local expected = {
    good = 200, table = 200, spawn = 200, blocking = 200, leak = 200, detached = 200,
    hog = 507, swarm = 507, panic = 500, never = 504,
}
local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    tenant, kinds, next_kind = args[1], {}, 0
    for place = 2, #args do
        table.insert(kinds, args[place])
    end
    answered, wrong, first_wrong = 0, 0, ""
end

function request()
    next_kind = next_kind % #kinds + 1
    local kind = kinds[next_kind]
    local options = kind == "never" and "?deadline=50" or ""
    return wrk.format("GET", "/t/" .. tenant .. "/" .. kind .. options)
end

function response(status, headers, body)
    local kind = headers["x-kind"]
    answered = answered + 1
    if kind == nil or status ~= expected[kind] then
        wrong = wrong + 1
        first_wrong = tostring(kind) .. " got " .. status .. ": " .. body
    end
end

function done(summary, latency, requests)
    local answers, wrongs, example = 0, 0, ""
    for _, thread in ipairs(threads) do
        answers = answers + thread:get("answered")
        wrongs = wrongs + thread:get("wrong")
        if thread:get("first_wrong") ~= "" then
            example = thread:get("first_wrong")
        end
    end
    local errors = summary.errors
    local lost = errors.connect + errors.read + errors.write + errors.timeout
    io.write(string.format("RESULT %d %d %d %d %s\n", answers, wrongs, lost, latency.max, example))
end
