/* A host that closes the library while a thread lives that has used it: the thread ends
 * after that, and calls code of the library, which must still be there. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#include "expert_alloc.h"

typedef HEXPERTKEY (*register_key)(const char *, SIZE_T, LPDWORD);
typedef LPVOID (*alloc_memory)(HEXPERTKEY, SIZE_T, LPDWORD);

static pthread_barrier_t turns;
static alloc_memory alloc;
static HEXPERTKEY key;

static void *use_it(void *unused) {
    void *block = alloc(key, 100, NULL);
    (void)unused;
    pthread_barrier_wait(&turns);
    pthread_barrier_wait(&turns);
    return block;
}

int main(int count, char **words) {
    pthread_t thread;
    void *block = NULL;
    void *library = count > 1 ? dlopen(words[1], RTLD_NOW) : NULL;
    if (library == NULL) {
        return 2;
    }
    *(void **)&alloc = dlsym(library, "ExpertAllocMemory");
    register_key begin;
    *(void **)&begin = dlsym(library, "ExpertRegisterKey");
    key = begin("closing", 0, NULL);
    pthread_barrier_init(&turns, NULL, 2);
    pthread_create(&thread, NULL, use_it, NULL);
    pthread_barrier_wait(&turns);
    if (dlclose(library) != 0) {
        return 3;
    }
    pthread_barrier_wait(&turns);
    pthread_join(thread, &block);
    puts(block != NULL ? "ended" : "no block");
    return 0;
}
