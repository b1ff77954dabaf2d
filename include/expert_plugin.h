/* expert_plugin.h - the interface between a plug-in and its host. See docs/plugins.md.
 *
 * A plug-in is a shared library with three entry points, those of Network Monitor:
 *
 *   Register   gives the plug-in's name and description
 *   Configure  may make a configuration, with the key of that run; the configuration
 *              outlives the key, because the host transfers it to itself
 *   Run        does the work, with a key and on a thread of its own
 *
 * In C and C++, EXPERT_PLUGIN defines Register and the probe by which the host
 * finds out whether the plug-in uses the host's heap:
 *
 *   #include "expert_plugin.h"
 *   EXPERT_PLUGIN("bytes", "counts bytes")
 *
 * The plug-in is linked without the library: the loader binds its calls to the host's.
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

/* The description of a plug-in, which the host fills with zeros, and Register fills
 * in. */
typedef struct {
    char  szName[64];
    char  szDescription[192];
    DWORD Version;
} EXPERTENUMINFO;

/* A configuration: this struct, and RawConfigLength bytes behind it. */
typedef struct {
    DWORD RawConfigLength;
} EXPERTCONFIG;

/* The address of the bytes of a configuration. */
#define EXPERT_CONFIG_DATA(config) ((unsigned char *)((config) + 1))

/* The data of a run, and its result. */
typedef struct {
    SIZE_T      size;       /* of this struct, as the host knows it */
    const void *data;
    SIZE_T      data_bytes;
    uint64_t    result;     /* by the plug-in */
} EXPERTSTARTUPINFO;

/* The entry points return NMERR_SUCCESS or an error. Configure is optional: *config
 * is the configuration of last time, or NULL, and is a block of the key, which
 * ExpertReallocMemory resizes. */
EXPERT_EXPORT DWORD WINAPI Register(EXPERTENUMINFO *info);
EXPERT_EXPORT DWORD WINAPI Configure(HEXPERTKEY key, EXPERTCONFIG **config,
                                     const EXPERTSTARTUPINFO *startup);
EXPERT_EXPORT DWORD WINAPI Run(HEXPERTKEY key, const EXPERTCONFIG *config,
                               EXPERTSTARTUPINFO *startup);

/* The identity of the heap that the plug-in's calls reach. */
EXPERT_EXPORT const void *WINAPI ExpertPluginHeap(void);

/* Defines Register and ExpertPluginHeap; it stands once in a plug-in. */
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

/* The host's calls, which are handed over when the plug-in is loaded, so it finds
 * nothing by name. Later versions append fields, and size tells how many there are.
 * The table stays for ever. */
typedef struct {
    SIZE_T      size;     /* of this struct, as the host knows it */
    const void *identity; /* of the heap */

    /* Calls for a key from ExpertRegisterPlugin. A block is freed with the size
     * and alignment that it was allocated with. The result is NULL if there is
     * no memory. A quota does not refuse, but the expert counts as overdrawn. */
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

/* A plug-in that needs the table defines this; it is called once, before any other
 * entry point. */
EXPERT_EXPORT DWORD WINAPI ExpertPluginAttach(const EXPERTHOST *host, HEXPERTKEY key);

/* ---- for the host --------------------------------------------------------- */

/* The host's table. */
const EXPERTHOST *WINAPI ExpertHostTable(void);

/* Registers a key for a loaded plug-in. The key owns the blocks of the plug-in's
 * allocator, which its statics and threads use until the library is gone. Otherwise
 * as ExpertRegisterKey. */
HEXPERTKEY WINAPI ExpertRegisterPlugin(const char *name, SIZE_T quota, DWORD *error);

/* Ends such a key and takes back all of its memory. The library must really be
 * unloaded: while any thread has data of the library, it stays in memory and uses
 * its blocks. */
DWORD WINAPI ExpertReclaimPlugin(HEXPERTKEY key, EXPERTRECLAIMED *report);

/* Calls function in the scope of key, and leaves the scope however function ends.
 * NMERR_INTERNAL_EXCEPTION means that it threw, or left by longjmp to a place
 * outside; the jump is not done, and the host goes on (x86-64 Linux with glibc). If
 * it ended its thread, the thread ends after the scope is left. */
DWORD WINAPI ExpertCall(HEXPERTKEY key, void (*function)(LPVOID), LPVOID context);

/* Finds out whether a library that was just loaded uses this heap. Returns NULL, or
 * the problem in words. lookup returns the address of a name in the library, or
 * NULL. */
const char *WINAPI ExpertProbePlugin(LPVOID (*lookup)(LPVOID, const char *), LPVOID context);

#ifdef __cplusplus
}
#endif

#endif /* EXPERT_PLUGIN_H */
