// expert_alloc.hpp - experts for C++: C++11 and later, a header only.
//
//   expert::owner      owns an expert; its memory comes back when it is destroyed
//   expert::scope      makes an expert the owner of this thread's allocations
//   expert::allocator  an allocator for standard containers, over a key
//
// A container must be destroyed before its expert ends, as it refers to its memory.
#ifndef EXPERT_ALLOC_HPP
#define EXPERT_ALLOC_HPP

#include <cstddef>
#include <limits>
#include <new>
#include <string>
#include <type_traits>

#include "expert_alloc.h"

namespace expert {

// The error of a call that was refused, with an NMERR code.
class error : public std::bad_alloc {
public:
    explicit error(DWORD code) noexcept : code_(code) {}

    DWORD code() const noexcept { return code_; }

    const char *what() const noexcept override
    {
        switch (code_) {
        case NMERR_OUT_OF_MEMORY: return "no more memory in the system or the quota";
        case NMERR_INTERNAL_EXCEPTION: return "a clean-up failed";
        case NMERR_ACCESS_DENIED: return "the block, or the expert, is another's";
        case NMERR_INVALID_PARAMETER: return "not a live block of this heap";
        case NMERR_EXPERT_TERMINATE: return "the host wants this expert to stop";
        case NMERR_INVALID_EXPERT_HANDLE: return "no live expert has this key";
        default: return "refused";
        }
    }

private:
    DWORD code_;
};

// An allocator over a key. Containers with allocators of one key may exchange
// their contents; copying, moving and swapping a container takes the key along.
template <class T> class allocator {
public:
    using value_type = T;
    using propagate_on_container_copy_assignment = std::true_type;
    using propagate_on_container_move_assignment = std::true_type;
    using propagate_on_container_swap = std::true_type;
    using is_always_equal = std::false_type;

    explicit allocator(HEXPERTKEY key) noexcept : key_(key) {}
    template <class U> allocator(const allocator<U> &other) noexcept : key_(other.key()) {}

    // Throws expert::error, which is a std::bad_alloc.
    T *allocate(std::size_t count)
    {
        if (count > (std::numeric_limits<std::size_t>::max)() / sizeof(T))
            throw error(NMERR_OUT_OF_MEMORY);
        DWORD code = NMERR_SUCCESS;
        void *memory = ExpertAllocAligned(key_, count * sizeof(T), alignof(T), 0, &code);
        if (memory == nullptr)
            throw error(code);
        return static_cast<T *>(memory);
    }

    void deallocate(T *memory, std::size_t) noexcept { ExpertFreeMemory(key_, memory); }

    HEXPERTKEY key() const noexcept { return key_; }

private:
    HEXPERTKEY key_;
};

template <class T, class U>
bool operator==(const allocator<T> &one, const allocator<U> &other) noexcept
{
    return one.key() == other.key();
}

template <class T, class U>
bool operator!=(const allocator<T> &one, const allocator<U> &other) noexcept
{
    return one.key() != other.key();
}

// Owns an expert.
class owner {
public:
    // Throws expert::error. A quota of 0 is none.
    explicit owner(const char *name, std::size_t quota = 0)
    {
        DWORD code = NMERR_SUCCESS;
        key_ = ExpertRegisterKey(name, quota, &code);
        check(code);
    }

    // Registers a child of an expert, whose memory also counts against the parent's quota.
    owner(const owner &parent, const char *name, std::size_t quota = 0,
          std::size_t soft_quota = 0)
    {
        DWORD code = NMERR_SUCCESS;
        key_ = ExpertRegisterChild(parent.key_, name, quota, soft_quota, &code);
        check(code);
    }

    owner(const owner &) = delete;
    owner &operator=(const owner &) = delete;

    owner(owner &&other) noexcept : key_(other.key_) { other.key_ = nullptr; }

    owner &operator=(owner &&other) noexcept
    {
        if (this != &other) {
            reclaim();
            key_ = other.key_;
            other.key_ = nullptr;
        }
        return *this;
    }

    ~owner() { reclaim(); }

    // Ends the expert now, and returns the report.
    EXPERTRECLAIMED reclaim() noexcept
    {
        EXPERTRECLAIMED report = EXPERTRECLAIMED();
        if (key_ != nullptr)
            ExpertReclaimKey(key_, &report);
        key_ = nullptr;
        return report;
    }

    // Tells the expert to stop.
    void terminate() const noexcept { ExpertTerminateKey(key_); }

    EXPERTMEMORYSTATS stats() const noexcept
    {
        EXPERTMEMORYSTATS held = EXPERTMEMORYSTATS();
        ExpertGetMemoryStats(key_, &held);
        return held;
    }

    // Who holds most of the quota that has the least room for it.
    EXPERTLARGEST largest_holders() const noexcept
    {
        EXPERTLARGEST holders = EXPERTLARGEST();
        ExpertGetLargestHolders(key_, &holders);
        return holders;
    }

    // The error of a call for it in words that name those. Memory of the program's.
    std::string explain(DWORD code) const
    {
        std::string text(ExpertExplain(key_, code, nullptr, 0) + 1, '\0');
        std::size_t length = ExpertExplain(key_, code, &text[0], text.size());
        text.resize(length < text.size() ? length : text.size() - 1);
        return text;
    }

    // NULL once it has ended, or was moved from.
    HEXPERTKEY key() const noexcept { return key_; }

    template <class T> expert::allocator<T> allocator() const noexcept
    {
        return expert::allocator<T>(key_);
    }

private:
    static void check(DWORD code)
    {
        if (code != NMERR_SUCCESS)
            throw error(code);
    }

    HEXPERTKEY key_ = nullptr;
};

// Until it is destroyed, the expert owns what this thread allocates through the global
// allocator.
class scope {
public:
    // Throws expert::error.
    explicit scope(HEXPERTKEY key)
    {
        DWORD code = ExpertEnter(key);
        if (code != NMERR_SUCCESS)
            throw error(code);
    }
    explicit scope(const owner &expert) : scope(expert.key()) {}

    scope(const scope &) = delete;
    scope &operator=(const scope &) = delete;
    ~scope() { ExpertLeave(); }
};

} // namespace expert

#endif // EXPERT_ALLOC_HPP
