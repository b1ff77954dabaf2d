/* expert_alloc.h - memory for programs that host other people's code.
 *
 * Build the library:
 *
 *   cargo rustc --release --lib --crate-type cdylib    --features capi
 *   cargo rustc --release --lib --crate-type staticlib --features capi
 *
 * An expert is a plug-in, or one run of one. The host registers a key for each
 * run, the plug-in allocates with the key, and at the end of the run, failed
 * or not, the host reclaims: whatever the expert has not freed comes back.
 *
 * Rules for all calls
 *   - Any thread may use any key. Key and pointer are checked, never followed:
 *     a wrong one is an error, not a crash.
 *   - A key is of one expert only, ever. Once the expert has ended, the key is
 *     refused.
 *   - *error is written on success and on failure; the pointer may be NULL.
 *   - No C++ exception and no Rust panic comes out of a call.
 *   - A function that a call is given (a clean-up, say) may be left by throwing,
 *     by ending its thread (pthread_exit, pthread_cancel) and by longjmp to a
 *     place outside the call, on x86-64 Linux with glibc. The call finishes its
 *     work, then the thread ends, or the jump is done. Elsewhere it must return:
 *     an exception or the thread's end ends the process, a longjmp is undefined.
 *
 * The first four calls are those of Network Monitor 2.
 */
#ifndef EXPERT_ALLOC_H
#define EXPERT_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* The version of this header, as the shared object's: 0 is its SONAME's. */
#define EXPERT_ALLOC_VERSION_MAJOR 0
#define EXPERT_ALLOC_VERSION_MINOR 1
#define EXPERT_ALLOC_VERSION_PATCH 0

/* The types of the Win32 API, where there is none. */
#ifdef _WIN32
#include <windows.h>
#else
#ifndef WINAPI
#define WINAPI /* __stdcall on 32-bit Windows, nothing elsewhere */
#endif
typedef uint32_t DWORD;
typedef DWORD *LPDWORD;
typedef size_t SIZE_T;
typedef void *LPVOID;
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Who owns a block. Opaque; not an address. */
typedef void *HEXPERTKEY;

/* The host itself: it has a key too, without a quota, which never ends. */
#define EXPERT_HOST_KEY ((HEXPERTKEY)(((uintptr_t)1 << (sizeof(void *) * 4)) | 1))

#ifndef NMERR_SUCCESS
#define NMERR_SUCCESS                 0
#define NMERR_OUT_OF_MEMORY          19 /* no more in the system or the quota */
#define NMERR_INTERNAL_EXCEPTION     69 /* a clean-up failed during reclaim */
#define NMERR_ACCESS_DENIED          74 /* the block, or expert, is another's */
#define NMERR_INVALID_PARAMETER      76 /* not a live block of this heap */
#define NMERR_EXPERT_TERMINATE      125 /* the host wants this expert to stop */
#endif
#ifndef NMERR_INVALID_EXPERT_HANDLE
#define NMERR_INVALID_EXPERT_HANDLE 130 /* no live expert has this key */
#endif

/* What an expert holds. Sizes are in bytes. */
typedef struct {
    SIZE_T   live_bytes;    /* in blocks handed out and not freed */
    SIZE_T   live_blocks;
    SIZE_T   peak_bytes;    /* the most that charged_bytes ever was */
    SIZE_T   charged_bytes; /* what counts against the quota */
    SIZE_T   quota;         /* 0: none */
    uint64_t allocations;   /* blocks handed out so far */
    uint64_t frees;         /* blocks freed so far */
    uint64_t refusals;      /* requests refused */
} EXPERTMEMORYSTATS;

/* What the end of an expert brought back. */
typedef struct {
    SIZE_T   blocks;          /* still live, taken back */
    SIZE_T   bytes;
    SIZE_T   adopted_blocks;  /* still live, the host's now */
    SIZE_T   adopted_bytes;
    SIZE_T   cleanups_run;
    SIZE_T   cleanups_failed; /* of these, how many threw */
    uint64_t elapsed_ns;
} EXPERTRECLAIMED;

/* How an expert stands. */
typedef enum {
    EXPERT_STATE_LIVE           = 0, /* it may allocate */
    EXPERT_STATE_TERMINATED     = 1, /* the host has told it to stop */
    EXPERT_STATE_OVERDRAWN      = 2, /* it was granted more than its quota */
    EXPERT_STATE_PARENT_STOPPED = 3, /* its parent has ended or is to stop */
    EXPERT_STATE_CLOSING        = 4  /* its clean-ups run */
} EXPERT_STATE;

/* Who an expert is. */
typedef struct {
    char       name[64];   /* UTF-8, ended by a 0 */
    HEXPERTKEY parent;     /* the nearest one that has not ended; NULL: none */
    SIZE_T     soft_quota; /* 0: none */
    DWORD      state;      /* an EXPERT_STATE; later versions may have more */
} EXPERTINFO;

/* How much one expert holds, and the five who hold most, the largest first. */
typedef struct {
    HEXPERTKEY key;
    SIZE_T     charged_bytes; /* to it and all below it */
    char       name[64];
} EXPERTHOLDING;

typedef struct {
    SIZE_T        count;
    EXPERTHOLDING holdings[5];
} EXPERTLARGEST;

/* All that can be asked for when an expert is registered. */
typedef struct {
    SIZE_T      size;       /* of this struct */
    const char *name;
    HEXPERTKEY  parent;     /* EXPERT_HOST_KEY: none */
    SIZE_T      quota;      /* 0: none */
    SIZE_T      soft_quota; /* 0: none */
    SIZE_T      guarantee;  /* bytes of the parent's room that are set aside for it */
    DWORD       flags;      /* EXPERT_REFUSE_OVERDRAFT, or 0 */
} EXPERTREQUEST;

/* In scopes, requests beyond the quota are refused too. Most programs in C++ and Rust
 * end then; without this they are granted, and the expert is to stop. */
#define EXPERT_REFUSE_OVERDRAFT 1

/* What may happen to an expert. */
typedef enum {
    EXPERT_EVENT_REGISTERED = 0,
    EXPERT_EVENT_SOFT_QUOTA = 1, /* more than that is charged: bytes */
    EXPERT_EVENT_REFUSED    = 2, /* so many requests since the last look: refusals */
    EXPERT_EVENT_OVERDRAWN  = 3, /* it was granted more than its quota: bytes */
    EXPERT_EVENT_STOPPED    = 4,
    EXPERT_EVENT_ENDED      = 5, /* with this: reclaimed */
    EXPERT_EVENT_REFUSING   = 6  /* a quota has no room for bytes more: that of by */
} EXPERT_EVENT;

typedef struct {
    SIZE_T          size;      /* of this struct, as the library knows it */
    DWORD           kind;      /* an EXPERT_EVENT; later versions may have more */
    DWORD           retry;     /* set by the observer: not 0 to try once more */
    HEXPERTKEY      key;
    HEXPERTKEY      parent;    /* NULL: none; nor with EXPERT_EVENT_REFUSING */
    HEXPERTKEY      by;
    SIZE_T          bytes;
    SIZE_T          refusals;
    char            name[64];
    EXPERTLARGEST   largest;   /* of the quota, where one has refused, or is about to */
    EXPERTRECLAIMED reclaimed;
} EXPERTEVENT;

/* ---- for experts ------------------------------------------------------- */

/* A block of nBytes, zero-filled, 16-byte aligned; NULL on failure. For 0
 * bytes too: a block of its own, to be freed like any other. */
LPVOID WINAPI ExpertAllocMemory(HEXPERTKEY hExpertKey, SIZE_T nBytes, LPDWORD pError);

/* Resizes a block, which may move; what is new is zero-filled. NULL on
 * failure: the block is then untouched. A block of NULL is an alloc. */
LPVOID WINAPI ExpertReallocMemory(HEXPERTKEY hExpertKey, LPVOID pOriginalMemory, SIZE_T nBytes,
                                  LPDWORD pError);

/* Frees a block; NULL is fine. For an expert that is to stop it frees, and
 * then returns NMERR_EXPERT_TERMINATE. */
DWORD WINAPI ExpertFreeMemory(HEXPERTKEY hExpertKey, LPVOID pOriginalMemory);

/* The bytes asked for; 0 for what is not a live block of this key. */
SIZE_T WINAPI ExpertMemorySize(HEXPERTKEY hExpertKey, LPVOID pOriginalMemory);

/* As ExpertAllocMemory, aligned to a power of two of up to 1 GiB, and zero-filled
 * only where zeroed is not 0. The calls above take the block like any other, and
 * it keeps its alignment when it is resized or given away. It counts as size and
 * alignment together where the alignment is more than 16. */
LPVOID WINAPI ExpertAllocAligned(HEXPERTKEY key, SIZE_T size, SIZE_T alignment, int zeroed,
                                 DWORD *error);

/* Whether the expert is to stop: NMERR_SUCCESS, NMERR_EXPERT_TERMINATE (for whatever
 * reason), NMERR_INVALID_EXPERT_HANDLE. For loops that allocate nothing. */
DWORD WINAPI ExpertCheck(HEXPERTKEY key);

/* A number of the heap that this call reaches: there is to be one in a process. */
const void *WINAPI ExpertHeapIdentity(void);

/* ---- for the host ------------------------------------------------------ */

/* A new expert; NULL on failure. The name is copied, up to 63 bytes of UTF-8.
 * A quota of 0 is none. */
HEXPERTKEY WINAPI ExpertRegisterKey(const char *name, SIZE_T quota, DWORD *error);

/* As ExpertRegisterKey, below a parent: what is charged to the child is charged to
 * the parent too, whose quota counts as well, and the child is to stop when the
 * parent is told to stop or ends. EXPERT_HOST_KEY for a child of nobody's. What is
 * charged beyond soft_quota is reported and not refused; 0 is none. */
HEXPERTKEY WINAPI ExpertRegisterChild(HEXPERTKEY parent, const char *name, SIZE_T quota,
                                      SIZE_T soft_quota, DWORD *error);

/* As ExpertRegisterChild, with all that can be asked for. NMERR_INVALID_PARAMETER for a
 * request of NULL, or one that is too short. */
HEXPERTKEY WINAPI ExpertRegister(const EXPERTREQUEST *request, DWORD *error);

/* Changes a quota from now on; 0 is none. Below what is charged already nothing is
 * taken away, and new requests are refused. */
DWORD WINAPI ExpertSetQuota(HEXPERTKEY key, SIZE_T quota);
DWORD WINAPI ExpertSetSoftQuota(HEXPERTKEY key, SIZE_T soft_quota);

/* Moves bytes of one quota to another, if they are not in use: NMERR_OUT_OF_MEMORY
 * where they are, or nothing would be left. */
DWORD WINAPI ExpertGiveRoom(HEXPERTKEY from, HEXPERTKEY to, SIZE_T bytes);

/* Lets an expert go on that was granted more than its quota, if what is charged is
 * within the quotas again; NMERR_EXPERT_TERMINATE where it is not. */
DWORD WINAPI ExpertForgive(HEXPERTKEY key);

/* Gives back what the expert was charged for and does not use, as far as this thread
 * knows it; how many bytes. */
SIZE_T WINAPI ExpertTrim(HEXPERTKEY key);

/* How many bytes this process may have, by its limits and the machine's memory. */
SIZE_T WINAPI ExpertSystemLimit(void);

/* Tells an expert to stop, for good: alloc and realloc are refused with
 * NMERR_EXPERT_TERMINATE from here on. */
DWORD WINAPI ExpertTerminateKey(HEXPERTKEY key);

/* Ends an expert: its clean-ups run, last registered first, then its memory is
 * taken back. Waits for calls by this key in other threads. report may be NULL.
 * NMERR_INTERNAL_EXCEPTION where a clean-up threw: all the rest is done.
 * NMERR_ACCESS_DENIED for the host's key, and for experts of Rust code, which
 * end there. */
DWORD WINAPI ExpertReclaimKey(HEXPERTKEY key, EXPERTRECLAIMED *report);

/* As ExpertReclaimKey, with what the expert has allocated in scopes, which is not
 * adopted. Nothing may refer to that any more when the last clean-up has returned,
 * and no thread may be in a scope of the expert. */
DWORD WINAPI ExpertReclaimAll(HEXPERTKEY key, EXPERTRECLAIMED *report);

/* Gives a block to another key, with its charge: where it is now (it may
 * move), or NULL, and then it is untouched. The host keeps what shall outlive
 * an expert by transferring it to EXPERT_HOST_KEY. */
LPVOID WINAPI ExpertTransferMemory(HEXPERTKEY from, LPVOID memory, HEXPERTKEY to, DWORD *error);

/* Registers what to call, once, when the expert ends, before its memory goes.
 * The key is still valid then, as for an expert that is to stop. One that does
 * not return (see above) counts as failed; those that are left run, and the
 * memory is taken back all the same. NMERR_ACCESS_DENIED for a key from
 * ExpertRegisterPlugin, which ends when the code of the plug-in is gone. */
DWORD WINAPI ExpertOnReclaim(HEXPERTKEY key, void (*cleanup)(LPVOID), LPVOID context);

/* What an expert holds. */
DWORD WINAPI ExpertGetMemoryStats(HEXPERTKEY key, EXPERTMEMORYSTATS *stats);

/* What an expert and all its children hold; EXPERT_HOST_KEY: what all hold. */
DWORD WINAPI ExpertGetSubtreeStats(HEXPERTKEY key, EXPERTMEMORYSTATS *stats);

/* Who holds most of the quota that has the least room for an expert, its own or that
 * of one above; and its children that hold most. EXPERT_HOST_KEY: of all memory. All
 * experts are looked at. */
DWORD WINAPI ExpertGetLargestHolders(HEXPERTKEY key, EXPERTLARGEST *holders);
DWORD WINAPI ExpertGetLargestChildren(HEXPERTKEY key, EXPERTLARGEST *children);

/* The error of a call for an expert in words, which name the five who hold most where
 * it is one of too little memory. As things are now, so ask at once. Writes at most
 * size bytes, the 0 at the end included, and gives the length of the whole text, as
 * snprintf does: 0 for what is no error. */
SIZE_T WINAPI ExpertExplain(HEXPERTKEY key, DWORD error, char *text, SIZE_T size);

/* Calls observer when something happens to an expert, and before an expert is refused
 * for want of quota: it may free memory, raise quotas, or tell another to stop, and set
 * retry. One at a time; NULL for none. It is called from any thread, as the host, and
 * its own thread tells it nothing meanwhile. It should return: a throw or a jump ends
 * there, and counts as no answer. */
DWORD WINAPI ExpertObserve(void (*observer)(EXPERTEVENT *, LPVOID), LPVOID context);

/* Who an expert is. */
DWORD WINAPI ExpertGetInfo(HEXPERTKEY key, EXPERTINFO *info);

/* Calls callback with the host's key, then with that of each expert, in no
 * particular order. An expert may end meanwhile, and its key is refused then. The
 * callback may call whatever it likes. NMERR_INTERNAL_EXCEPTION where it threw,
 * and it was not called again. */
DWORD WINAPI ExpertEnumerate(void (*callback)(HEXPERTKEY, LPVOID), LPVOID context);

/* Makes key the owner of what this thread allocates through the global allocator
 * (of a Rust host, or of a process with this library's malloc), until ExpertLeave.
 * Scopes nest. NMERR_INVALID_PARAMETER from ExpertLeave without ExpertEnter. */
DWORD WINAPI ExpertEnter(HEXPERTKEY key);
DWORD WINAPI ExpertLeave(void);

/* Whose scope this thread is in; EXPERT_HOST_KEY in none. */
HEXPERTKEY WINAPI ExpertCurrentKey(void);

/* Gives free memory back to the system at once. */
void WINAPI ExpertPurge(void);

/* Whose block memory points to or into; NULL: not ours. Nothing is read there,
 * so any address may be given, and a block that was freed, unless it came from
 * ExpertAllocMemory, may still be said to be its owner's. */
HEXPERTKEY WINAPI ExpertOwnerOf(const void *memory);

#ifdef __cplusplus
}
#endif

#endif /* EXPERT_ALLOC_H */
