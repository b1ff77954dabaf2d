/* The whole contract from C: each call and each code, then 8 threads on one
 * key and on eight. Exits with 0 when all of it holds. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

#include "check.h"
#include "expert_alloc.h"

enum { UNWRITTEN = 0x5EED, THREADS = 8, ROUNDS = 3000 };

static HEXPERTKEY register_key(const char *name, SIZE_T quota)
{
    DWORD error = UNWRITTEN;
    HEXPERTKEY key = ExpertRegisterKey(name, quota, &error);
    CHECK(key != NULL && error == NMERR_SUCCESS);
    return key;
}

/* An alloc that must succeed, zero-filled and aligned. */
static unsigned char *alloc(HEXPERTKEY key, SIZE_T size)
{
    DWORD error = UNWRITTEN;
    unsigned char *block = ExpertAllocMemory(key, size, &error);
    CHECK(block != NULL && error == NMERR_SUCCESS && (uintptr_t)block % 16 == 0);
    for (SIZE_T i = 0; i < size; i++)
        CHECK(block[i] == 0);
    return block;
}

static DWORD alloc_error(HEXPERTKEY key, SIZE_T size)
{
    DWORD error = UNWRITTEN;
    CHECK(ExpertAllocMemory(key, size, &error) == NULL);
    return error;
}

static DWORD realloc_error(HEXPERTKEY key, LPVOID block, SIZE_T size)
{
    DWORD error = UNWRITTEN;
    CHECK(ExpertReallocMemory(key, block, size, &error) == NULL);
    return error;
}

static EXPERTMEMORYSTATS stats(HEXPERTKEY key)
{
    EXPERTMEMORYSTATS stats;
    memset(&stats, 0xFF, sizeof stats);
    CHECK(ExpertGetMemoryStats(key, &stats) == NMERR_SUCCESS);
    return stats;
}

static void blocks_come_and_go(void)
{
    HEXPERTKEY key = register_key("blocks", 0);
    for (SIZE_T size = 0; size < 300000; size = size * 3 + 1) {
        DWORD error = UNWRITTEN;
        unsigned char *block = alloc(key, size);
        CHECK(ExpertMemorySize(key, block) == size);
        memset(block, 0xAB, size);
        block = ExpertReallocMemory(key, block, size * 2 + 1, &error);
        CHECK(block != NULL && error == NMERR_SUCCESS);
        CHECK(ExpertMemorySize(key, block) == size * 2 + 1);
        for (SIZE_T i = 0; i <= size * 2; i++)
            CHECK(block[i] == (i < size ? 0xAB : 0));
        block = ExpertReallocMemory(key, block, 0, NULL);
        CHECK(block != NULL && ExpertMemorySize(key, block) == 0);
        CHECK(ExpertOwnerOf(block) == key);
        CHECK(ExpertFreeMemory(key, block) == NMERR_SUCCESS);
        CHECK(ExpertFreeMemory(key, block) == NMERR_INVALID_PARAMETER);
    }
    LPVOID first = ExpertReallocMemory(key, NULL, 30, NULL);
    CHECK(first != NULL && first != alloc(key, 0) && alloc(key, 0) != alloc(key, 0));
    CHECK(ExpertFreeMemory(key, NULL) == NMERR_SUCCESS && ExpertMemorySize(key, NULL) == 0);
    EXPERTRECLAIMED report;
    CHECK(ExpertReclaimKey(key, &report) == NMERR_SUCCESS);
    CHECK(report.blocks == 4 && report.bytes >= 30 && report.adopted_blocks == 0);
}

static void wrong_arguments_are_errors(void)
{
    HEXPERTKEY mine = register_key("mine", 0), yours = register_key("yours", 1 << 20);
    HEXPERTKEY ended = register_key("ended", 0);
    unsigned char *block = alloc(mine, 100);
    unsigned char *gone = alloc(ended, 100);
    int local;
    CHECK(ExpertReclaimKey(ended, NULL) == NMERR_SUCCESS);
    memset(block, 7, 100);
    LPVOID wild[] = {&local, (LPVOID)1, (LPVOID)4096, (LPVOID)-1, block + 1, block + 16,
                     block - 16, gone, (LPVOID)(uintptr_t)&wrong_arguments_are_errors};
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
        CHECK(ExpertFreeMemory(mine, wild[i]) == NMERR_INVALID_PARAMETER);
        CHECK(realloc_error(mine, wild[i], 10) == NMERR_INVALID_PARAMETER);
        CHECK(ExpertMemorySize(mine, wild[i]) == 0);
    }
    CHECK(ExpertFreeMemory(yours, block) == NMERR_ACCESS_DENIED);
    CHECK(realloc_error(yours, block, 10) == NMERR_ACCESS_DENIED);
    CHECK(ExpertMemorySize(yours, block) == 0);
    HEXPERTKEY keys[] = {NULL, ended, (HEXPERTKEY)1, (HEXPERTKEY)((char *)mine + 1000),
                         (HEXPERTKEY)-1, block};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        DWORD error = UNWRITTEN;
        CHECK(alloc_error(keys[i], 10) == NMERR_INVALID_EXPERT_HANDLE);
        CHECK(realloc_error(keys[i], block, 10) == NMERR_INVALID_EXPERT_HANDLE);
        CHECK(ExpertFreeMemory(keys[i], block) == NMERR_INVALID_EXPERT_HANDLE);
        CHECK(ExpertMemorySize(keys[i], block) == 0);
        CHECK(ExpertTerminateKey(keys[i]) == NMERR_INVALID_EXPERT_HANDLE);
        CHECK(ExpertReclaimKey(keys[i], NULL) == NMERR_INVALID_EXPERT_HANDLE);
        CHECK(ExpertTransferMemory(mine, block, keys[i], &error) == NULL);
        CHECK(error == NMERR_INVALID_EXPERT_HANDLE);
    }
    CHECK(alloc_error(yours, 2 << 20) == NMERR_OUT_OF_MEMORY);
    CHECK(alloc_error(mine, (SIZE_T)-1) == NMERR_OUT_OF_MEMORY);
    CHECK(realloc_error(mine, block, (SIZE_T)-20) == NMERR_OUT_OF_MEMORY);
    CHECK(stats(yours).quota == 1 << 20 && stats(yours).refusals == 1);
    for (int i = 0; i < 100; i++)
        CHECK(block[i] == 7);
    CHECK(ExpertReclaimKey(EXPERT_HOST_KEY, NULL) == NMERR_ACCESS_DENIED);
    CHECK(ExpertTerminateKey(EXPERT_HOST_KEY) == NMERR_ACCESS_DENIED);
    CHECK(ExpertOwnerOf(&local) == NULL && ExpertOwnerOf(NULL) == NULL);
    CHECK(ExpertReclaimKey(mine, NULL) == NMERR_SUCCESS);
    CHECK(ExpertReclaimKey(yours, NULL) == NMERR_SUCCESS);
}

static void a_stopped_expert_cleans_up(void)
{
    HEXPERTKEY key = register_key("stopped", 0);
    LPVOID one = alloc(key, 10), two = alloc(key, 20);
    CHECK(ExpertTerminateKey(key) == NMERR_SUCCESS);
    CHECK(alloc_error(key, 1) == NMERR_EXPERT_TERMINATE);
    CHECK(realloc_error(key, one, 1) == NMERR_EXPERT_TERMINATE);
    CHECK(ExpertMemorySize(key, one) == 10);
    CHECK(ExpertFreeMemory(key, one) == NMERR_EXPERT_TERMINATE);
    CHECK(ExpertFreeMemory(key, one) == NMERR_INVALID_PARAMETER);
    CHECK(stats(key).live_blocks == 1 && ExpertMemorySize(key, two) == 20);
    CHECK(ExpertReclaimKey(key, NULL) == NMERR_SUCCESS);
}

static void a_configuration_outlives_its_key(void)
{
    char *config = NULL;
    for (int run = 1; run <= 3; run++) {
        DWORD error = UNWRITTEN;
        HEXPERTKEY key = register_key("configured", 0);
        if (config != NULL) {
            config = ExpertTransferMemory(EXPERT_HOST_KEY, config, key, &error);
            CHECK(config != NULL && error == NMERR_SUCCESS && config[0] == run - 1);
        }
        config = ExpertReallocMemory(key, config, 50 * run, &error);
        CHECK(config != NULL && error == NMERR_SUCCESS);
        config[0] = run;
        config = ExpertTransferMemory(key, config, EXPERT_HOST_KEY, &error);
        CHECK(config != NULL && error == NMERR_SUCCESS);
        CHECK(ExpertReclaimKey(key, NULL) == NMERR_SUCCESS);
        CHECK(config[0] == run && ExpertOwnerOf(config) == EXPERT_HOST_KEY);
    }
    CHECK(ExpertFreeMemory(EXPERT_HOST_KEY, config) == NMERR_SUCCESS);
}

static int order[4], cleaned;

static void note(LPVOID context)
{
    order[cleaned++] = (int)(intptr_t)context;
}

#ifdef FOREIGN_EXCEPTIONS
static int deleted;

static void delete_exception(_Unwind_Reason_Code reason, struct _Unwind_Exception *exception)
{
    (void)reason, (void)exception;
    deleted++;
}

/* As `throw` does in C++, and in any other language but Rust. */
static void throws(LPVOID context)
{
    static struct _Unwind_Exception exception;
    (void)context;
    exception.exception_class = 0x5445535443000000u; /* TESTC */
    exception.exception_cleanup = delete_exception;
    _Unwind_RaiseException(&exception);
    fprintf(stderr, "nobody handles an exception in a clean-up\n");
    exit(1);
}
#endif

static void clean_ups_run_last_first(void)
{
    HEXPERTKEY key = register_key("cleaned", 0);
    EXPERTRECLAIMED report;
    DWORD code = NMERR_SUCCESS;
    SIZE_T all = 2, failed = 0;
    CHECK(ExpertOnReclaim(key, note, (LPVOID)1) == NMERR_SUCCESS);
#ifdef FOREIGN_EXCEPTIONS
    CHECK(ExpertOnReclaim(key, throws, NULL) == NMERR_SUCCESS);
    code = NMERR_INTERNAL_EXCEPTION, all = 3, failed = 1;
#endif
    CHECK(ExpertOnReclaim(key, note, (LPVOID)2) == NMERR_SUCCESS);
    CHECK(ExpertOnReclaim(key, NULL, NULL) == NMERR_INVALID_PARAMETER);
    alloc(key, 1000);
    CHECK(ExpertReclaimKey(key, &report) == code);
    CHECK(report.cleanups_run == all && report.cleanups_failed == failed && report.blocks == 1);
    CHECK(cleaned == 2 && order[0] == 2 && order[1] == 1);
#ifdef FOREIGN_EXCEPTIONS
    CHECK(deleted == 1);
#endif
}

/* Unloading a library is no reclaim: its memory stays until the key ends. */
static void unloading_is_not_reclaim(const char *path)
{
    HEXPERTKEY key = register_key("loaded", 0);
    void *library = dlopen(path, RTLD_NOW);
    CHECK(library != NULL);
    LPVOID (*run)(HEXPERTKEY, int);
    DWORD (*run_again)(HEXPERTKEY);
    *(void **)&run = dlsym(library, "run");
    *(void **)&run_again = dlsym(library, "run_again");
    LPVOID last = run(key, 10);
    CHECK(last != NULL && stats(key).live_blocks == 10);
    EXPERTRECLAIMED report;
    CHECK(ExpertReclaimKey(key, &report) == NMERR_SUCCESS && report.blocks == 10);
    key = register_key("loaded", 0);
    CHECK(run_again(key) == NMERR_INVALID_PARAMETER);
    last = run(key, 20);
    CHECK(last != NULL && dlclose(library) == 0);
    CHECK(stats(key).live_blocks == 20 && ExpertMemorySize(key, last) == 100);
    CHECK(*(int *)last == 19);
    CHECK(ExpertReclaimKey(key, &report) == NMERR_SUCCESS && report.blocks == 20);
}

/* One of eight threads: allocates, checks that no other thread writes into its blocks,
 * frees some, and leaves ten. */
static void *works(void *key)
{
    unsigned char *held[10] = {0};
    unsigned seed = (unsigned)(uintptr_t)&seed | 1;
    for (int round = 0; round < ROUNDS; round++) {
        seed = seed * 1103515245 + 12345;
        unsigned char **place = &held[seed / 65536 % 10];
        unsigned char mark = (unsigned char)(uintptr_t)place;
        SIZE_T size = seed / 4096 % 600;
        if (*place != NULL) {
            SIZE_T old = ExpertMemorySize(key, *place);
            for (SIZE_T i = 0; i < old; i++)
                CHECK((*place)[i] == mark);
            if (round % 3 == 0) {
                *place = ExpertReallocMemory(key, *place, size, NULL);
                CHECK(*place != NULL);
            } else {
                CHECK(ExpertFreeMemory(key, *place) == NMERR_SUCCESS);
                *place = alloc(key, size);
            }
        } else {
            *place = alloc(key, size);
        }
        memset(*place, mark, size);
    }
    for (int i = 0; i < 10; i++)
        CHECK(held[i] != NULL);
    return NULL;
}

static void threads(int keys)
{
    HEXPERTKEY key[THREADS];
    pthread_t thread[THREADS];
    for (int i = 0; i < keys; i++)
        key[i] = register_key("threads", 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&thread[i], NULL, works, key[i % keys]) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(thread[i], NULL) == 0);
    for (int i = 0; i < keys; i++) {
        EXPERTRECLAIMED report;
        EXPERTMEMORYSTATS held = stats(key[i]);
        SIZE_T expected = 10 * THREADS / keys;
        CHECK(held.live_blocks == expected);
        CHECK(held.allocations - held.frees == expected);
        CHECK(ExpertReclaimKey(key[i], &report) == NMERR_SUCCESS);
        CHECK(report.blocks == expected && report.bytes == held.live_bytes);
    }
}

/* Uses keys that the main thread ends at the same time. */
static void *uses(void *keys)
{
    for (int round = 0; round < ROUNDS; round++) {
        DWORD error;
        HEXPERTKEY key = ((HEXPERTKEY *)keys)[round % THREADS];
        LPVOID block = ExpertAllocMemory(key, 64, &error);
        CHECK(block != NULL || error == NMERR_INVALID_EXPERT_HANDLE ||
              error == NMERR_EXPERT_TERMINATE);
        if (block != NULL)
            ExpertFreeMemory(key, block);
    }
    return NULL;
}

static void keys_end_under_their_users(void)
{
    for (int round = 0; round < 20; round++) {
        HEXPERTKEY key[THREADS];
        pthread_t thread[THREADS];
        for (int i = 0; i < THREADS; i++)
            key[i] = register_key("ending", 0);
        for (int i = 0; i < THREADS; i++)
            CHECK(pthread_create(&thread[i], NULL, uses, key) == 0);
        for (int i = 0; i < THREADS; i++)
            CHECK(ExpertReclaimKey(key[i], NULL) == NMERR_SUCCESS);
        for (int i = 0; i < THREADS; i++)
            CHECK(pthread_join(thread[i], NULL) == 0);
    }
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    blocks_come_and_go();
    wrong_arguments_are_errors();
    a_stopped_expert_cleans_up();
    a_configuration_outlives_its_key();
    clean_ups_run_last_first();
    unloading_is_not_reclaim(argv[1]);
    threads(1);
    threads(THREADS);
    keys_end_under_their_users();
    puts("the contract holds");
    return 0;
}
