/*
 * The measure for ring_bench.ts: two C threads, pinned, that wake each other by futex, or spin, over 64-byte messages.
 *
 * usage: ring_peer futex|spin CPU CPU COUNT
 * prints: p50 and p99 of one hop (half a round trip), microseconds
 */
#include "peer.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct slot {
	_Alignas(128) atomic_int turn;
	char message[64];
};

static struct slot ping, pong;
static int count, spinning, cpus[2];

static void await(struct slot *s, int old)
{
	while (atomic_load(&s->turn) == old)
		if (!spinning)
			syscall(SYS_futex, &s->turn, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
}

static void post(struct slot *s, const char *message, int turn)
{
	memcpy(s->message, message, sizeof s->message);
	atomic_store(&s->turn, turn);
	if (!spinning)
		syscall(SYS_futex, &s->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *peer(void *unused)
{
	char message[64];

	(void)unused;
	pin(cpus[1]);
	for (int i = 1; i <= count; i++) {
		await(&ping, i - 1);
		memcpy(message, ping.message, sizeof message);
		post(&pong, message, i);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	char message[64] = "ring9";
	double *hops;

	if (argc != 5) {
		fprintf(stderr, "usage: ring_peer futex|spin CPU CPU COUNT\n");
		return 2;
	}
	spinning = strcmp(argv[1], "spin") == 0;
	cpus[0] = atoi(argv[2]);
	cpus[1] = atoi(argv[3]);
	count = atoi(argv[4]);
	hops = calloc(count, sizeof *hops);
	if (!hops || pthread_create(&thread, NULL, peer, NULL) != 0)
		return 1;
	pin(cpus[0]);
	for (int i = 1; i <= count; i++) {
		double start = now_us();

		post(&ping, message, i);
		await(&pong, i - 1);
		memcpy(message, pong.message, sizeof message);
		hops[i - 1] = (now_us() - start) / 2;
	}
	pthread_join(thread, NULL);
	qsort(hops, count, sizeof *hops, ascending);
	printf("%.3f %.3f\n", hops[count / 2], hops[(int)(count * 0.99)]);
	return 0;
}
