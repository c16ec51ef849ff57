/*
 * The C side of noise_bench.ts on one pinned CPU (-1: not pinned). fwq: a fixed work quantum, run again and again; its
 * times in nanoseconds, one a line. ftq: quanta of fixed time; how many iterations were done in each.
 * Usage: fwq fwq CPU ITERATIONS SAMPLES | fwq ftq CPU MICROSECONDS SAMPLES
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

/* Iterations between two looks at the clock of a quantum of fixed time. */
#define STEP 1000

static uint32_t fixed_work(int64_t *got, int iterations, int samples)
{
	uint32_t x = 1;

	for (int i = 0; i < 200; i++)
		x = quantum(x, STEP);
	for (int i = 0; i < samples; i++) {
		int64_t start = now_ns();

		x = quantum(x, iterations);
		got[i] = now_ns() - start;
	}
	return x;
}

static uint32_t fixed_time(int64_t *got, int us, int samples)
{
	uint32_t x = 1;
	int64_t end = now_ns();

	for (int i = 0; i < samples; i++) {
		end += (int64_t)us * 1000;
		for (got[i] = 0; now_ns() < end; got[i] += STEP)
			x = quantum(x, STEP);
	}
	return x;
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: fwq fwq|ftq CPU SIZE SAMPLES\n");
		return 2;
	}
	int cpu = atoi(argv[2]), size = atoi(argv[3]), samples = atoi(argv[4]);
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
	uint32_t x;

	if (!times)
		return 1;
	x = argv[1][1] == 'w' ? fixed_work(times, size, samples) : fixed_time(times, size, samples);
	for (int i = 0; i < samples; i++)
		printf("%lld\n", (long long)times[i]);
	return x == 0;
}
