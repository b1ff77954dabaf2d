// Clean-ups that throw. The exceptions are caught and counted, destructors run, and the
// host's own exceptions work as before.
#include <cstdio>
#include <exception>
#include <stdexcept>

#include "expert_alloc.h"

static int destroyed, finished;

struct Counted {
    ~Counted() { destroyed++; }
};

static void throws(LPVOID)
{
    Counted counted;
    throw std::runtime_error("out of a clean-up");
}

static void returns(LPVOID)
{
    finished++;
}

int main()
{
    const int rounds = 100;
    for (int round = 0; round < rounds; round++) {
        DWORD error = 1;
        EXPERTRECLAIMED report;
        HEXPERTKEY key = ExpertRegisterKey("throws", 0, &error);
        if (key == nullptr || error != NMERR_SUCCESS)
            return 1;
        ExpertOnReclaim(key, returns, nullptr);
        ExpertOnReclaim(key, throws, nullptr);
        if (ExpertReclaimKey(key, &report) != NMERR_INTERNAL_EXCEPTION)
            return 2;
        if (std::uncaught_exception())
            return 5;
        if (report.cleanups_run != 2 || report.cleanups_failed != 1)
            return 3;
    }
    if (destroyed != rounds || finished != rounds)
        return 4;
    try {
        throw std::runtime_error("the host's own");
    } catch (const std::exception &exception) {
        std::puts(exception.what());
    }
    return 0;
}
