// Time. Engines never read a clock: they are given `now`. Only loops, owners and tools call this.

#pragma once

#include <stdint.h>

// Monotonic milliseconds and nanoseconds since an arbitrary start; unaffected by clock changes.
uint64_t clock_ms(void);
uint64_t clock_ns(void);

// Seconds and milliseconds since 1970 (UTC), for people and certificates only.
int64_t clock_wall_s(void);
int64_t clock_wall_ms(void);

// CPU seconds used by this process so far.
double clock_cpu_s(void);
