/*
 * The load that stacks under test are measured with, over Linux's own sockets.
 *
 * usage: tcpload send  CPU IP PORT SECONDS        sends as fast as it goes; prints Mbit/s
 *        tcpload recv  CPU IP PORT SECONDS        receives; prints Mbit/s
 *        tcpload rr    CPU IP PORT SECONDS        64 bytes there and back; prints round trips a second, p50 and p99 in us
 *        tcpload crr   CPU IP PORT SECONDS        connects, sends 64 bytes, has them back, closes; prints how many a second
 *        tcpload idle  CPU IP PORT COUNT SECONDS  opens COUNT connections, and holds them
 *        tcpload serve CPU                        discard (9), source (19) and echo (7), one connection at a time each:
 *                                                 Linux as the stack under test
 *        tcpload cable CPU TAP TAP OFFLOAD        makes two TAPs, and carries frames between them
 */
#include "peer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BLOCK = 256 << 10, SMALL = 64, SAMPLES = 1 << 20 };

static char block[BLOCK];

static int dial(const char *ip, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct timeval limit = { .tv_sec = 5 };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, ip, &to.sin_addr);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
		fail("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	return fd;
}

/* A quarter of a second warms up, and is not counted. */
static void stream(int fd, double seconds, int sends)
{
	double begin = now(), start = begin, t = begin;
	long long total = 0;
	int warm = 0;

	while (t - start < seconds) {
		ssize_t n = sends ? write(fd, block, BLOCK) : read(fd, block, BLOCK);

		if (n <= 0)
			fail(sends ? "write" : "read");
		t = now();
		total += n;
		if (!warm && t - begin > 0.25) {
			warm = 1;
			start = t;
			total = 0;
		}
	}
	printf("%.0f\n", total * 8 / (t - start) / 1e6);
}

static int exchange(int fd)
{
	char answer[SMALL];
	int got = 0;

	if (write(fd, block, SMALL) != SMALL)
		return 0;
	while (got < SMALL) {
		ssize_t n = read(fd, answer + got, SMALL - got);

		if (n <= 0)
			return 0;
		got += n;
	}
	return 1;
}

static int order(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static void request_response(int fd, double seconds)
{
	static float us[SAMPLES];
	double start = now(), t = start, before;
	long count = 0;

	do {
		before = t;
		if (!exchange(fd))
			fail("exchange");
		t = now();
		us[count++ % SAMPLES] = (t - before) * 1e6;
	} while (t - start < seconds);
	long kept = count < SAMPLES ? count : SAMPLES;
	qsort(us, kept, sizeof *us, order);
	printf("%.0f %.1f %.1f\n", count / (t - start), us[kept / 2], us[kept * 99 / 100]);
}

static void connections(const char *ip, int port, double seconds)
{
	double start = now();
	long count = 0;

	/* Resets at the end, so that no port waits. */
	for (; now() - start < seconds; count++) {
		struct linger none = { .l_onoff = 1 };
		int fd = dial(ip, port);

		if (!exchange(fd))
			fail("exchange");
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
		close(fd);
	}
	printf("%.0f\n", count / (now() - start));
}

static void hold(const char *ip, int port, int count, double seconds)
{
	struct rlimit files = { .rlim_cur = count + 64, .rlim_max = count + 64 };

	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		fail("setrlimit");
	double start = now();
	for (int i = 0; i < count; i++)
		if (!exchange(dial(ip, port)))
			fail("exchange");
	printf("%.0f\n", count / (now() - start));
	fflush(stdout);
	usleep(seconds * 1e6);
}

static int announce(int port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 1024) < 0)
		fail("listen");
	return fd;
}

static void serve(void)
{
	static const int ports[] = { 9, 19, 7 };

	for (int kind = 0; kind < 3; kind++) {
		int one = 1, listener = announce(ports[kind]);

		if (fork() != 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			int fd = accept(listener, NULL, NULL);
			ssize_t n = 1;

			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
			while (n > 0) {
				if (kind != 1)
					n = read(fd, block, BLOCK);
				if (kind != 0 && n > 0)
					n = write(fd, block, kind == 1 ? BLOCK : n);
			}
			close(fd);
		}
	}
	pause();
}

static int open_tap(const char *name, int offload)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | (offload ? IFF_VNET_HDR : 0) };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
		fail(name);
	if (offload && ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0)
		fail("offload");
	return fd;
}

static void cable(int a, int b)
{
	struct pollfd ends[] = { { a, POLLIN, 0 }, { b, POLLIN, 0 } };
	ssize_t n;

	for (;;) {
		poll(ends, 2, -1);
		for (int i = 0; i < 2; i++)
			for (int k = 0; k < 64 && (n = read(ends[i].fd, block, BLOCK)) > 0; k++)
				if (write(ends[!i].fd, block, n) != n)
					break;
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";

	signal(SIGPIPE, SIG_IGN);
	if (argc > 2)
		pin(atoi(argv[2]));
	if (argc == 3 && strcmp(mode, "serve") == 0)
		serve();
	else if (argc == 6 && strcmp(mode, "cable") == 0)
		cable(open_tap(argv[3], atoi(argv[5])), open_tap(argv[4], atoi(argv[5])));
	else if (argc == 6 && strcmp(mode, "send") == 0)
		stream(dial(argv[3], atoi(argv[4])), atof(argv[5]), 1);
	else if (argc == 6 && strcmp(mode, "recv") == 0)
		stream(dial(argv[3], atoi(argv[4])), atof(argv[5]), 0);
	else if (argc == 6 && strcmp(mode, "rr") == 0)
		request_response(dial(argv[3], atoi(argv[4])), atof(argv[5]));
	else if (argc == 6 && strcmp(mode, "crr") == 0)
		connections(argv[3], atoi(argv[4]), atof(argv[5]));
	else if (argc == 7 && strcmp(mode, "idle") == 0)
		hold(argv[3], atoi(argv[4]), atoi(argv[5]), atof(argv[6]));
	else {
		fprintf(stderr, "usage: see the head of tcpload.c\n");
		return 2;
	}
	return 0;
}
