/* Loses 100 MB. */
#include <string.h>

#include "expert_plugin.h"

EXPERT_PLUGIN("leaks", "loses 100 MB")

DWORD Run(HEXPERTKEY key, const EXPERTCONFIG *config, EXPERTSTARTUPINFO *startup)
{
    DWORD error;
    (void)config, (void)startup;
    for (int i = 0; i < 100; i++) {
        void *block = ExpertAllocMemory(key, 1000000, &error);
        if (block == NULL)
            return error;
        memset(block, 1, 1000000);
    }
    return NMERR_SUCCESS;
}
