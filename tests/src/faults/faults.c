/*
 * Preloaded into nginx: calls that the nginx program itself makes fail when a test says so.
 * Those of its libraries and modules do not, since a Rust library ends the process when it gets
 * no memory.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* What the test and all processes of nginx share; see mod.rs. */
struct schedule {
    _Atomic int64_t pass, fail, failed;
};
enum { MEMORY, EPOLL, KINDS };
struct page {
    struct schedule schedules[KINDS];
    _Atomic int64_t addresses;
};

static struct page *page;
static int64_t addresses;
static uintptr_t program, program_end;

void *__libc_malloc(size_t);
void *__libc_memalign(size_t, size_t);
static int (*real_epoll_ctl)(int, int, int, struct epoll_event *);
static int (*real_epoll_wait)(int, struct epoll_event *, int, int);

static int find_program(struct dl_phdr_info *info, size_t size, void *data)
{
    (void) size, (void) data;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X)) {
            program = info->dlpi_addr + part->p_vaddr;
            program_end = program + part->p_memsz;
        }
    }
    return 1; /* the first one is the program */
}

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("E2E_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    *(void **) &real_epoll_ctl = dlsym(RTLD_NEXT, "epoll_ctl");
    *(void **) &real_epoll_wait = dlsym(RTLD_NEXT, "epoll_wait");
    if (fd < 0) {
        return;
    }
    dl_iterate_phdr(find_program, NULL);
    void *shared = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    page = shared == MAP_FAILED ? NULL : shared;
}

static int fails(int kind, void *caller)
{
    struct schedule *s = page ? &page->schedules[kind] : NULL;
    uintptr_t at = (uintptr_t) caller;
    if (!s || at < program || at >= program_end || atomic_load(&s->fail) <= 0) {
        return 0;
    }
    if (atomic_fetch_sub(&s->pass, 1) > 0 || atomic_fetch_sub(&s->fail, 1) <= 0) {
        return 0;
    }
    atomic_fetch_add(&s->failed, 1);
    return 1;
}

void *malloc(size_t size)
{
    if (fails(MEMORY, __builtin_return_address(0))) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_malloc(size);
}

int posix_memalign(void **place, size_t alignment, size_t size)
{
    if (fails(MEMORY, __builtin_return_address(0))) {
        return ENOMEM;
    }
    void *memory = __libc_memalign(alignment, size);
    if (!memory) {
        return ENOMEM;
    }
    *place = memory;
    return 0;
}

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
    if (what != EPOLL_CTL_DEL && fails(EPOLL, __builtin_return_address(0))) {
        errno = ENOSPC;
        return -1;
    }
    return real_epoll_ctl(epoll, what, fd, event);
}

/* Another process needs a privilege to change the limit, that its worker does not. */
int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    int64_t wanted = page ? atomic_load(&page->addresses) : addresses;
    struct rlimit limit;
    if (wanted != addresses && getrlimit(RLIMIT_AS, &limit) == 0) {
        addresses = wanted;
        limit.rlim_cur = wanted ? (rlim_t) wanted : limit.rlim_max;
        setrlimit(RLIMIT_AS, &limit);
    }
    return real_epoll_wait(epoll, events, most, timeout);
}
