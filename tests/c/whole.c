/* What the C face has beside the four calls: alignment, parents, quotas that
 * change, scopes, enumeration, figures of a subtree. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expert_alloc.h"

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

enum { UNWRITTEN = 0x5EED };

static HEXPERTKEY register_key(const char *name, SIZE_T quota)
{
    DWORD error = UNWRITTEN;
    HEXPERTKEY key = ExpertRegisterKey(name, quota, &error);
    CHECK(key != NULL && error == NMERR_SUCCESS);
    return key;
}

static unsigned char *aligned(HEXPERTKEY key, SIZE_T size, SIZE_T alignment)
{
    DWORD error = UNWRITTEN;
    unsigned char *block = ExpertAllocAligned(key, size, alignment, 1, &error);
    CHECK(block != NULL && error == NMERR_SUCCESS && (uintptr_t)block % alignment == 0);
    for (SIZE_T i = 0; i < size; i++)
        CHECK(block[i] == 0);
    return block;
}

static EXPERTMEMORYSTATS stats(HEXPERTKEY key)
{
    EXPERTMEMORYSTATS held;
    CHECK(ExpertGetMemoryStats(key, &held) == NMERR_SUCCESS);
    return held;
}

static void aligned_blocks_are_blocks(void)
{
    HEXPERTKEY key = register_key("aligned", 0), other = register_key("other", 0);
    DWORD error;
    for (SIZE_T alignment = 1; alignment <= 1 << 20; alignment *= 2) {
        for (SIZE_T size = 0; size < 300000; size = size * 7 + 3) {
            unsigned char *block = aligned(key, size, alignment);
            CHECK(ExpertMemorySize(key, block) == size && ExpertMemorySize(other, block) == 0);
            CHECK(ExpertOwnerOf(block) == key);
            CHECK(ExpertFreeMemory(other, block) == NMERR_ACCESS_DENIED);
            CHECK(ExpertFreeMemory(key, block + 16) == NMERR_INVALID_PARAMETER);
            memset(block, 0xAB, size);
            CHECK(ExpertReallocMemory(key, block, (SIZE_T)-100, &error) == NULL);
            CHECK(error == NMERR_OUT_OF_MEMORY && ExpertMemorySize(key, block) == size);
            block = ExpertReallocMemory(key, block, size * 2 + 1, &error);
            CHECK(block != NULL && error == NMERR_SUCCESS);
            if (alignment > 16)
                CHECK((uintptr_t)block % alignment == 0);
            for (SIZE_T i = 0; i <= size * 2; i++)
                CHECK(block[i] == (i < size ? 0xAB : 0));
            block = ExpertTransferMemory(key, block, other, &error);
            CHECK(block != NULL && error == NMERR_SUCCESS && ExpertOwnerOf(block) == other);
            if (alignment > 16)
                CHECK((uintptr_t)block % alignment == 0);
            CHECK(ExpertMemorySize(other, block) == size * 2 + 1);
            CHECK(block[0] == (size > 0 ? 0xAB : 0) && block[size * 2] == 0);
            CHECK(ExpertFreeMemory(other, block) == NMERR_SUCCESS);
            CHECK(ExpertFreeMemory(other, block) == NMERR_INVALID_PARAMETER);
        }
    }
    CHECK(stats(key).live_blocks == 0 && stats(other).live_blocks == 0);
    for (SIZE_T wrong = 0; wrong < 100; wrong++)
        if (wrong == 0 || (wrong & (wrong - 1)) != 0) {
            CHECK(ExpertAllocAligned(key, 1, wrong, 0, &error) == NULL);
            CHECK(error == NMERR_INVALID_PARAMETER);
        }
    CHECK(ExpertAllocAligned(key, (SIZE_T)-1, 4096, 0, &error) == NULL);
    CHECK(error == NMERR_OUT_OF_MEMORY);
    CHECK(ExpertAllocAligned(NULL, 1, 64, 0, &error) == NULL);
    CHECK(error == NMERR_INVALID_EXPERT_HANDLE);
    /* Words that look like those in front of an aligned block lead nowhere. */
    SIZE_T *fake = ExpertAllocMemory(key, 4096, &error);
    for (int i = 0; i < 512; i++)
        fake[i] = i % 2 == 0 ? 64 : 4096;
    for (int i = 0; i < 512; i++)
        CHECK(ExpertFreeMemory(key, (char *)fake + 8 * i + 8) == NMERR_INVALID_PARAMETER);
    CHECK(ExpertAllocAligned(key, 100, 64, 0, &error) != NULL);
    EXPERTRECLAIMED report;
    CHECK(ExpertReclaimKey(key, &report) == NMERR_SUCCESS && report.blocks == 2);
    CHECK(ExpertReclaimKey(other, &report) == NMERR_SUCCESS && report.blocks == 0);
}

static void families_share_a_quota(void)
{
    DWORD error = UNWRITTEN;
    EXPERTMEMORYSTATS sum;
    EXPERTINFO info;
    HEXPERTKEY parent = register_key("parent", 1 << 20);
    HEXPERTKEY child = ExpertRegisterChild(parent, "child", 0, 1000, &error);
    CHECK(child != NULL && error == NMERR_SUCCESS);
    HEXPERTKEY grandchild = ExpertRegisterChild(child, "grandchild", 0, 0, &error);
    CHECK(grandchild != NULL && error == NMERR_SUCCESS);
    HEXPERTKEY alone = ExpertRegisterChild(EXPERT_HOST_KEY, "alone", 0, 500, &error);
    CHECK(alone != NULL && error == NMERR_SUCCESS);
    CHECK(ExpertRegisterChild(NULL, "nobody's", 0, 0, &error) == NULL);
    CHECK(error == NMERR_INVALID_EXPERT_HANDLE);

    CHECK(ExpertGetInfo(child, &info) == NMERR_SUCCESS);
    CHECK(strcmp(info.name, "child") == 0 && info.parent == parent);
    CHECK(info.soft_quota == 1000 && info.state == EXPERT_STATE_LIVE);
    CHECK(ExpertGetInfo(alone, &info) == NMERR_SUCCESS && info.parent == NULL);
    CHECK(ExpertGetInfo(EXPERT_HOST_KEY, &info) == NMERR_SUCCESS);
    CHECK(strcmp(info.name, "host") == 0);
    CHECK(ExpertGetInfo(NULL, &info) == NMERR_INVALID_EXPERT_HANDLE && info.name[0] == 0);
    CHECK(ExpertGetInfo(alone, NULL) == NMERR_INVALID_PARAMETER);

    CHECK(ExpertAllocMemory(child, 600000, NULL) != NULL);
    CHECK(ExpertAllocMemory(grandchild, 600000, &error) == NULL && error == NMERR_OUT_OF_MEMORY);
    CHECK(ExpertSetQuota(parent, 2 << 20) == NMERR_SUCCESS);
    CHECK(ExpertAllocMemory(grandchild, 600000, &error) != NULL);
    CHECK(ExpertSetQuota(parent, 1) == NMERR_SUCCESS && stats(parent).quota == 1);
    CHECK(ExpertAllocMemory(alone, 100000, NULL) != NULL);
    CHECK(ExpertAllocMemory(grandchild, 100000, &error) == NULL && error == NMERR_OUT_OF_MEMORY);
    CHECK(ExpertSetSoftQuota(child, 77) == NMERR_SUCCESS);
    CHECK(ExpertGetInfo(child, &info) == NMERR_SUCCESS && info.soft_quota == 77);
    CHECK(ExpertSetQuota(EXPERT_HOST_KEY, 1) == NMERR_ACCESS_DENIED);
    CHECK(ExpertSetQuota(NULL, 1) == NMERR_INVALID_EXPERT_HANDLE);

    CHECK(ExpertGetSubtreeStats(parent, &sum) == NMERR_SUCCESS);
    CHECK(sum.live_blocks == 2 && stats(parent).live_blocks == 0);
    CHECK(sum.live_bytes >= 1200000 && sum.live_bytes < 1300000);
    CHECK(sum.charged_bytes == stats(parent).charged_bytes && sum.quota == 1);
    CHECK(sum.refusals == 2);
    CHECK(ExpertGetSubtreeStats(grandchild, &sum) == NMERR_SUCCESS && sum.live_blocks == 1);
    CHECK(ExpertGetSubtreeStats(EXPERT_HOST_KEY, &sum) == NMERR_SUCCESS && sum.live_blocks >= 3);
    CHECK(ExpertReclaimKey(child, NULL) == NMERR_SUCCESS);
    CHECK(ExpertGetInfo(grandchild, &info) == NMERR_SUCCESS);
    CHECK(info.state == EXPERT_STATE_PARENT_STOPPED && info.parent == parent);
    CHECK(ExpertGetSubtreeStats(parent, &sum) == NMERR_SUCCESS && sum.live_blocks == 1);
    CHECK(ExpertGetSubtreeStats(child, &sum) == NMERR_INVALID_EXPERT_HANDLE);
    CHECK(ExpertTerminateKey(parent) == NMERR_SUCCESS);
    CHECK(ExpertGetInfo(parent, &info) == NMERR_SUCCESS);
    CHECK(info.state == EXPERT_STATE_TERMINATED);
    CHECK(ExpertReclaimKey(grandchild, NULL) == NMERR_SUCCESS);
    CHECK(ExpertReclaimKey(parent, NULL) == NMERR_SUCCESS);
    CHECK(ExpertReclaimKey(alone, NULL) == NMERR_SUCCESS);
    ExpertPurge();
}

struct seen {
    HEXPERTKEY wanted[3];
    int met[3], all;
};

static void note(HEXPERTKEY key, LPVOID context)
{
    struct seen *seen = context;
    seen->all++;
    for (int i = 0; i < 3; i++)
        if (seen->wanted[i] == key)
            seen->met[i]++;
    /* What a callback does is its own affair. */
    if (key != EXPERT_HOST_KEY && key == seen->wanted[2])
        ExpertReclaimKey(key, NULL);
}

static void experts_are_enumerated(void)
{
    struct seen seen = {{EXPERT_HOST_KEY, register_key("one", 0), register_key("two", 0)},
                        {0, 0, 0}, 0};
    CHECK(ExpertEnumerate(note, &seen) == NMERR_SUCCESS);
    CHECK(seen.met[0] == 1 && seen.met[1] == 1 && seen.met[2] == 1 && seen.all == 3);
    CHECK(ExpertEnumerate(note, &seen) == NMERR_SUCCESS);
    CHECK(seen.met[1] == 2 && seen.met[2] == 1 && seen.all == 5);
    CHECK(ExpertEnumerate(NULL, NULL) == NMERR_INVALID_PARAMETER);
    CHECK(ExpertReclaimKey(seen.wanted[1], NULL) == NMERR_SUCCESS);
}

static void scopes_nest(void)
{
    HEXPERTKEY key = register_key("scope", 0);
    CHECK(ExpertLeave() == NMERR_INVALID_PARAMETER);
    CHECK(ExpertEnter(NULL) == NMERR_INVALID_EXPERT_HANDLE);
    CHECK(ExpertLeave() == NMERR_INVALID_PARAMETER);
    for (int i = 0; i < 1000; i++)
        CHECK(ExpertEnter(i % 3 == 0 ? EXPERT_HOST_KEY : key) == NMERR_SUCCESS);
    CHECK(ExpertReclaimKey(key, NULL) == NMERR_SUCCESS);
    for (int i = 0; i < 1000; i++)
        CHECK(ExpertLeave() == NMERR_SUCCESS);
    CHECK(ExpertLeave() == NMERR_INVALID_PARAMETER);
    CHECK(ExpertEnter(key) == NMERR_INVALID_EXPERT_HANDLE);
}

int main(void)
{
    aligned_blocks_are_blocks();
    families_share_a_quota();
    experts_are_enumerated();
    scopes_nest();
    puts("the face is whole");
    return 0;
}
