/*
 * What the measures of the benches share: a thread pinned to a CPU, the clock, the order of samples. Include it first.
 */
#ifndef PEER_H
#define PEER_H

#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Ends the program with the reason of the call that has just failed. */
static inline void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Pins the calling thread, to no CPU in particular if it is negative; ends the program where there is no such CPU. */
static inline void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) < 0)
		fail("sched_setaffinity");
}

/* Monotonic seconds. */
static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Monotonic microseconds. */
static inline double now_us(void)
{
	return now() * 1e6;
}

/* For qsort of doubles. */
static inline int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

#endif
