// Ways out of a function that a call was given, and the end of the call: it finishes
// its work, then the exception is counted, the thread ends, or the jump is done.
// Nothing is lost.
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <stdexcept>
#include <unistd.h>

#include "check.h"
#include "expert_plugin.h"

static std::jmp_buf place;
static int ran, destroyed;

struct Counted {
    ~Counted() { destroyed++; }
};

static void counts(LPVOID) { ran++; }
static void throws(LPVOID)
{
    Counted counted;
    throw std::runtime_error("out of a clean-up");
}
static void jumps(LPVOID) { std::longjmp(place, 1); }
static void exits(LPVOID)
{
    Counted counted;
    pthread_exit(reinterpret_cast<void *>(5));
}
static void sleeps(LPVOID)
{
    Counted counted;
    for (;;)
        pause();
}

// A key with a block, and a clean-up between two others.
static HEXPERTKEY make(void (*cleanup)(LPVOID))
{
    DWORD error = 1;
    HEXPERTKEY key = ExpertRegisterKey("left", 0, &error);
    CHECK(key != nullptr && error == NMERR_SUCCESS);
    CHECK(ExpertAllocMemory(key, 100000, &error) != nullptr);
    CHECK(ExpertOnReclaim(key, counts, nullptr) == NMERR_SUCCESS);
    CHECK(ExpertOnReclaim(key, cleanup, nullptr) == NMERR_SUCCESS);
    CHECK(ExpertOnReclaim(key, counts, nullptr) == NMERR_SUCCESS);
    ran = destroyed = 0;
    return key;
}

static std::size_t host_blocks()
{
    EXPERTMEMORYSTATS held;
    CHECK(ExpertGetMemoryStats(EXPERT_HOST_KEY, &held) == NMERR_SUCCESS);
    return held.live_blocks;
}

// All of its memory came back, and nothing of it is left.
static void check_gone(HEXPERTKEY key, std::size_t before)
{
    EXPERTMEMORYSTATS held;
    CHECK(ran == 2);
    CHECK(ExpertGetMemoryStats(key, &held) == NMERR_INVALID_EXPERT_HANDLE);
    CHECK(ExpertReclaimKey(key, nullptr) == NMERR_INVALID_EXPERT_HANDLE);
    CHECK(host_blocks() == before);
    CHECK(ExpertLeave() == NMERR_INVALID_PARAMETER);
}

static void an_exception_is_counted()
{
    std::size_t before = host_blocks();
    HEXPERTKEY key = make(throws);
    EXPERTRECLAIMED report;
    CHECK(ExpertReclaimKey(key, &report) == NMERR_INTERNAL_EXCEPTION);
    CHECK(report.cleanups_run == 3 && report.cleanups_failed == 1 && report.blocks == 1);
    CHECK(destroyed == 1);
    check_gone(key, before);
}

static void a_jump_is_done_after_all_the_rest(bool once_more)
{
    volatile std::size_t before = host_blocks();
    volatile HEXPERTKEY key = make(jumps);
    // If a second clean-up jumps, the handler of the first jump does the rest.
    if (once_more)
        CHECK(ExpertOnReclaim(key, jumps, nullptr) == NMERR_SUCCESS);
    if (setjmp(place) == 0) {
        ExpertReclaimKey(key, nullptr);
        CHECK(!"it jumps");
    }
    check_gone(key, before);
}

static void *reclaims(void *key)
{
    ExpertReclaimKey(key, nullptr);
    CHECK(!"the thread ends");
    return nullptr;
}

static void a_thread_ends_after_all_the_rest()
{
    for (int round = 0; round < 100; round++) {
        std::size_t before = host_blocks();
        HEXPERTKEY key = make(exits);
        pthread_t thread;
        void *result = nullptr;
        CHECK(pthread_create(&thread, nullptr, reclaims, key) == 0);
        CHECK(pthread_join(thread, &result) == 0);
        CHECK(result == reinterpret_cast<void *>(5) && destroyed == 1);
        check_gone(key, before);
    }
}

static void a_cancelled_thread_finishes()
{
    std::size_t before = host_blocks();
    HEXPERTKEY key = make(sleeps);
    pthread_t thread;
    void *result = nullptr;
    CHECK(pthread_create(&thread, nullptr, reclaims, key) == 0);
    usleep(100000);
    CHECK(pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED && destroyed == 1);
    check_gone(key, before);
}

static void nested(LPVOID key)
{
    CHECK(ExpertReclaimKey(key, nullptr) == NMERR_SUCCESS);
}

// A clean-up may reclaim another expert, whose clean-up jumps out of both.
static void a_jump_leaves_calls_in_calls()
{
    volatile std::size_t before = host_blocks();
    DWORD error;
    volatile HEXPERTKEY inner = make(jumps);
    volatile HEXPERTKEY outer = ExpertRegisterKey("outer", 0, &error);
    CHECK(ExpertOnReclaim(outer, nested, inner) == NMERR_SUCCESS);
    if (setjmp(place) == 0) {
        ExpertReclaimKey(outer, nullptr);
        CHECK(!"it jumps");
    }
    check_gone(inner, before);
    check_gone(outer, before);
}

static void enters(LPVOID key)
{
    CHECK(ExpertEnter(EXPERT_HOST_KEY) == NMERR_SUCCESS);
    CHECK(ExpertEnter(key) == NMERR_SUCCESS);
    std::longjmp(place, 1);
}

static void reclaims_and_jumps(LPVOID key)
{
    ExpertReclaimKey(key, nullptr);
    CHECK(!"it jumps");
}

static void *exits_in_a_call(void *key)
{
    ExpertCall(key, exits, nullptr);
    CHECK(!"the thread ends");
    return nullptr;
}

// A plug-in that the host calls cannot jump over the host.
static void a_call_is_left_in_one_way_only()
{
    volatile std::size_t before = host_blocks();
    volatile HEXPERTKEY key = make(counts), jumping = make(jumps);
    CHECK(ExpertCall(nullptr, counts, nullptr) == NMERR_INVALID_EXPERT_HANDLE);
    CHECK(ExpertCall(key, nullptr, nullptr) == NMERR_INVALID_PARAMETER);
    CHECK(ran == 0);
    volatile int rounds = 0, jumped = 0;
    if (setjmp(place) != 0)
        jumped = 1;
    CHECK(jumped == 0);
    for (rounds = 0; rounds < 100; rounds = rounds + 1) {
        CHECK(ExpertCall(key, counts, nullptr) == NMERR_SUCCESS);
        CHECK(ExpertCall(key, throws, nullptr) == NMERR_INTERNAL_EXCEPTION);
        CHECK(ExpertCall(key, jumps, nullptr) == NMERR_INTERNAL_EXCEPTION);
        CHECK(ExpertCall(key, enters, key) == NMERR_INTERNAL_EXCEPTION);
        CHECK(ExpertLeave() == NMERR_INVALID_PARAMETER);
    }
    CHECK(ran == 100 && destroyed == 100);
    ran = 0;
    // The inner work is done first.
    CHECK(ExpertCall(key, reclaims_and_jumps, jumping) == NMERR_INTERNAL_EXCEPTION);
    CHECK(ran == 2 && ExpertTerminateKey(jumping) == NMERR_INVALID_EXPERT_HANDLE);
    pthread_t thread;
    void *result = nullptr;
    CHECK(pthread_create(&thread, nullptr, exits_in_a_call, key) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == reinterpret_cast<void *>(5));
    CHECK(ExpertReclaimKey(key, nullptr) == NMERR_SUCCESS);
    CHECK(host_blocks() == before);
}

static void *enumerates(void *way)
{
    struct Way {
        static void exits(HEXPERTKEY, LPVOID) { pthread_exit(reinterpret_cast<void *>(7)); }
        static void throws(HEXPERTKEY, LPVOID) { throw 7; }
        static void jumps(HEXPERTKEY, LPVOID) { std::longjmp(place, 1); }
    };
    CHECK(ExpertEnumerate(Way::throws, nullptr) == NMERR_INTERNAL_EXCEPTION);
    if (setjmp(place) == 0) {
        ExpertEnumerate(Way::jumps, nullptr);
        CHECK(!"it jumps");
    }
    ExpertEnumerate(Way::exits, way);
    CHECK(!"the thread ends");
    return nullptr;
}

static int told;
static void (*leave)(LPVOID);

static void observes(EXPERTEVENT *event, LPVOID context)
{
    told++;
    event->retry = 1;
    leave(context);
}

// However the observer is left, the call goes on without its answer, and it is told of the
// next event.
static void an_observer_is_left()
{
    void (*ways[])(LPVOID) = {throws, jumps, exits};
    for (void (*way)(LPVOID) : ways) {
        DWORD error = NMERR_SUCCESS;
        HEXPERTKEY key = ExpertRegisterKey("left", 64 << 10, &error);
        leave = way;
        told = destroyed = 0;
        CHECK(ExpertObserve(observes, nullptr) == NMERR_SUCCESS);
        if (setjmp(place) != 0)
            CHECK(!"the jump is not done");
        CHECK(ExpertAllocMemory(key, 1 << 20, &error) == nullptr && error == NMERR_OUT_OF_MEMORY);
        // Asked before the refusal, and told of it.
        CHECK(told == 2 && destroyed == (way == jumps ? 0 : 2));
        CHECK(ExpertObserve(nullptr, nullptr) == NMERR_SUCCESS);
        CHECK(ExpertReclaimKey(key, nullptr) == NMERR_SUCCESS && told == 2);
    }
}

int main()
{
    an_observer_is_left();
    an_exception_is_counted();
    for (int round = 0; round < 100; round++)
        a_jump_is_done_after_all_the_rest(round % 2 == 0);
    a_thread_ends_after_all_the_rest();
    a_cancelled_thread_finishes();
    a_jump_leaves_calls_in_calls();
    a_call_is_left_in_one_way_only();
    pthread_t thread;
    void *result = nullptr;
    CHECK(pthread_create(&thread, nullptr, enumerates, nullptr) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == reinterpret_cast<void *>(7));
    try {
        throw std::runtime_error("nothing is lost");
    } catch (const std::exception &exception) {
        std::puts(exception.what());
    }
    return 0;
}
