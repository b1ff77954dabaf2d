/* A host in C: it loads a plug-in, asks which heap it uses, attaches it if it wants
 * that, runs it, unloads it, and takes back what its allocator had. Arguments: plug-ins. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "expert_plugin.h"

typedef DWORD (*attach_function)(const EXPERTHOST *, HEXPERTKEY);
typedef DWORD (*register_function)(EXPERTENUMINFO *);
typedef DWORD (*run_function)(HEXPERTKEY, const EXPERTCONFIG *, EXPERTSTARTUPINFO *);

static LPVOID lookup(LPVOID library, const char *name)
{
    return dlsym(library, name);
}

struct run {
    run_function function;
    HEXPERTKEY key;
    EXPERTSTARTUPINFO startup;
    DWORD code;
};

static void run(LPVOID context)
{
    struct run *run = context;
    run->code = run->function(run->key, NULL, &run->startup);
}

static int play(const char *path, const char *text)
{
    DWORD error, code;
    EXPERTENUMINFO info;
    EXPERTRECLAIMED report;
    struct run call;
    attach_function attach;
    register_function registers;
    HEXPERTKEY memory;
    const char *why;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return puts(dlerror()), 1;
    why = ExpertProbePlugin(lookup, library);
    if (why != NULL)
        return puts(why), 1;

    /* Blocks of its own allocator live as long as the library is loaded. */
    memory = ExpertRegisterPlugin(path, 64 << 20, &error);
    *(void **)&attach = dlsym(library, "ExpertPluginAttach");
    if (attach != NULL && attach(ExpertHostTable(), memory) != NMERR_SUCCESS)
        return 1;
    if (ExpertReclaimKey(memory, NULL) != NMERR_ACCESS_DENIED)
        return puts("a plug-in's key ended under it"), 1;
    /* A clean-up in the library would be called when the library is gone. */
    if (ExpertOnReclaim(memory, run, &call) != NMERR_ACCESS_DENIED)
        return puts("a clean-up would outlive its library"), 1;
    memset(&info, 0, sizeof info);
    *(void **)&registers = dlsym(library, "Register");
    registers(&info);

    memset(&call, 0, sizeof call);
    *(void **)&call.function = dlsym(library, "Run");
    call.key = ExpertRegisterKey(info.szName, 16 << 20, &error);
    call.startup.size = sizeof call.startup;
    call.startup.data = text;
    call.startup.data_bytes = strlen(text);
    code = ExpertCall(call.key, run, &call);
    if (ExpertReclaimPlugin(call.key, NULL) != NMERR_ACCESS_DENIED)
        return puts("a run's key is not a plug-in's"), 1;
    ExpertReclaimKey(call.key, &report);
    printf("%s: code %u, result %u, %u blocks back\n", info.szName,
           (unsigned)(code != 0 ? code : call.code), (unsigned)call.startup.result,
           (unsigned)report.blocks);

    /* This waits until the library is really gone. */
    dlclose(library);
    library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (library != NULL)
        return puts("it is still in memory"), 1;
    return ExpertReclaimPlugin(memory, &report) != NMERR_SUCCESS;
}

int main(int count, char **paths)
{
    int failures = 0;
    for (int i = 1; i < count; i++)
        failures += play(paths[i], "to be or not to be");
    return failures != 0;
}
