/* Leaves a thread running, which allocates and frees until it is refused. */
#include <pthread.h>
#include <time.h>

#include "expert_plugin.h"

EXPERT_PLUGIN("thread", "leaves a thread running")

static void *works(void *key)
{
    struct timespec moment = {0, 1000}, a_while = {0, 30000000};
    for (;;) {
        void *block = ExpertAllocMemory(key, 10000, NULL);
        if (block == NULL) {
            /* The thread still runs this code, so the library must not be unloaded now. */
            nanosleep(&a_while, NULL);
            return NULL;
        }
        nanosleep(&moment, NULL);
        ExpertFreeMemory(key, block);
    }
}

DWORD Run(HEXPERTKEY key, const EXPERTCONFIG *config, EXPERTSTARTUPINFO *startup)
{
    pthread_t thread;
    (void)config, (void)startup;
    if (pthread_create(&thread, NULL, works, key) != 0)
        return NMERR_OUT_OF_MEMORY;
    pthread_detach(thread);
    return NMERR_SUCCESS;
}
