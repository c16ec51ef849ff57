/*
 * A bad link between Linux and whoever has a TAP's queue: frames that Linux sends on a TAP made here come out of the
 * other interface, and back; limited to a rate, delayed, lost and reordered by chance, each way alike.
 *
 * usage: badlink TAP INTERFACE MBIT DELAY_MS LOSS_PERCENT REORDER_PERCENT SEED
 *
 * Prints `ready`. A frame that is reordered is not delayed, and so passes those that wait (as tc-netem has it). What
 * does not fit into QUEUE_BYTES before the rate is lost. INTERFACE shall have no address and no ARP: it is the link's.
 */
#include "peer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAME = 2048, SLOTS = 8192, BATCH = 64, QUEUE_BYTES = 1 << 20, SOCKET_BYTES = 16 << 20 };

/* Frames in the order of their times. */
struct queue {
	struct {
		double due;
		int bytes;
		char frame[FRAME];
	} slots[SLOTS];
	unsigned head, tail;
};

/* One direction. What is reordered waits for the rate only. */
struct way {
	int from, to;
	double idle; /* when the rate has sent all that it took */
	struct queue delayed, prompt;
};

static struct way ways[2];
static double rate, delay, loss, reorder;
static unsigned long long seed;

/* From 0 to 1, as the seed has it (xorshift64*). */
static double chance(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (seed * 0x2545f4914f6cdd1dull >> 11) / 9007199254740992.0;
}

static int open_tap(const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
		fail(name);
	return fd;
}

static int open_interface(const char *name)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int one = 1, bytes = SOCKET_BYTES, fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);

	at.sll_ifindex = if_nametoindex(name);
	if (fd < 0 || at.sll_ifindex == 0)
		fail(name);
	setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
	if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0)
		fail(name);
	return fd;
}

/* Reads what there is; answers whether there may be more. */
static int take(struct way *way, double t)
{
	static char spill[FRAME];

	for (int i = 0; i < BATCH; i++) {
		struct queue *queue = chance() < reorder ? &way->prompt : &way->delayed;
		unsigned slot = queue->tail % SLOTS;
		int is_full = queue->tail - queue->head == SLOTS;
		ssize_t n = read(way->from, is_full ? spill : queue->slots[slot].frame, FRAME);

		if (n <= 0)
			return 0;
		if (way->idle < t)
			way->idle = t;
		if (chance() < loss || is_full || (way->idle - t) * rate + n > QUEUE_BYTES)
			continue;
		way->idle += n / rate;
		queue->slots[slot].due = way->idle + (queue == &way->delayed ? delay : 0);
		queue->slots[slot].bytes = n;
		queue->tail++;
	}
	return 1;
}

/* Sends what is due, but at the most a batch; answers when more is. */
static double give(struct queue *queue, int to, double t)
{
	for (int i = 0; queue->head != queue->tail; i++, queue->head++) {
		unsigned slot = queue->head % SLOTS;

		if (i == BATCH || queue->slots[slot].due > t)
			return queue->slots[slot].due;
		if (write(to, queue->slots[slot].frame, queue->slots[slot].bytes) < 0)
			continue; /* a full queue of the interface loses it, as a switch would */
	}
	return t + 1;
}

int main(int argc, char **argv)
{
	if (argc != 8) {
		fprintf(stderr, "usage: badlink TAP INTERFACE MBIT DELAY_MS LOSS_PERCENT REORDER_PERCENT SEED\n");
		return 2;
	}
	int tap = open_tap(argv[1]), interface = open_interface(argv[2]);
	ways[0].from = ways[1].to = tap;
	ways[1].from = ways[0].to = interface;
	rate = atof(argv[3]) * 1e6 / 8;
	delay = atof(argv[4]) / 1e3;
	loss = atof(argv[5]) / 100;
	reorder = atof(argv[6]) / 100;
	seed = strtoull(argv[7], NULL, 10) * 0x9e3779b97f4a7c15ull | 1;
	prctl(PR_SET_TIMERSLACK, 1);
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct pollfd ends[] = { { tap, POLLIN, 0 }, { interface, POLLIN, 0 } };
		double t = now(), due = t + 1;
		int more = 0;

		for (struct way *way = ways; way < ways + 2; way++) {
			more |= take(way, t);
			double times[] = { give(&way->prompt, way->to, t), give(&way->delayed, way->to, t) };

			for (int i = 0; i < 2; i++)
				due = times[i] < due ? times[i] : due;
		}
		double wait = more ? 0 : due - now();
		struct timespec rest = { 0, wait > 0 ? (wait < 0.999 ? wait : 0.999) * 1e9 : 0 };
		ppoll(ends, 2, &rest, NULL);
	}
}
