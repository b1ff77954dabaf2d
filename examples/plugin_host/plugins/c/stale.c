/* Keeps a pointer in a static from one run to the next, and uses it. */
#include "expert_plugin.h"

EXPERT_PLUGIN("stale", "keeps a pointer between runs")

static void *kept;

DWORD Run(HEXPERTKEY key, const EXPERTCONFIG *config, EXPERTSTARTUPINFO *startup)
{
    DWORD error;
    (void)config, (void)startup;
    kept = ExpertReallocMemory(key, kept, 5000, &error);
    return error;
}
