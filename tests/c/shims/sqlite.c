/* A database in memory, in an expert's memory: rows, an index, joins; beyond the
 * quota it is refused, and goes on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "expert_sqlite.h"

static sqlite3 *database;

static int execute(const char *statement)
{
    return sqlite3_exec(database, statement, NULL, NULL, NULL);
}

static sqlite3_int64 ask(const char *question)
{
    sqlite3_stmt *statement;
    sqlite3_int64 answer;
    CHECK(sqlite3_prepare_v2(database, question, -1, &statement, NULL) == SQLITE_OK);
    CHECK(sqlite3_step(statement) == SQLITE_ROW);
    answer = sqlite3_column_int64(statement, 0);
    CHECK(sqlite3_finalize(statement) == SQLITE_OK);
    return answer;
}

static EXPERTMEMORYSTATS stats(HEXPERTKEY key)
{
    EXPERTMEMORYSTATS held;
    CHECK(ExpertGetMemoryStats(key, &held) == NMERR_SUCCESS);
    return held;
}

int main(void)
{
    DWORD error;
    EXPERTRECLAIMED report;
    HEXPERTKEY key = ExpertRegisterKey("sqlite", 32 << 20, &error);
    CHECK(key != NULL && ExpertSqliteUse(key) == SQLITE_OK);
    CHECK(sqlite3_open(":memory:", &database) == SQLITE_OK);
    CHECK(ExpertSqliteUse(key) == SQLITE_MISUSE);
    CHECK(ExpertOwnerOf(database) == key);
    CHECK(execute("create table frames (id integer primary key, host text, bytes int)") == 0);
    CHECK(execute("begin") == SQLITE_OK);
    sqlite3_stmt *insert;
    CHECK(sqlite3_prepare_v2(database, "insert into frames (host, bytes) values (?, ?)", -1,
                             &insert, NULL) == SQLITE_OK);
    sqlite3_int64 sum = 0;
    unsigned seed = 42;
    for (int i = 0; i < 20000; i++) {
        char host[32];
        seed = seed * 1103515245u + 12345u;
        snprintf(host, sizeof host, "10.0.%u.%u", seed >> 16 & 3, seed >> 24);
        sqlite3_bind_text(insert, 1, host, -1, SQLITE_TRANSIENT);
        sqlite3_bind_int(insert, 2, (int)(seed >> 8 & 1023));
        sum += seed >> 8 & 1023;
        CHECK(sqlite3_step(insert) == SQLITE_DONE && sqlite3_reset(insert) == SQLITE_OK);
    }
    CHECK(sqlite3_finalize(insert) == SQLITE_OK && execute("commit") == SQLITE_OK);
    CHECK(execute("create index by_host on frames (host, bytes)") == SQLITE_OK);
    CHECK(ask("select sum(bytes) from frames") == sum);
    CHECK(ask("select sum(b) from (select host, sum(bytes) as b from frames group by host "
              "order by b desc)") == sum);
    CHECK(ask("select count(*) from frames a join frames b on a.host = b.host "
              "where a.id <= 200") > 200);
    CHECK(stats(key).live_bytes > 1 << 20);

    /* The whole statement is refused, the old rows stay, and a small statement still works. */
    CHECK(execute("create table huge as with recursive n(i) as "
                  "(select 1 union all select i + 1 from n) select i, zeroblob(1000) from n")
          == SQLITE_NOMEM);
    CHECK(stats(key).refusals >= 1 && stats(key).peak_bytes <= 32 << 20);
    CHECK(ask("select sum(bytes) from frames") == sum);
    CHECK(execute("insert into frames (host, bytes) values ('last', 1)") == SQLITE_OK);
    CHECK(ask("select sum(bytes) from frames") == sum + 1);

    /* Nobody closes it. */
    CHECK(ExpertReclaimKey(key, &report) == NMERR_SUCCESS);
    CHECK(report.blocks > 100 && report.bytes > 1 << 20);
    puts("sqlite");
    return 0;
}
