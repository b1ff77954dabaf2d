/* Counts how often each byte occurs; the result is a mix of the counts. */
#include "expert_plugin.h"

EXPERT_PLUGIN("bytes in C", "counts bytes")

DWORD Run(HEXPERTKEY key, const EXPERTCONFIG *config, EXPERTSTARTUPINFO *startup)
{
    DWORD error;
    const unsigned char *data = startup->data;
    uint64_t *counts = ExpertAllocMemory(key, 256 * sizeof *counts, &error);
    (void)config;
    if (counts == NULL)
        return error;
    for (SIZE_T i = 0; i < startup->data_bytes; i++)
        counts[data[i]]++;
    startup->result = 0;
    for (uint64_t byte = 0; byte < 256; byte++)
        startup->result += counts[byte] * (byte + 1);
    return NMERR_SUCCESS; /* the host frees the block */
}
