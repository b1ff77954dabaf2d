/* The round of Network Monitor: Configure's block outlives its key, comes back under
 * the next, grows, and is read by Run. Its content: how often it was configured, and
 * that many bytes more. */
#include "expert_plugin.h"

EXPERT_PLUGIN("configured", "adds up its configuration")

DWORD Configure(HEXPERTKEY key, EXPERTCONFIG **config, const EXPERTSTARTUPINFO *startup)
{
    DWORD error, times = *config == NULL ? 1 : (*config)->RawConfigLength + 1;
    EXPERTCONFIG *next = ExpertReallocMemory(key, *config, sizeof *next + times, &error);
    (void)startup;
    if (next == NULL)
        return error;
    next->RawConfigLength = times;
    EXPERT_CONFIG_DATA(next)[times - 1] = (unsigned char)times;
    *config = next;
    return NMERR_SUCCESS;
}

DWORD Run(HEXPERTKEY key, const EXPERTCONFIG *config, EXPERTSTARTUPINFO *startup)
{
    (void)key;
    if (config == NULL)
        return NMERR_INVALID_PARAMETER;
    startup->result = 0;
    for (DWORD i = 0; i < config->RawConfigLength; i++)
        startup->result += EXPERT_CONFIG_DATA(config)[i];
    return NMERR_SUCCESS;
}
