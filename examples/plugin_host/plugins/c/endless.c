/* Never ends by itself. */
#include "expert_plugin.h"

EXPERT_PLUGIN("endless", "looks at TERMINATE only")

DWORD Run(HEXPERTKEY key, const EXPERTCONFIG *config, EXPERTSTARTUPINFO *startup)
{
    DWORD code;
    (void)config, (void)startup;
    while ((code = ExpertCheck(key)) == NMERR_SUCCESS)
        ;
    return code;
}
