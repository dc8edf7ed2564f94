/* Checks that go on after a failure, so that one run tells of all. main returns `failures != 0`. */
#include <stdio.h>

static int failures = 0;

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition); \
            failures++; \
        } \
    } while (0)
