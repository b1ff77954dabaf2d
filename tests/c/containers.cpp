// Standard containers over a key, owners and scopes by scope of C++.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "expert_alloc.hpp"

struct alignas(128) Wide {
    int number;
};

using Text = std::basic_string<char, std::char_traits<char>, expert::allocator<char>>;
using Entry = std::pair<const int, Text>;

static void containers_live_in_the_experts_memory()
{
    expert::owner one("one"), other("other", 1 << 20);
    {
        std::vector<int, expert::allocator<int>> numbers(one.allocator<int>());
        for (int i = 0; i < 10000; i++)
            numbers.push_back(i);
        CHECK(ExpertOwnerOf(numbers.data()) == one.key() && one.stats().live_blocks == 1);

        std::map<int, Text, std::less<int>, expert::allocator<Entry>> names(
            std::less<int>(), one.allocator<Entry>());
        for (int i = 0; i < 100; i++)
            names.emplace(i, Text("a name that is longer than what a string keeps in itself",
                                  one.allocator<char>()));
        CHECK(one.stats().live_blocks == 201 && names.at(99).size() == 56);

        std::vector<Wide, expert::allocator<Wide>> wide(3, Wide{7}, one.allocator<Wide>());
        CHECK(reinterpret_cast<std::uintptr_t>(wide.data()) % 128 == 0 && wide[2].number == 7);

        std::vector<int, expert::allocator<int>> moved(other.allocator<int>());
        moved = std::move(numbers);
        CHECK(ExpertOwnerOf(moved.data()) == one.key() && moved[9999] == 9999);

        std::vector<char, expert::allocator<char>> refused(other.allocator<char>());
        try {
            refused.resize(2 << 20);
            CHECK(!"beyond the quota");
        } catch (const std::bad_alloc &why) {
            CHECK(dynamic_cast<const expert::error &>(why).code() == NMERR_OUT_OF_MEMORY);
        }
        CHECK(other.stats().refusals == 1 && refused.empty());
    }
    CHECK(one.stats().live_blocks == 0);
}

static void an_owner_owns()
{
    HEXPERTKEY key;
    {
        expert::owner first("first");
        key = first.key();
        expert::owner child(first, "child", 100000, 1000);
        CHECK(ExpertAllocMemory(child.key(), 1000, nullptr) != nullptr);
        expert::owner second(std::move(first));
        CHECK(second.key() == key && first.key() == nullptr);
        CHECK(child.reclaim().blocks == 1 && child.reclaim().blocks == 0);
        second = expert::owner("third");
        CHECK(ExpertTerminateKey(key) == NMERR_INVALID_EXPERT_HANDLE);
        key = second.key();
    }
    CHECK(ExpertTerminateKey(key) == NMERR_INVALID_EXPERT_HANDLE);
}

static void holders_are_named()
{
    expert::owner tenant("tenant", 1 << 20);
    expert::owner query(tenant, "query");
    CHECK(ExpertAllocMemory(query.key(), 900 << 10, nullptr) != nullptr);
    CHECK(query.largest_holders().count == 1);
    CHECK(query.largest_holders().holdings[0].key == query.key());
    std::string text = query.explain(NMERR_OUT_OF_MEMORY);
    CHECK(text.find("(tenant: 904.0 KiB of 1.0 MiB)") != std::string::npos);
    CHECK(text.size() == std::string(text.c_str()).size());
    CHECK(query.explain(NMERR_SUCCESS).empty());
}

static void a_scope_is_left()
{
    expert::owner owner("scope");
    {
        expert::scope outer(owner);
        expert::scope inner(EXPERT_HOST_KEY);
    }
    CHECK(ExpertLeave() == NMERR_INVALID_PARAMETER);
    HEXPERTKEY key = owner.key();
    owner.reclaim();
    try {
        expert::scope never(key);
        CHECK(!"the key is stale");
    } catch (const expert::error &why) {
        CHECK(why.code() == NMERR_INVALID_EXPERT_HANDLE && why.what() != nullptr);
    }
}

int main()
{
    containers_live_in_the_experts_memory();
    an_owner_owns();
    a_scope_is_left();
    holders_are_named();
    std::puts("contained");
    return 0;
}
