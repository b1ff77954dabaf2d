/* expert_alloc.h - memory for programs that host other people's code.
 *
 * Build the library:
 *
 *   cargo rustc --release --lib --crate-type cdylib    --features capi
 *   cargo rustc --release --lib --crate-type staticlib --features capi
 *
 * An expert is a plug-in, or one run of one. The host registers a key for each
 * run, the plug-in allocates with the key, and at the end of the run, failed
 * or not, the host reclaims all memory that the expert has not freed.
 *
 * Rules for all calls
 *   - Any thread may use any key. Key and pointer are checked, never followed:
 *     a wrong one is an error, not a crash.
 *   - A key is given to one expert only. Once the expert has ended, the key is
 *     refused.
 *   - *error is written on success and on failure; the pointer may be NULL.
 *   - No C++ exception and no Rust panic leaves a call.
 *   - A function that is passed to a call, such as a clean-up, may be left by throwing,
 *     by ending its thread (pthread_exit, pthread_cancel) and by longjmp to a
 *     place outside the call, on x86-64 Linux with glibc. The call finishes its
 *     work, then the thread ends, or the jump is done. Elsewhere it must return:
 *     an exception or the thread's end ends the process, and a longjmp is undefined.
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

/* The types of the Win32 API, for systems without it. */
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

/* A key: the owner of a block. It is opaque, and no address. */
typedef void *HEXPERTKEY;

/* The key of the host itself, which has no quota and never ends. */
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

/* The memory of an expert. Sizes are in bytes. */
typedef struct {
    SIZE_T   live_bytes;    /* in blocks handed out and not freed */
    SIZE_T   live_blocks;
    SIZE_T   peak_bytes;    /* the highest charged_bytes so far */
    SIZE_T   charged_bytes; /* the bytes that count against the quota */
    SIZE_T   quota;         /* 0: none */
    uint64_t allocations;   /* blocks handed out so far */
    uint64_t frees;         /* blocks freed so far */
    uint64_t refusals;      /* requests refused */
} EXPERTMEMORYSTATS;

/* The memory that the end of an expert brought back. */
typedef struct {
    SIZE_T   blocks;          /* live blocks that were taken back */
    SIZE_T   bytes;
    SIZE_T   adopted_blocks;  /* live blocks that are the host's now */
    SIZE_T   adopted_bytes;
    SIZE_T   cleanups_run;
    SIZE_T   cleanups_failed; /* how many of these failed */
    uint64_t elapsed_ns;
} EXPERTRECLAIMED;

/* The state of an expert. */
typedef enum {
    EXPERT_STATE_LIVE           = 0, /* it may allocate */
    EXPERT_STATE_TERMINATED     = 1, /* the host has told it to stop */
    EXPERT_STATE_OVERDRAWN      = 2, /* it was granted more than its quota */
    EXPERT_STATE_PARENT_STOPPED = 3, /* its parent has ended or must stop */
    EXPERT_STATE_CLOSING        = 4  /* its clean-ups run */
} EXPERT_STATE;

/* The description of an expert. */
typedef struct {
    char       name[64];   /* UTF-8, ended by a 0 */
    HEXPERTKEY parent;     /* the nearest ancestor that has not ended; NULL: none */
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

/* Returns a block of nBytes, zero-filled and 16-byte aligned; NULL on failure. For
 * 0 bytes, too, it is a block of its own, which is freed like any other. */
LPVOID WINAPI ExpertAllocMemory(HEXPERTKEY hExpertKey, SIZE_T nBytes, LPDWORD pError);

/* Resizes a block, which may move; new bytes are zero-filled. Returns NULL on
 * failure, and the block is then untouched. For a block of NULL, allocates. */
LPVOID WINAPI ExpertReallocMemory(HEXPERTKEY hExpertKey, LPVOID pOriginalMemory, SIZE_T nBytes,
                                  LPDWORD pError);

/* Frees a block; for NULL, does nothing. If the expert must stop, the block is
 * freed, and the result is NMERR_EXPERT_TERMINATE. */
DWORD WINAPI ExpertFreeMemory(HEXPERTKEY hExpertKey, LPVOID pOriginalMemory);

/* Returns the size that was asked for; 0 for any address that is no live block of
 * this key. */
SIZE_T WINAPI ExpertMemorySize(HEXPERTKEY hExpertKey, LPVOID pOriginalMemory);

/* As ExpertAllocMemory, aligned to a power of two of up to 1 GiB, and zero-filled
 * only if zeroed is not 0. The calls above take the block like any other, and it
 * keeps its alignment when it is resized or given away. If the alignment is more
 * than 16, the block is charged as size and alignment together. */
LPVOID WINAPI ExpertAllocAligned(HEXPERTKEY key, SIZE_T size, SIZE_T alignment, int zeroed,
                                 DWORD *error);

/* Tells whether the expert must stop: NMERR_SUCCESS, NMERR_EXPERT_TERMINATE (for
 * any reason), or NMERR_INVALID_EXPERT_HANDLE. Loops that allocate nothing call
 * this. */
DWORD WINAPI ExpertCheck(HEXPERTKEY key);

/* Returns the identity of the heap that this call reaches; a process must have one
 * heap. */
const void *WINAPI ExpertHeapIdentity(void);

/* ---- for the host ------------------------------------------------------ */

/* Registers a new expert; NULL on failure. The name is copied, up to 63 bytes of
 * UTF-8. A quota of 0 is none. */
HEXPERTKEY WINAPI ExpertRegisterKey(const char *name, SIZE_T quota, DWORD *error);

/* As ExpertRegisterKey, with a parent. The child's charges are charged to the
 * parent, too, whose quota limits both. The child must stop when the parent is told
 * to stop or ends. EXPERT_HOST_KEY means no parent. Charges beyond soft_quota are
 * reported and not refused; 0 is none. */
HEXPERTKEY WINAPI ExpertRegisterChild(HEXPERTKEY parent, const char *name, SIZE_T quota,
                                      SIZE_T soft_quota, DWORD *error);

/* As ExpertRegisterChild, with all that can be asked for. NMERR_INVALID_PARAMETER for a
 * request of NULL, or one that is too short. */
HEXPERTKEY WINAPI ExpertRegister(const EXPERTREQUEST *request, DWORD *error);

/* Changes a quota from now on; 0 is none. If more is charged already, nothing is
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
 * taken back. It waits for calls by this key in other threads. The report may be
 * NULL. NMERR_INTERNAL_EXCEPTION means that a clean-up threw; the expert has ended
 * all the same. NMERR_ACCESS_DENIED is the result for the host's key, and for
 * experts of Rust code, which only Rust code ends. */
DWORD WINAPI ExpertReclaimKey(HEXPERTKEY key, EXPERTRECLAIMED *report);

/* As ExpertReclaimKey, with what the expert has allocated in scopes, which is not
 * adopted. Nothing may refer to that any more when the last clean-up has returned,
 * and no thread may be in a scope of the expert. */
DWORD WINAPI ExpertReclaimAll(HEXPERTKEY key, EXPERTRECLAIMED *report);

/* Gives a block to another key, with its charge. Returns its new address, because
 * it may move, or NULL if it is untouched. The host keeps a block beyond the end of
 * an expert by transferring it to EXPERT_HOST_KEY. */
LPVOID WINAPI ExpertTransferMemory(HEXPERTKEY from, LPVOID memory, HEXPERTKEY to, DWORD *error);

/* Registers a function to call once when the expert ends, before its memory is
 * freed. During the call the key is still valid, as for an expert that must stop. A
 * clean-up that does not return (see above) counts as failed; the others run, and
 * the memory is taken back all the same. NMERR_ACCESS_DENIED is the result for a
 * key from ExpertRegisterPlugin, because that key ends when the code of the plug-in
 * is gone. */
DWORD WINAPI ExpertOnReclaim(HEXPERTKEY key, void (*cleanup)(LPVOID), LPVOID context);

/* Writes the figures of an expert. */
DWORD WINAPI ExpertGetMemoryStats(HEXPERTKEY key, EXPERTMEMORYSTATS *stats);

/* The memory of an expert and all its children; for EXPERT_HOST_KEY, that of all
 * experts. */
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

/* Writes the description of an expert. */
DWORD WINAPI ExpertGetInfo(HEXPERTKEY key, EXPERTINFO *info);

/* Calls callback with the host's key, then with that of each expert, in no
 * particular order. An expert may end meanwhile, and its key is then refused. The
 * callback may make any call. NMERR_INTERNAL_EXCEPTION means that it threw, and was
 * not called again. */
DWORD WINAPI ExpertEnumerate(void (*callback)(HEXPERTKEY, LPVOID), LPVOID context);

/* Makes key the owner of this thread's allocations through the global allocator (of
 * a Rust host, or of a process with this library's malloc), until ExpertLeave.
 * Scopes nest. ExpertLeave without ExpertEnter returns NMERR_INVALID_PARAMETER. If
 * there is no memory for the scope, ExpertEnter returns an error: the owner stays. */
DWORD WINAPI ExpertEnter(HEXPERTKEY key);
DWORD WINAPI ExpertLeave(void);

/* Whose scope this thread is in; EXPERT_HOST_KEY in none. */
HEXPERTKEY WINAPI ExpertCurrentKey(void);

/* Gives free memory back to the system at once. */
void WINAPI ExpertPurge(void);

/* Returns the owner of the block that memory points to or into; NULL for any other
 * address. Nothing is read there, so any address may be passed. A freed block may
 * still count as its owner's, unless it came from ExpertAllocMemory. */
HEXPERTKEY WINAPI ExpertOwnerOf(const void *memory);

#ifdef __cplusplus
}
#endif

#endif /* EXPERT_ALLOC_H */
