/* The least that a process can be: it sleeps for two minutes, or until a signal comes. Without a C library, so that what
 * is measured is the supervisor and not the loader. */
void _start(void) {
    long number = 37, seconds = 120, result; /* alarm(2) */
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(seconds) : "rcx", "r11", "memory");
    for (number = 34;;) /* pause(2) */
        __asm__ volatile("syscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
}
