// Counts the different words, in a standard container in the expert's memory.
#include <cstddef>
#include <set>
#include <string>

#include "expert_alloc.hpp"
#include "expert_plugin.h"

EXPERT_PLUGIN("words in C++", "counts different words")

using Word = std::basic_string<char, std::char_traits<char>, expert::allocator<char>>;
using Words = std::set<Word, std::less<Word>, expert::allocator<Word>>;

DWORD Run(HEXPERTKEY key, const EXPERTCONFIG *, EXPERTSTARTUPINFO *startup)
{
    Words words{expert::allocator<Word>(key)};
    const char *data = static_cast<const char *>(startup->data);
    Word word{expert::allocator<char>(key)};
    for (std::size_t i = 0; i <= startup->data_bytes; i++) {
        if (i < startup->data_bytes && data[i] != ' ') {
            word.push_back(data[i]);
        } else if (!word.empty()) {
            words.insert(word);
            word.clear();
        }
    }
    startup->result = words.size();
    return NMERR_SUCCESS;
}
