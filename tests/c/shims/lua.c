/* Lua scripts, each in an expert's memory: work, a script that eats memory and goes
 * on when it is refused, and states that come back in one call. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "expert_lua.h"

/* Words, sorted and counted; closures; strings; a queue that is filled and emptied. */
static const char WORK[] =
    "local seed, counts, list = 42, {}, {}\n"
    "for i = 1, 50000 do\n"
    "  seed = (seed * 1103515245 + 12345) % 2147483648\n"
    "  local word = 'word' .. seed % 1000\n"
    "  counts[word] = (counts[word] or 0) + 1\n"
    "end\n"
    "for word, count in pairs(counts) do list[#list + 1] = {word, count} end\n"
    "table.sort(list, function(a, b) return a[2] == b[2] and a[1] < b[1] or a[2] > b[2] end)\n"
    "local text = {}\n"
    "for i, entry in ipairs(list) do text[i] = ('%s=%d'):format(entry[1], entry[2]) end\n"
    "local all = table.concat(text, ',')\n"
    "for round = 1, 20 do\n"
    "  local queue = {}\n"
    "  for i = 1, 5000 do queue[i] = function() return i end end\n"
    "  while #queue > 0 do assert(table.remove(queue)() == #queue + 1) end\n"
    "end\n"
    "return #list + select(2, all:gsub('=', ''))\n";

/* Takes memory until it is refused, frees it, and goes on. */
static const char EATS[] =
    "local function eat()\n"
    "  local held = {}\n"
    "  for i = 1, 1e9 do held[i] = ('x'):rep(1000) .. i end\n"
    "end\n"
    "local refused = 0\n"
    "for round = 1, 3 do\n"
    "  local done, why = pcall(eat)\n"
    "  assert(not done and why == 'not enough memory', why)\n"
    "  refused = refused + 1\n"
    "  local sum = 0\n"
    "  for i = 1, 1000 do sum = sum + #tostring(i) end\n"
    "  assert(sum == 2893)\n"
    "end\n"
    "return refused\n";

static HEXPERTKEY register_key(const char *name, SIZE_T quota)
{
    DWORD error;
    HEXPERTKEY key = ExpertRegisterKey(name, quota, &error);
    CHECK(key != NULL && error == NMERR_SUCCESS);
    return key;
}

static lua_State *open_state(HEXPERTKEY key)
{
    lua_State *L = lua_newstate(ExpertLuaAlloc, key);
    CHECK(L != NULL && ExpertOwnerOf(L) == key);
    luaL_openlibs(L);
    return L;
}

static lua_Integer run(lua_State *L, const char *script)
{
    if (luaL_dostring(L, script) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        exit(1);
    }
    lua_Integer result = lua_tointeger(L, -1);
    lua_settop(L, 0);
    return result;
}

static EXPERTMEMORYSTATS stats(HEXPERTKEY key)
{
    EXPERTMEMORYSTATS held;
    CHECK(ExpertGetMemoryStats(key, &held) == NMERR_SUCCESS);
    return held;
}

int main(void)
{
    EXPERTRECLAIMED report;
    HEXPERTKEY works = register_key("works", 64 << 20), eats = register_key("eats", 4 << 20);
    lua_State *worker = open_state(works), *eater = open_state(eats);
    CHECK(run(worker, WORK) == 2000);
    CHECK(run(eater, EATS) == 3);
    CHECK(stats(eats).refusals >= 3 && stats(eats).peak_bytes <= 4 << 20);
    CHECK(stats(eats).peak_bytes > 3 << 20);
    CHECK(run(eater, WORK) == 2000 && run(worker, WORK) == 2000);
    CHECK(stats(works).refusals == 0);

    /* One state is closed and leaves nothing; the other is not closed, and all of
     * its memory comes back. */
    lua_close(worker);
    CHECK(stats(works).live_blocks == 0);
    CHECK(ExpertReclaimKey(works, &report) == NMERR_SUCCESS && report.blocks == 0);
    SIZE_T held = stats(eats).live_blocks;
    CHECK(held > 100 && ExpertReclaimKey(eats, &report) == NMERR_SUCCESS);
    CHECK(report.blocks == held);

    /* A state whose expert is told to stop still shrinks and frees. */
    HEXPERTKEY stopped = register_key("stopped", 0);
    lua_State *last = open_state(stopped);
    CHECK(run(last, WORK) == 2000);
    CHECK(ExpertTerminateKey(stopped) == NMERR_SUCCESS);
    CHECK(luaL_dostring(last, EATS) != 0);
    lua_gc(last, LUA_GCCOLLECT, 0);
    lua_close(last);
    CHECK(ExpertReclaimKey(stopped, &report) == NMERR_SUCCESS && report.blocks == 0);
    puts("lua");
    return 0;
}
