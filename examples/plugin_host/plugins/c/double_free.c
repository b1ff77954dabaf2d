/* Frees a block twice. */
#include "expert_plugin.h"

EXPERT_PLUGIN("double free", "frees a block twice")

DWORD Run(HEXPERTKEY key, const EXPERTCONFIG *config, EXPERTSTARTUPINFO *startup)
{
    void *block = ExpertAllocMemory(key, 100, NULL);
    (void)config, (void)startup;
    ExpertFreeMemory(key, block);
    return ExpertFreeMemory(key, block);
}
