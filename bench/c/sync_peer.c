/*
 * The measure for sync_bench.ts: what a blocking read of some bytes costs in C.
 *
 * usage: sync_peer spin|futex|read CPU CPU BYTES COUNT
 * spin, futex: one pinned thread asks another, which copies the bytes into memory that both share; the asker copies them out
 * read: pread(2) of a file in /dev/shm
 * prints: p50, p90 and p99 of one read, microseconds
 */
#include "peer.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_BYTES 65536

struct word {
	_Alignas(128) atomic_int value;
};

static struct word asked, answered;
static char file[MAX_BYTES], shared[MAX_BYTES], into[MAX_BYTES];
static int spinning, bytes, count, cpus[2];

static void await(struct word *w, int old)
{
	while (atomic_load(&w->value) == old)
		if (!spinning)
			syscall(SYS_futex, &w->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
}

static void post(struct word *w, int value)
{
	atomic_store(&w->value, value);
	if (!spinning)
		syscall(SYS_futex, &w->value, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *server(void *unused)
{
	(void)unused;
	pin(cpus[1]);
	for (int i = 1; i <= count; i++) {
		await(&asked, i - 1);
		memcpy(shared, file, bytes);
		post(&answered, i);
	}
	return NULL;
}

static int open_file(void)
{
	char path[] = "/dev/shm/sync_peer.XXXXXX";
	int fd = mkstemp(path);

	if (fd < 0 || unlink(path) < 0 || write(fd, file, bytes) != bytes) {
		perror(path);
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	int fd = -1;
	pthread_t thread;
	double *times;

	if (argc != 6) {
		fprintf(stderr, "usage: sync_peer spin|futex|read CPU CPU BYTES COUNT\n");
		return 2;
	}
	spinning = strcmp(argv[1], "spin") == 0;
	cpus[0] = atoi(argv[2]);
	cpus[1] = atoi(argv[3]);
	bytes = atoi(argv[4]);
	count = atoi(argv[5]);
	times = calloc(count, sizeof *times);
	if (!times || bytes > MAX_BYTES)
		return 1;
	if (strcmp(argv[1], "read") == 0)
		fd = open_file();
	else if (pthread_create(&thread, NULL, server, NULL) != 0)
		return 1;
	pin(cpus[0]);
	for (int i = 1; i <= count; i++) {
		double start = now_us();

		if (fd >= 0) {
			if (pread(fd, into, bytes, 0) != bytes)
				return 1;
		} else {
			post(&asked, i);
			await(&answered, i - 1);
			memcpy(into, shared, bytes);
		}
		times[i - 1] = now_us() - start;
	}
	if (fd < 0)
		pthread_join(thread, NULL);
	qsort(times, count, sizeof *times, ascending);
	printf("%.3f %.3f %.3f\n", times[count / 2], times[(int)(count * 0.9)], times[(int)(count * 0.99)]);
	return 0;
}
