/* expert_sqlite.h - SQLite on one expert's memory: its quota limits all databases of
 * the process, and its figures are SQLite's. SQLite 3.6.23 and later.
 *
 *   HEXPERTKEY key = ExpertRegisterKey("sqlite", 64 << 20, &error);
 *   ExpertSqliteUse(key);                 before sqlite3_initialize or sqlite3_open
 *   ...
 *   sqlite3_shutdown();
 *   ExpertReclaimKey(key, NULL);
 *
 * Beyond the quota, calls return SQLITE_NOMEM. Include this header in one file only. */
#ifndef EXPERT_SQLITE_H
#define EXPERT_SQLITE_H

#include <sqlite3.h>

#include "expert_alloc.h"

/* SQLite hands no context to these calls. */
static HEXPERTKEY expert_sqlite_key;

static void *expert_sqlite_malloc(int size)
{
    return size <= 0 ? NULL : ExpertAllocAligned(expert_sqlite_key, (SIZE_T)size, 16, 0, NULL);
}

static void expert_sqlite_free(void *block)
{
    ExpertFreeMemory(expert_sqlite_key, block);
}

static void *expert_sqlite_realloc(void *block, int size)
{
    return ExpertReallocMemory(expert_sqlite_key, block, size < 0 ? 0 : (SIZE_T)size, NULL);
}

static int expert_sqlite_size(void *block)
{
    return (int)ExpertMemorySize(expert_sqlite_key, block);
}

static int expert_sqlite_roundup(int size)
{
    return size > 0x7FFFFFF0 ? size : (size + 7) & ~7;
}

static int expert_sqlite_init(void *unused)
{
    (void)unused;
    return SQLITE_OK;
}

static void expert_sqlite_shutdown(void *unused)
{
    (void)unused;
}

/* Returns SQLITE_OK, or SQLITE_MISUSE if SQLite is in use already. */
static int ExpertSqliteUse(HEXPERTKEY key)
{
    static const sqlite3_mem_methods methods = {
        expert_sqlite_malloc,  expert_sqlite_free, expert_sqlite_realloc,
        expert_sqlite_size,    expert_sqlite_roundup, expert_sqlite_init,
        expert_sqlite_shutdown, NULL,
    };
    int code = sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
    if (code == SQLITE_OK)
        expert_sqlite_key = key;
    return code;
}

#endif /* EXPERT_SQLITE_H */
