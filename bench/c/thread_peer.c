/*
 * The measure for thread_bench.ts: two pthreads on one core that hand it to each other.
 *
 * usage: thread_peer yield|futex|cond CPU COUNT
 * yield: sched_yield(2); futex: each wakes the other and sleeps (futex(2)); cond: the same by mutex and condition variable
 * prints: nanoseconds a switch
 */
#include "peer.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int turn;
static int count;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t conds[2] = {PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER};

static void *by_yield(void *unused)
{
	(void)unused;
	for (int i = 0; i < count; i++)
		sched_yield();
	return NULL;
}

static void *by_futex(void *arg)
{
	int me = (int)(long)arg;

	for (int i = 0; i < count; i++) {
		while (atomic_load(&turn) != me)
			syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, !me, NULL, NULL, 0);
		atomic_store(&turn, !me);
		syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
	return NULL;
}

static void *by_cond(void *arg)
{
	int me = (int)(long)arg;

	for (int i = 0; i < count; i++) {
		pthread_mutex_lock(&mutex);
		while (atomic_load(&turn) != me)
			pthread_cond_wait(&conds[me], &mutex);
		atomic_store(&turn, !me);
		pthread_cond_signal(&conds[!me]);
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[2];
	void *(*run)(void *);
	double start;

	if (argc != 4) {
		fprintf(stderr, "usage: thread_peer yield|futex|cond CPU COUNT\n");
		return 2;
	}
	run = strcmp(argv[1], "yield") == 0 ? by_yield : strcmp(argv[1], "futex") == 0 ? by_futex : by_cond;
	count = atoi(argv[3]);
	pin(atoi(argv[2]));
	start = now_us();
	for (long i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)i) != 0)
			return 1;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	printf("%.1f\n", (now_us() - start) * 1000 / (2.0 * count));
	return 0;
}
