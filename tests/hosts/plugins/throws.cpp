// A plug-in in C++ whose functions throw types that the host does not know.
#include <stdexcept>

extern "C" void calls_back(void (*callback)(void *), void *context)
{
    callback(context);
}

extern "C" void throws(void)
{
    throw std::runtime_error("out of a plug-in");
}

extern "C" void throws_a_number(void)
{
    throw 7;
}
