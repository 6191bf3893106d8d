/* What fork and exec cost alone: starts N programs as group leaders, one after the other, tells how long that took, ends
 * all of them, and tells how long it took until they were reaped. */
#define _GNU_SOURCE
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static double cpu(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

int main(int argc, char **argv) {
    int n = argc > 2 ? atoi(argv[2]) : 0;
    pid_t *pids = calloc(n, sizeof *pids);
    char *args[] = {argv[1], NULL};
    posix_spawnattr_t attr;
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
    double begin = now(), cpu_begin = cpu();
    for (int i = 0; i < n; i++)
        if (posix_spawn(&pids[i], argv[1], NULL, &attr, args, environ)) return 1;
    double started = now(), cpu_started = cpu();
    for (int i = 0; i < n; i++) kill(pids[i], SIGTERM);
    for (int i = 0; i < n; i++) waitpid(pids[i], NULL, 0);
    double stopped = now(), cpu_stopped = cpu();
    printf("%.1f %.1f %.1f %.1f\n", started - begin, stopped - started, cpu_started - cpu_begin, cpu_stopped - cpu_started);
}
