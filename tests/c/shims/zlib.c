/* Streams in an expert's memory: there and back, ended and not, refused by a quota. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "expert_zlib.h"

enum { SIZE = 4 << 20 };

static unsigned char plain[SIZE], packed[SIZE + SIZE / 8], back[SIZE];

int main(void)
{
    DWORD error;
    EXPERTMEMORYSTATS held;
    EXPERTRECLAIMED report;
    unsigned seed = 42;
    for (int i = 0; i < SIZE; i++) {
        seed = seed * 1103515245u + 12345u;
        plain[i] = (unsigned char)("abcdefgh"[seed >> 16 & 7] + (seed >> 28 == 0));
    }
    HEXPERTKEY key = ExpertRegisterKey("zlib", 1 << 20, &error);
    CHECK(key != NULL);
    for (int round = 0; round < 3; round++) {
        z_stream stream;
        memset(&stream, 0, sizeof stream);
        ExpertZlibUse(&stream, key);
        CHECK(deflateInit(&stream, 6) == Z_OK);
        CHECK(ExpertGetMemoryStats(key, &held) == NMERR_SUCCESS && held.live_blocks >= 4);
        stream.next_in = plain, stream.avail_in = SIZE;
        stream.next_out = packed, stream.avail_out = sizeof packed;
        CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
        uLong size = stream.total_out;
        CHECK(size > SIZE / 4 && size < SIZE / 2 && deflateEnd(&stream) == Z_OK);

        memset(&stream, 0, sizeof stream);
        ExpertZlibUse(&stream, key);
        CHECK(inflateInit(&stream) == Z_OK);
        stream.next_in = packed, stream.avail_in = (uInt)size;
        stream.next_out = back, stream.avail_out = SIZE;
        CHECK(inflate(&stream, Z_FINISH) == Z_STREAM_END && inflateEnd(&stream) == Z_OK);
        CHECK(memcmp(plain, back, SIZE) == 0);
        CHECK(ExpertGetMemoryStats(key, &held) == NMERR_SUCCESS && held.live_blocks == 0);
    }
    /* Streams that nobody ends, until the quota is full. */
    int streams = 0, code;
    do {
        static z_stream lost[100];
        ExpertZlibUse(&lost[streams], key);
        code = deflateInit(&lost[streams], 9);
    } while (code == Z_OK && ++streams < 100);
    CHECK(code == Z_MEM_ERROR && streams >= 2 && streams < 8);
    CHECK(ExpertReclaimKey(key, &report) == NMERR_SUCCESS && report.blocks >= 4u * (unsigned)streams);
    puts("zlib");
    return 0;
}
