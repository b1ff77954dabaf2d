/* Ends the thread that it was called on, which is not its own. */
#include <pthread.h>

#include "expert_plugin.h"

EXPERT_PLUGIN("exits", "ends the host's thread")

DWORD Run(HEXPERTKEY key, const EXPERTCONFIG *config, EXPERTSTARTUPINFO *startup)
{
    (void)config, (void)startup;
    ExpertAllocMemory(key, 100000, NULL);
    pthread_exit(NULL);
}
