/* Frees a block that is not its own: the data of the run. */
#include "expert_plugin.h"

EXPERT_PLUGIN("foreign free", "frees another's block")

DWORD Run(HEXPERTKEY key, const EXPERTCONFIG *config, EXPERTSTARTUPINFO *startup)
{
    (void)config;
    return ExpertFreeMemory(key, (void *)(uintptr_t)startup->data);
}
