/*
 * The measure for net_dev_bench.ts: what C does with a TAP, and the traffic that both are measured with.
 *
 * usage: netdev read  CPU TAP SECONDS              reads frames; prints frames and bytes a second, and
 *                                                  nanoseconds of CPU for each
 *        netdev write CPU TAP SECONDS BYTES GSO    writes frames for a station that is not there; prints the same
 *        netdev echo  CPU TAP SECONDS              sends UDP back to who sent it
 *        netdev flood CPU IP  SECONDS BYTES GSO    sends UDP; GSO cuts what one call sends into segments
 *        netdev rtt   CPU IP  COUNT   GAP_US       64 bytes of UDP there and back; prints p50 and p99, microseconds
 */
#include "peer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 12, BUFFER = 69632, OFFLOADS = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | 0x60 };

static unsigned char buffer[BUFFER];

static double clock_of(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int open_tap(const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int header = HEADER, fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
		fail(name);
	if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 || ioctl(fd, TUNSETOFFLOAD, OFFLOADS) < 0)
		fail("offload");
	return fd;
}

/* Calls `each` with every frame that comes until the time is over. */
static void serve(int fd, double seconds, void (*each)(int fd, ssize_t bytes))
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	double end = now() + seconds;
	ssize_t got;

	while (now() < end) {
		poll(&wait, 1, 100);
		for (int i = 0; i < 256 && (got = read(fd, buffer, BUFFER)) > 0; i++)
			each(fd, got);
	}
}

static long frames, bytes;

static void count(int fd, ssize_t got)
{
	(void)fd;
	frames++;
	bytes += got - HEADER;
}

static void swap(int a, int b, int size)
{
	unsigned char kept[6];

	memcpy(kept, buffer + a, size);
	memcpy(buffer + a, buffer + b, size);
	memcpy(buffer + b, kept, size);
}

static void send_back(int fd, ssize_t got)
{
	unsigned char *ip = buffer + HEADER + 14;

	if (got < HEADER + 42 || ip[-2] != 8 || ip[-1] != 0 || ip[9] != IPPROTO_UDP)
		return;
	swap(HEADER, HEADER + 6, 6);
	swap(HEADER + 26, HEADER + 30, 4);
	swap(HEADER + 34, HEADER + 36, 2);
	if (write(fd, buffer, got) != got)
		fail("write");
}

/* A frame of TCP for a station that is not there: Linux takes it, and drops it at IP. */
static int make_frame(int payload, int gso)
{
	struct virtio_net_hdr *header = (void *)buffer;
	unsigned char *frame = buffer + HEADER;
	int ip_bytes = 40 + payload;

	memset(buffer, 0, BUFFER);
	if (gso) {
		*header = (struct virtio_net_hdr){ VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4, 54, gso, 34, 16 };
	}
	memcpy(frame, "\2\0\0\0\0\x77\2\0\0\0\0\2\x08\0", 14);
	memcpy(frame + 14, "\x45\0\0\0\0\1\0\0\x40\6\0\0\x0a\x63\0\2\x0a\x63\0\1", 20);
	frame[16] = ip_bytes >> 8;
	frame[17] = ip_bytes;
	frame[46] = 0x50;
	frame[47] = 0x10;
	return HEADER + 14 + ip_bytes;
}

static void flood_tap(int fd, double seconds, int payload, int gso)
{
	int size = make_frame(payload, gso);
	double end = now() + seconds;

	while (now() < end) {
		for (int i = 0; i < 64; i++) {
			if (write(fd, buffer, size) != size)
				fail("write");
			count(fd, size);
		}
	}
}

static int udp_to(const char *ip)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(7), .sin_addr.s_addr = inet_addr(ip) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 8 << 20;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
	if (connect(fd, (void *)&to, sizeof to) < 0)
		fail(ip);
	return fd;
}

static void flood_udp(int fd, double seconds, int size, int gso)
{
	struct iovec piece = { buffer, size };
	struct mmsghdr messages[32];
	double end = now() + seconds;

	if (gso && setsockopt(fd, IPPROTO_UDP, 103 /* UDP_SEGMENT */, &gso, sizeof gso) < 0)
		fail("UDP_SEGMENT");
	memset(messages, 0, sizeof messages);
	for (int i = 0; i < 32; i++) {
		messages[i].msg_hdr.msg_iov = &piece;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while (now() < end)
		sendmmsg(fd, messages, 32, 0);
}

static void round_trips(int fd, int total, int gap_us)
{
	double *us = calloc(total, sizeof *us);
	struct timeval patience = { .tv_sec = 1 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	for (int i = 0; i < total; i++) {
		double start;

		if (gap_us)
			usleep(gap_us);
		start = now();
		if (send(fd, buffer, 64, 0) < 0 || recv(fd, buffer, BUFFER, 0) < 0)
			fail("round trip");
		us[i] = (now() - start) * 1e6;
	}
	/* The first tenth warms up. */
	us += total / 10;
	total -= total / 10;
	qsort(us, total, sizeof *us, ascending);
	printf("%.2f %.2f\n", us[total / 2], us[total * 99 / 100]);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 4 ? argv[1] : "";
	double seconds = argc > 4 ? atof(argv[4]) : 0;
	int a = argc > 5 ? atoi(argv[5]) : 0, b = argc > 6 ? atoi(argv[6]) : 0;
	double start = now();

	if (argc > 2)
		pin(atoi(argv[2]));
	if (!strcmp(mode, "read"))
		serve(open_tap(argv[3]), seconds, count);
	else if (!strcmp(mode, "write"))
		flood_tap(open_tap(argv[3]), seconds, a, b);
	else if (!strcmp(mode, "echo"))
		serve(open_tap(argv[3]), seconds, send_back);
	else if (!strcmp(mode, "flood"))
		flood_udp(udp_to(argv[3]), seconds, a, b);
	else if (!strcmp(mode, "rtt"))
		round_trips(udp_to(argv[3]), (int)seconds, a);
	else
		return fprintf(stderr, "usage: see the head of netdev.c\n"), 2;
	if (frames) {
		printf("%.0f %.0f %.0f\n", frames / (now() - start), bytes / (now() - start),
		       clock_of(CLOCK_THREAD_CPUTIME_ID) / frames * 1e9);
	}
	return 0;
}
