/* expert_plugin.h - what a plug-in and its host agree on. See docs/plugins.md.
 *
 * A plug-in is a shared library with three entry points, those of Network Monitor:
 *
 *   Register   says what it is
 *   Configure  may make a configuration, with the key of that run; it outlives
 *              the key, because the host transfers it to itself
 *   Run        does the work, with a key and on a thread of its own
 *
 * In C and C++, EXPERT_PLUGIN defines Register and the probe by which the host
 * finds out whether the plug-in uses the host's heap:
 *
 *   #include "expert_plugin.h"
 *   EXPERT_PLUGIN("bytes", "counts bytes")
 *
 * The plug-in is linked without the library: its calls find the host's.
 * Rust plug-ins use the crate expert-alloc-plugin instead, and no header.
 */
#ifndef EXPERT_PLUGIN_H
#define EXPERT_PLUGIN_H

#include "expert_alloc.h"

#if defined(_WIN32)
#define EXPERT_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define EXPERT_EXPORT __attribute__((visibility("default")))
#else
#define EXPERT_EXPORT
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- entry points of a plug-in ------------------------------------------ */

/* What a plug-in is: zero-filled by the host, filled by Register. */
typedef struct {
    char  szName[64];
    char  szDescription[192];
    DWORD Version;
} EXPERTENUMINFO;

/* A configuration: this, and RawConfigLength bytes behind it. */
typedef struct {
    DWORD RawConfigLength;
} EXPERTCONFIG;

/* Where the bytes of a configuration are. */
#define EXPERT_CONFIG_DATA(config) ((unsigned char *)((config) + 1))

/* What a run works on, and what comes out. */
typedef struct {
    SIZE_T      size;       /* of this struct, as the host knows it */
    const void *data;
    SIZE_T      data_bytes;
    uint64_t    result;     /* by the plug-in */
} EXPERTSTARTUPINFO;

/* NMERR_SUCCESS, or why not. Configure is optional: *config is what it was given
 * last time, or NULL, and stays a block of the key: ExpertReallocMemory. */
EXPERT_EXPORT DWORD WINAPI Register(EXPERTENUMINFO *info);
EXPERT_EXPORT DWORD WINAPI Configure(HEXPERTKEY key, EXPERTCONFIG **config,
                                     const EXPERTSTARTUPINFO *startup);
EXPERT_EXPORT DWORD WINAPI Run(HEXPERTKEY key, const EXPERTCONFIG *config,
                               EXPERTSTARTUPINFO *startup);

/* The heap that the plug-in's calls reach. */
EXPERT_EXPORT const void *WINAPI ExpertPluginHeap(void);

/* Defines Register and ExpertPluginHeap: once in a plug-in. */
#define EXPERT_PLUGIN(name, description)                                            \
    EXPERT_EXPORT DWORD WINAPI Register(EXPERTENUMINFO *info)                       \
    {                                                                               \
        static const char its_name[] = name, its_description[] = description;      \
        SIZE_T i;                                                                   \
        for (i = 0; i < sizeof its_name && i + 1 < sizeof info->szName; i++)        \
            info->szName[i] = its_name[i];                                          \
        for (i = 0; i < sizeof its_description && i + 1 < sizeof info->szDescription; i++) \
            info->szDescription[i] = its_description[i];                            \
        info->Version = 1;                                                          \
        return NMERR_SUCCESS;                                                       \
    }                                                                               \
    EXPERT_EXPORT const void *WINAPI ExpertPluginHeap(void)                         \
    {                                                                               \
        return ExpertHeapIdentity();                                                \
    }

/* ---- the table, for plug-ins whose allocator is the host's heap ---------- */

/* The host's calls, handed over at load, so that nothing has to be found by name.
 * Later versions append; size says how far it goes. It stays for ever. */
typedef struct {
    SIZE_T      size;     /* of this struct, as the host knows it */
    const void *identity; /* of the heap */

    /* For a key from ExpertRegisterPlugin: blocks that are freed with the size and
     * alignment that they were allocated with. NULL where there is no memory; a
     * quota does not refuse, but the expert counts as overdrawn. */
    LPVOID (*allocate)(HEXPERTKEY key, SIZE_T size, SIZE_T alignment);
    LPVOID (*allocate_zeroed)(HEXPERTKEY key, SIZE_T size, SIZE_T alignment);
    void (*release)(LPVOID block, SIZE_T size, SIZE_T alignment);
    LPVOID (*resize)(HEXPERTKEY key, LPVOID block, SIZE_T size, SIZE_T alignment,
                     SIZE_T new_size);

    /* ExpertAllocMemory and so on. */
    LPVOID (WINAPI *alloc_memory)(HEXPERTKEY, SIZE_T, LPDWORD);
    LPVOID (WINAPI *realloc_memory)(HEXPERTKEY, LPVOID, SIZE_T, LPDWORD);
    DWORD (WINAPI *free_memory)(HEXPERTKEY, LPVOID);
    SIZE_T (WINAPI *memory_size)(HEXPERTKEY, LPVOID);
    LPVOID (WINAPI *alloc_aligned)(HEXPERTKEY, SIZE_T, SIZE_T, int, LPDWORD);
    DWORD (WINAPI *on_reclaim)(HEXPERTKEY, void (*)(LPVOID), LPVOID);
    DWORD (WINAPI *memory_stats)(HEXPERTKEY, EXPERTMEMORYSTATS *);
    DWORD (WINAPI *check)(HEXPERTKEY);
} EXPERTHOST;

/* In a plug-in that wants the table: called once, before any other entry point. */
EXPERT_EXPORT DWORD WINAPI ExpertPluginAttach(const EXPERTHOST *host, HEXPERTKEY key);

/* ---- for the host --------------------------------------------------------- */

/* The host's table. */
const EXPERTHOST *WINAPI ExpertHostTable(void);

/* A key for a plug-in that is loaded, for what its allocator hands out: its
 * statics and threads use that until the library is gone. As ExpertRegisterKey. */
HEXPERTKEY WINAPI ExpertRegisterPlugin(const char *name, SIZE_T quota, DWORD *error);

/* Ends such a key, once the library is unloaded, really: while a thread lives that
 * has data of the library's, it stays in memory, and uses its own. All of its
 * memory is taken back. */
DWORD WINAPI ExpertReclaimPlugin(HEXPERTKEY key, EXPERTRECLAIMED *report);

/* Calls function in the scope of key, which is left in whatever way function is.
 * NMERR_INTERNAL_EXCEPTION where it threw, or left by longjmp to a place outside:
 * the jump is not done, and the host goes on (x86-64 Linux with glibc). Where it
 * ended its thread, the thread ends when the scope is left. */
DWORD WINAPI ExpertCall(HEXPERTKEY key, void (*function)(LPVOID), LPVOID context);

/* Finds out whether a library that was just loaded uses this heap: NULL, or what is
 * wrong, in words. lookup gives the address of a name in the library, or NULL. */
const char *WINAPI ExpertProbePlugin(LPVOID (*lookup)(LPVOID, const char *), LPVOID context);

#ifdef __cplusplus
}
#endif

#endif /* EXPERT_PLUGIN_H */
