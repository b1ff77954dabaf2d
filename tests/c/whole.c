/* What the C face has beside the four calls: alignment, parents, quotas that
 * change, scopes, enumeration, figures of a subtree, holders, an observer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "expert_alloc.h"

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
    /* A callback may make any call. */
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

static void holders_are_named(void)
{
    DWORD error = UNWRITTEN;
    EXPERTLARGEST largest;
    char text[256], little[20];
    HEXPERTKEY tenant = register_key("tenant", 1 << 20);
    HEXPERTKEY light = ExpertRegisterChild(tenant, "light", 0, 0, &error);
    HEXPERTKEY heavy = ExpertRegisterChild(tenant, "h\xC3\xA9" "avy", 0, 0, &error);
    CHECK(ExpertAllocMemory(heavy, 900 << 10, &error) != NULL);
    CHECK(ExpertAllocMemory(light, 500 << 10, &error) == NULL && error == NMERR_OUT_OF_MEMORY);

    CHECK(ExpertGetLargestHolders(light, &largest) == NMERR_SUCCESS && largest.count == 2);
    CHECK(largest.holdings[0].key == heavy && largest.holdings[1].key == light);
    CHECK(strcmp(largest.holdings[0].name, "h\xC3\xA9" "avy") == 0);
    CHECK(largest.holdings[0].charged_bytes == stats(heavy).charged_bytes);
    CHECK(largest.holdings[2].key == NULL);
    CHECK(ExpertGetLargestChildren(tenant, &largest) == NMERR_SUCCESS && largest.count == 2);
    CHECK(ExpertGetLargestChildren(light, &largest) == NMERR_SUCCESS && largest.count == 0);
    CHECK(ExpertGetLargestHolders(EXPERT_HOST_KEY, &largest) == NMERR_SUCCESS);
    CHECK(largest.count >= 2 && largest.holdings[0].key == tenant);
    CHECK(ExpertGetLargestHolders(NULL, &largest) == NMERR_INVALID_EXPERT_HANDLE);
    CHECK(largest.count == 0 && ExpertGetLargestHolders(light, NULL) == NMERR_INVALID_PARAMETER);

    SIZE_T length = ExpertExplain(light, NMERR_OUT_OF_MEMORY, text, sizeof text);
    CHECK(length == strlen(text) && strstr(text, "(tenant: 904.0 KiB of 1.0 MiB)") != NULL);
    CHECK(strstr(text, "most is held by h\xC3\xA9" "avy (904.0 KiB), light (0 B)") != NULL);
    CHECK(ExpertExplain(light, NMERR_OUT_OF_MEMORY, NULL, 0) == length);
    for (SIZE_T size = 1; size <= sizeof text; size++) {
        char cut[sizeof text + 1];
        memset(cut, 'x', sizeof cut);
        CHECK(ExpertExplain(light, NMERR_OUT_OF_MEMORY, cut, size) == length && cut[size] == 'x');
        CHECK(strlen(cut) < size && strncmp(cut, text, strlen(cut)) == 0);
        /* Never half of a character. */
        CHECK(strlen(cut) == 0 || cut[strlen(cut) - 1] != '\xC3');
    }
    CHECK(ExpertExplain(light, NMERR_OUT_OF_MEMORY, little, 0) == length);
    CHECK(ExpertExplain(NULL, NMERR_INVALID_EXPERT_HANDLE, text, sizeof text) > 0);
    CHECK(ExpertExplain(light, NMERR_SUCCESS, text, sizeof text) == 0 && text[0] == 0);
    CHECK(ExpertTerminateKey(light) == NMERR_SUCCESS);
    CHECK(ExpertExplain(light, NMERR_EXPERT_TERMINATE, text, sizeof text) > 0);
    CHECK(strstr(text, "told this expert to stop") != NULL);
    CHECK(ExpertReclaimKey(heavy, NULL) == NMERR_SUCCESS);
    CHECK(ExpertReclaimKey(light, NULL) == NMERR_SUCCESS);
    CHECK(ExpertReclaimKey(tenant, NULL) == NMERR_SUCCESS);
}

static void quotas_are_lent_and_set_aside(void)
{
    DWORD error = UNWRITTEN;
    HEXPERTKEY idle = register_key("idle", 1 << 20), busy = register_key("busy", 1 << 20);
    EXPERTREQUEST request = {sizeof request, "steady", busy, 0, 100, 512 << 10, 0};
    CHECK(ExpertGiveRoom(idle, busy, 512 << 10) == NMERR_SUCCESS);
    CHECK(stats(idle).quota == 512 << 10 && stats(busy).quota == 1536 << 10);
    CHECK(ExpertGiveRoom(idle, busy, 512 << 10) == NMERR_OUT_OF_MEMORY);
    CHECK(ExpertGiveRoom(EXPERT_HOST_KEY, busy, 1) == NMERR_ACCESS_DENIED);
    CHECK(ExpertGiveRoom(idle, NULL, 1) == NMERR_INVALID_EXPERT_HANDLE);

    HEXPERTKEY steady = ExpertRegister(&request, &error);
    CHECK(steady != NULL && error == NMERR_SUCCESS);
    EXPERTINFO info;
    CHECK(ExpertGetInfo(steady, &info) == NMERR_SUCCESS && info.parent == busy);
    CHECK(strcmp(info.name, "steady") == 0 && info.soft_quota == 100);
    CHECK(stats(busy).charged_bytes >= 512 << 10);
    request.guarantee = 4 << 20;
    CHECK(ExpertRegister(&request, &error) == NULL && error == NMERR_OUT_OF_MEMORY);
    request.size--;
    CHECK(ExpertRegister(&request, &error) == NULL && error == NMERR_INVALID_PARAMETER);
    CHECK(ExpertRegister(NULL, &error) == NULL && error == NMERR_INVALID_PARAMETER);
    request = (EXPERTREQUEST){sizeof request, "alone", EXPERT_HOST_KEY, 0, 0, 0,
                              EXPERT_REFUSE_OVERDRAFT};
    HEXPERTKEY alone = ExpertRegister(&request, NULL);
    CHECK(alone != NULL && ExpertGetInfo(alone, &info) == NMERR_SUCCESS && info.parent == NULL);

    CHECK(ExpertForgive(busy) == NMERR_SUCCESS && ExpertForgive(NULL) != NMERR_SUCCESS);
    CHECK(ExpertForgive(EXPERT_HOST_KEY) == NMERR_ACCESS_DENIED);
    LPVOID blocks[1000];
    for (int i = 0; i < 1000; i++)
        CHECK((blocks[i] = ExpertAllocMemory(alone, 1000, &error)) != NULL);
    for (int i = 0; i < 1000; i++)
        CHECK(ExpertFreeMemory(alone, blocks[i]) == NMERR_SUCCESS);
    SIZE_T before = stats(alone).charged_bytes, trimmed = ExpertTrim(alone);
    CHECK(trimmed > 500000 && trimmed == before - stats(alone).charged_bytes);
    CHECK(ExpertTrim(NULL) == 0 && ExpertSystemLimit() > 1 << 20);

    CHECK(ExpertCurrentKey() == EXPERT_HOST_KEY);
    CHECK(ExpertEnter(alone) == NMERR_SUCCESS && ExpertCurrentKey() == alone);
    CHECK(ExpertLeave() == NMERR_SUCCESS && ExpertCurrentKey() == EXPERT_HOST_KEY);
    EXPERTRECLAIMED report;
    CHECK(ExpertAllocMemory(alone, 100, &error) != NULL);
    CHECK(ExpertReclaimAll(alone, &report) == NMERR_SUCCESS && report.blocks == 1);
    CHECK(ExpertReclaimAll(alone, &report) == NMERR_INVALID_EXPERT_HANDLE);
    CHECK(ExpertReclaimAll(EXPERT_HOST_KEY, NULL) == NMERR_ACCESS_DENIED);
    CHECK(ExpertReclaimKey(steady, NULL) == NMERR_SUCCESS);
    CHECK(ExpertReclaimKey(busy, NULL) == NMERR_SUCCESS);
    CHECK(ExpertReclaimKey(idle, NULL) == NMERR_SUCCESS);
}

struct told {
    HEXPERTKEY key;
    int kinds[7];
    EXPERTEVENT last[7];
};

static void hear(EXPERTEVENT *event, LPVOID context)
{
    struct told *told = context;
    CHECK(event->size == sizeof *event && event->kind < 7);
    if (event->kind == EXPERT_EVENT_REGISTERED)
        told->key = event->key;
    if (event->key != told->key)
        return;
    told->kinds[event->kind]++;
    told->last[event->kind] = *event;
    /* The first one that asks gets more. */
    if (event->kind == EXPERT_EVENT_REFUSING && told->kinds[event->kind] == 1)
        event->retry = ExpertSetQuota(event->by, 1 << 20) == NMERR_SUCCESS;
}

static void an_observer_is_told_and_asked(void)
{
    static struct told told;
    DWORD error = UNWRITTEN;
    CHECK(ExpertObserve(hear, &told) == NMERR_SUCCESS);
    HEXPERTKEY key = ExpertRegisterChild(EXPERT_HOST_KEY, "observed", 64 << 10, 1000, &error);
    CHECK(told.kinds[EXPERT_EVENT_REGISTERED] == 1);
    CHECK(strcmp(told.last[EXPERT_EVENT_REGISTERED].name, "observed") == 0);
    CHECK(ExpertAllocMemory(key, 100 << 10, &error) != NULL && stats(key).quota == 1 << 20);
    CHECK(told.last[EXPERT_EVENT_REFUSING].by == key);
    CHECK(told.last[EXPERT_EVENT_REFUSING].bytes >= 100 << 10);
    CHECK(ExpertAllocMemory(key, 2 << 20, &error) == NULL && error == NMERR_OUT_OF_MEMORY);
    CHECK(told.kinds[EXPERT_EVENT_REFUSING] == 2 && told.kinds[EXPERT_EVENT_REFUSED] == 1);
    /* The one that was asked for counts as well. */
    CHECK(told.last[EXPERT_EVENT_REFUSED].refusals == 2);
    CHECK(told.last[EXPERT_EVENT_REFUSED].largest.count == 1);
    CHECK(told.last[EXPERT_EVENT_REFUSED].largest.holdings[0].key == key);
    CHECK(told.kinds[EXPERT_EVENT_SOFT_QUOTA] == 1);
    CHECK(told.last[EXPERT_EVENT_SOFT_QUOTA].bytes == stats(key).charged_bytes);
    CHECK(ExpertTerminateKey(key) == NMERR_SUCCESS && told.kinds[EXPERT_EVENT_STOPPED] == 1);
    CHECK(ExpertReclaimKey(key, NULL) == NMERR_SUCCESS && told.kinds[EXPERT_EVENT_ENDED] == 1);
    CHECK(told.last[EXPERT_EVENT_ENDED].reclaimed.blocks == 1);
    CHECK(ExpertObserve(NULL, NULL) == NMERR_SUCCESS);
    CHECK(ExpertReclaimKey(register_key("unobserved", 0), NULL) == NMERR_SUCCESS);
    CHECK(told.kinds[EXPERT_EVENT_REGISTERED] == 1);
}

int main(void)
{
    aligned_blocks_are_blocks();
    families_share_a_quota();
    experts_are_enumerated();
    scopes_nest();
    holders_are_named();
    quotas_are_lent_and_set_aside();
    an_observer_is_told_and_asked();
    puts("the face is whole");
    return 0;
}
