/* expert_lua.h - an expert for each Lua state: its quota limits the script, and the
 * state's memory comes back in one call, closed or not. Lua 5.1 and later.
 *
 *   HEXPERTKEY key = ExpertRegisterKey("script", 1 << 20, &error);
 *   lua_State *L = lua_newstate(ExpertLuaAlloc, key);
 *   ...
 *   ExpertReclaimKey(key, NULL);          instead of, or after, lua_close(L)
 *
 * Beyond the quota Lua raises "not enough memory" after a full collection; the script
 * may catch it and go on. */
#ifndef EXPERT_LUA_H
#define EXPERT_LUA_H

#include "expert_alloc.h"

/* A lua_Alloc whose ud is the key. */
static void *ExpertLuaAlloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    HEXPERTKEY key = (HEXPERTKEY)ud;
    void *moved;
    if (nsize == 0) {
        ExpertFreeMemory(key, ptr);
        return NULL;
    }
    /* Without a block, osize is the kind of the new object. */
    if (ptr == NULL)
        return ExpertAllocAligned(key, nsize, 16, 0, NULL);
    moved = ExpertReallocMemory(key, ptr, nsize, NULL);
    /* Shrinking must not fail, so an expert that must stop keeps the block as it is. */
    return moved == NULL && nsize <= osize ? ptr : moved;
}

#endif /* EXPERT_LUA_H */
