/* expert_zlib.h - zlib streams in an expert's memory.
 *
 *   z_stream stream = {0};
 *   ExpertZlibUse(&stream, key);          before deflateInit or inflateInit
 *
 * If the expert is reclaimed, deflateEnd and inflateEnd are not needed. Beyond the quota
 * the Init calls return Z_MEM_ERROR. */
#ifndef EXPERT_ZLIB_H
#define EXPERT_ZLIB_H

#include <zlib.h>

#include "expert_alloc.h"

static voidpf expert_zlib_alloc(voidpf key, uInt items, uInt size)
{
    if (size != 0 && items > (SIZE_T)-1 / size)
        return Z_NULL;
    return ExpertAllocAligned((HEXPERTKEY)key, (SIZE_T)items * size, 16, 0, NULL);
}

static void expert_zlib_free(voidpf key, voidpf block)
{
    ExpertFreeMemory((HEXPERTKEY)key, block);
}

static void ExpertZlibUse(z_streamp stream, HEXPERTKEY key)
{
    stream->zalloc = expert_zlib_alloc;
    stream->zfree = expert_zlib_free;
    stream->opaque = key;
}

#endif /* EXPERT_ZLIB_H */
