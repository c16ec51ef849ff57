/*
 * The C side of the noise test of cores_bench.ts: a fixed work quantum, run again and again on one pinned CPU; its times in
 * nanoseconds, one a line. Usage: fwq CPU ITERATIONS SAMPLES (CPU -1: not pinned).
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A linear congruential generator: work that no compiler can leave out or do at once. */
static uint32_t quantum(uint32_t x, int iterations)
{
	for (int i = 0; i < iterations; i++) {
		x = x * 1664525u + 1013904223u;
		__asm__ volatile("" : "+r"(x));
	}
	return x;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: fwq CPU ITERATIONS SAMPLES\n");
		return 2;
	}
	int cpu = atoi(argv[1]), iterations = atoi(argv[2]), samples = atoi(argv[3]);
	cpu_set_t set;

	if (cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof set, &set) != 0) {
			perror("fwq: sched_setaffinity");
			return 1;
		}
	}
	int64_t *times = calloc(samples, sizeof *times);
	uint32_t x = 1;

	if (!times)
		return 1;
	for (int i = 0; i < 200; i++)
		x = quantum(x, iterations);
	for (int i = 0; i < samples; i++) {
		int64_t start = now_ns();

		x = quantum(x, iterations);
		times[i] = now_ns() - start;
	}
	for (int i = 0; i < samples; i++)
		printf("%lld\n", (long long)times[i]);
	return x == 0;
}
