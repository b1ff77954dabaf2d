/* A plug-in as a host loads it: it allocates with the key of its run, keeps a
 * pointer in a static, and forgets to free. */
#include "expert_alloc.h"

static LPVOID last;

LPVOID run(HEXPERTKEY key, int blocks)
{
    DWORD error;
    for (int i = 0; i < blocks; i++) {
        last = ExpertAllocMemory(key, 100, &error);
        if (last == NULL)
            return NULL;
        *(int *)last += i;
    }
    return last;
}

/* The bug: the block that the last run left in the static was reclaimed. */
DWORD run_again(HEXPERTKEY key)
{
    return ExpertFreeMemory(key, last);
}
