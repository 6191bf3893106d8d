/* Makes calls of drainit fail, as the kernel may fail them at any time. Preloaded. ERRORS is a seed, which decides which
 * calls fail, from when on, and how often: from all to every fiftieth. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static unsigned long seed;
static atomic_ulong calls;

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("ERRORS");
    if (text && !strcmp(program_invocation_short_name, "drainit"))
        seed = strtoul(text, 0, 10);
}

static unsigned long mix(unsigned long x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

/* Returns a random number for a call that is to fail, and otherwise 0. */
static unsigned long drawn(const char *name, int may_last)
{
    unsigned long how = seed, call = atomic_fetch_add(&calls, 1);
    for (const char *at = name; *at; at++)
        how = mix(how * 31 + *at);
    unsigned long draw = mix(how + call * 0x9e3779b97f4a7c15), rate = (int[]){2, 10, 50}[how / 4 % 3];
    int lasts = may_last && how / 12 % 4 == 0, begins = call > (seed % 4 ? how / 48 % 4000 : 0);
    return seed && how % 4 == 0 && begins && (lasts || draw % rate == 0) ? draw / rate | 1 : 0;
}

/* Sets one of the errors, which end with 0, if this call is to fail. A call is not interrupted each time. */
static int fails(const char *name, const int *errors)
{
    unsigned long count = 0, draw = drawn(name, *errors != EINTR);
    while (errors[count])
        count++;
    if (draw)
        errno = errors[draw / 2 % count];
    return draw != 0;
}

static int is_file(int descriptor)
{
    struct stat status;
    return seed && !fstat(descriptor, &status) && S_ISREG(status.st_mode);
}

#define FAILS(name, ...) fails(#name, (int[]){__VA_ARGS__, 0})
/* A function of the C library, whose arguments are all in registers. It returns `failed` if `fails`, and otherwise does
 * `first` before the call. */
#define WRAP(name, failed, fails, first)                                                               \
    long its_##name(long a, long b, long c, long d, long e, long f, long g) __asm__(#name);            \
    long its_##name(long a, long b, long c, long d, long e, long f, long g)                            \
    {                                                                                                  \
        static long (*real)(long, long, long, long, long, long, long);                                 \
        if (!real)                                                                                     \
            real = dlsym(RTLD_NEXT, #name);                                                            \
        if (fails)                                                                                     \
            return failed;                                                                             \
        first;                                                                                         \
        return real(a, b, c, d, e, f, g);                                                              \
    }
#define CALL(name, ...) WRAP(name, -1, FAILS(name, __VA_ARGS__), )
/* A read or a write of a file, which may also be short. */
#define PART(name, ...)                                                                                \
    WRAP(name, -1, is_file(a) && FAILS(name, __VA_ARGS__), if (is_file(a) && drawn(#name " short", 0)) c = (c + 1) / 2)

PART(read, EIO, ENOMEM)
PART(write, ENOSPC, EIO)
CALL(open64, EMFILE, ENFILE, ENOMEM, EIO)
CALL(openat, EMFILE, ENFILE, ENOMEM, EIO)
WRAP(opendir, 0, FAILS(opendir, EMFILE, ENOMEM), )
CALL(stat64, ENOMEM, EIO)
CALL(lstat64, ENOMEM, EIO)
CALL(renameat, ENOSPC, EIO, EROFS)
CALL(unlinkat, EIO, EROFS, EBUSY)
CALL(unlink, EIO, EROFS, EBUSY)
CALL(readlink, ENOMEM, EIO)
CALL(chmod, EROFS, EIO)
CALL(fchmod, EROFS, EIO)
CALL(fchown, EROFS, EIO)
CALL(fork, EAGAIN, ENOMEM)
WRAP(pthread_create, EAGAIN, FAILS(pthread_create, EAGAIN), )
CALL(setpgid, EACCES, ESRCH)
CALL(poll, EINTR, ENOMEM)
CALL(epoll_wait, EINTR)
CALL(epoll_create1, EMFILE, ENOMEM)
WRAP(epoll_ctl, -1, b == 1 && FAILS(epoll_ctl, ENOMEM, ENOSPC), )
CALL(timerfd_create, EMFILE, ENFILE, ENOMEM)
CALL(eventfd, EMFILE, ENFILE, ENOMEM)
CALL(pipe2, EMFILE, ENFILE)
CALL(dup, EMFILE)
WRAP(fcntl, -1, b == 1030 && FAILS(fcntl, EMFILE), ) /* F_DUPFD_CLOEXEC */
CALL(socket, EMFILE, ENFILE, ENOMEM, ENOBUFS)
CALL(bind, EADDRINUSE, ENOMEM, EIO)
CALL(listen, EADDRINUSE)
CALL(accept4, EMFILE, ENFILE, ENOMEM, ECONNABORTED)
CALL(connect, ENOMEM, EAGAIN)
CALL(setsockopt, ENOMEM, ENOBUFS)
CALL(getsockopt, ENOMEM, ENOBUFS)
CALL(send, ENOBUFS, ENOMEM)
CALL(sendto, ENOBUFS, ENOMEM)
CALL(recvmsg, ENOMEM)

/* The calls that the C library does not know, and those between fork and exec. */
static int is_refused(long number)
{
    switch (number) {
    case SYS_pidfd_open:
        return fails("pidfd_open", (int[]){EMFILE, ENFILE, ENOMEM, ENOSYS, 0});
    case SYS_pidfd_send_signal:
        return fails("pidfd_send_signal", (int[]){ENOSYS, 0});
    case SYS_signalfd4:
        return fails("signalfd4", (int[]){EMFILE, ENFILE, ENOMEM, 0});
    case SYS_rt_sigtimedwait:
        return fails("rt_sigtimedwait", (int[]){EINTR, 0});
    case SYS_execve:
        return fails("execve", (int[]){EIO, ENOMEM, EAGAIN, ETXTBSY, EMFILE, 0});
    case SYS_dup3:
        return fails("dup3", (int[]){EINTR, EBUSY, 0});
    case SYS_fchdir:
        return fails("fchdir", (int[]){EIO, 0});
    case SYS_setsid:
        return fails("setsid", (int[]){EPERM, 0});
    }
    return 0;
}
WRAP(syscall, -1, is_refused(a), )
