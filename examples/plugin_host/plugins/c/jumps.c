/* Jumps out of Run, over its host, to where it called the host. */
#include <setjmp.h>

#include "expert_plugin.h"

EXPERT_PLUGIN("jumps", "jumps over its host")

static jmp_buf place;

/* Calls the host, which calls Run. Returns 1 if Run jumped here. */
EXPERT_EXPORT int CallsHost(void (*host)(LPVOID), LPVOID context)
{
    if (setjmp(place) != 0)
        return 1;
    host(context);
    return 0;
}

DWORD Run(HEXPERTKEY key, const EXPERTCONFIG *config, EXPERTSTARTUPINFO *startup)
{
    (void)config, (void)startup;
    ExpertAllocMemory(key, 100000, NULL);
    longjmp(place, 1);
}
