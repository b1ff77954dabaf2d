// Throws an exception and does not catch it.
#include <stdexcept>
#include <vector>

#include "expert_alloc.hpp"
#include "expert_plugin.h"

EXPERT_PLUGIN("throws", "throws out of Run")

DWORD Run(HEXPERTKEY key, const EXPERTCONFIG *, EXPERTSTARTUPINFO *)
{
    std::vector<int, expert::allocator<int>> numbers(1000, 7, expert::allocator<int>(key));
    ExpertAllocMemory(key, 100000, nullptr);
    throw std::runtime_error("nobody catches this");
}
