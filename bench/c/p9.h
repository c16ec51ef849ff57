/*
 * 9P2000.L by hand, for p9load: messages, one connection that waits for each answer or takes them as they come, and a
 * file whose every byte is known.
 *
 * The first thing that is not as it has to be ends the program with status 1 and a line that says what.
 * Byte order: little-endian hosts only, as 9P's fields are copied as they are.
 *
 * See intro(5) of Plan 9, and Linux's Documentation/filesystems/9p.rst.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { TLERROR = 6, TLOPEN = 12, TLCREATE = 14, TGETATTR = 24, TMKDIR = 72 };
enum { TVERSION = 100, TATTACH = 104, TREAD = 116, TWRITE = 118, TCLUNK = 120, TWALK = 110, TREMOVE = 122 };
enum { ROOT_FID, DIR_FID, FILE_FID, SPARE_FID, SLOT_FID = 16 };
enum { HEADER = 7, IO_HEADER = 24, PERIOD = 1048573, MAX_MSIZE = 1 << 20 };

static const char *dialString, *treeName = "/";
static uint32_t msize = 65536;
static int sock;
static unsigned char pattern[PERIOD + MAX_MSIZE];
static unsigned char *inbox;
static size_t inboxSize, inboxStart, inboxEnd;

/* ---- errors, time, numbers ---- */

static void die(const char *format, ...) {
	va_list args;
	va_start(args, format);
	fputs("p9load: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	exit(1);
}

static uint64_t now(void) {
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint32_t rnd(void) {
	static uint64_t state = 88172645463325252ull;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

/* Every offset of the file has one right byte; any chunk of it lies in one piece here. */
static const unsigned char *patternAt(uint64_t offset) { return pattern + offset % PERIOD; }

static void makePattern(void) {
	for (size_t i = 0; i < PERIOD; i++) pattern[i] = (unsigned char)rnd();
	for (size_t i = PERIOD; i < sizeof pattern; i++) pattern[i] = pattern[i - PERIOD];
}

/* ---- messages: put() writes fields after the header, finish() its size ---- */

typedef struct {
	unsigned char bytes[512];
	size_t length;
} Message;

static void putBytes(Message *m, const void *bytes, size_t count) {
	if (m->length + count > sizeof m->bytes) die("a name is too long");
	memcpy(m->bytes + m->length, bytes, count);
	m->length += count;
}

static void putInt(Message *m, int width, uint64_t value) { putBytes(m, &value, (size_t)width); }

static void putString(Message *m, const char *text) {
	putInt(m, 2, strlen(text));
	putBytes(m, text, strlen(text));
}

static Message begin(int type, unsigned tag) {
	Message m = {.length = 4};
	putInt(&m, 1, (uint64_t)type);
	putInt(&m, 2, tag);
	return m;
}

/* Sets the size, with `more` bytes of data to follow. */
static void finish(Message *m, uint32_t more) {
	uint32_t size = (uint32_t)m->length + more;
	memcpy(m->bytes, &size, 4);
}

static uint64_t getInt(const unsigned char *at, int width) {
	uint64_t value = 0;
	memcpy(&value, at, (size_t)width);
	return value;
}

/* ---- the connection ---- */

static void connectTcp(char *host, char *port) {
	struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM};
	int one = 1, error = getaddrinfo(host, port, &hints, &found);
	if (error) die("%s: %s", host, gai_strerror(error));
	sock = socket(found->ai_family, SOCK_STREAM, 0);
	if (connect(sock, found->ai_addr, found->ai_addrlen) < 0) die("%s: %s", dialString, strerror(errno));
	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	freeaddrinfo(found);
}

static void connectUnix(const char *path) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address.sun_path) die("%s: too long", path);
	strcpy(address.sun_path, path);
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(sock, (void *)&address, sizeof address) < 0) die("%s: %s", dialString, strerror(errno));
}

static void dial(void) {
	char text[256], *host, *port;
	snprintf(text, sizeof text, "%s", dialString);
	if (strncmp(text, "unix!", 5) == 0) return connectUnix(text + 5);
	if (strncmp(text, "tcp!", 4) != 0 || !(port = strrchr(host = text + 4, '!'))) die("what is %s?", text);
	*port++ = 0;
	connectTcp(host, port);
}

static void sendAll(struct iovec *parts, int count) {
	while (count > 0) {
		ssize_t sent = writev(sock, parts, count > 1024 ? 1024 : count);
		if (sent <= 0) die("write: %s", strerror(errno));
		for (; count > 0 && (size_t)sent >= parts->iov_len; parts++, count--) sent -= (ssize_t)parts->iov_len;
		if (count > 0) parts->iov_base = (char *)parts->iov_base + sent, parts->iov_len -= (size_t)sent;
	}
}

/* Receives what there is, at least one byte. */
static void receive(void) {
	if (inboxStart == inboxEnd) inboxStart = inboxEnd = 0;
	if (inboxSize - inboxEnd < msize) {
		memmove(inbox, inbox + inboxStart, inboxEnd - inboxStart);
		inboxEnd -= inboxStart;
		inboxStart = 0;
	}
	ssize_t got = read(sock, inbox + inboxEnd, inboxSize - inboxEnd);
	if (got <= 0) die("the server closed the connection%s%s", got < 0 ? ": " : "", got < 0 ? strerror(errno) : "");
	inboxEnd += (size_t)got;
}

/* The next whole reply that has been received, or NULL. */
static const unsigned char *nextReply(void) {
	if (inboxEnd - inboxStart < HEADER) return NULL;
	const unsigned char *reply = inbox + inboxStart;
	uint64_t size = getInt(reply, 4);
	if (size < HEADER || size > msize) die("a reply of %llu bytes", (unsigned long long)size);
	if (inboxEnd - inboxStart < size) return NULL;
	inboxStart += size;
	return reply;
}

static void expect(const unsigned char *reply, int request, const char *what) {
	if (reply[4] == TLERROR + 1) die("%s: errno %u", what, (unsigned)getInt(reply + HEADER, 4));
	if (reply[4] != request + 1) die("%s: answered by message type %d", what, reply[4]);
}

/* Sends one message and answers its reply, valid until the next; dies on an error unless `mayFail`. */
static const unsigned char *call(Message m, const char *what, int mayFail) {
	struct iovec part = {m.bytes, m.length};
	const unsigned char *reply;
	finish(&m, 0);
	sendAll(&part, 1);
	while (!(reply = nextReply())) receive();
	if (!mayFail) expect(reply, m.bytes[4], what);
	return reply;
}

/* ---- one call each ---- */

static void version(void) {
	Message m = begin(TVERSION, 0xffff);
	putInt(&m, 4, msize);
	putString(&m, "9P2000.L");
	uint32_t offered = (uint32_t)getInt(call(m, "version", 0) + HEADER, 4);
	if (offered > msize) die("the server offers a larger msize than was asked");
	msize = offered;
}

static void attach(void) {
	Message m = begin(TATTACH, 1);
	putInt(&m, 4, ROOT_FID);
	putInt(&m, 4, 0xffffffff);
	putString(&m, "root");
	putString(&m, treeName);
	putInt(&m, 4, 0);
	call(m, "attach", 0);
}

/* Walks from `fid` along the names of `path`. */
static const unsigned char *walk(uint32_t fid, uint32_t newfid, const char *path) {
	char text[256], *rest = text, *name;
	Message m = begin(TWALK, 1), names = {.length = 0};
	unsigned count = 0;
	snprintf(text, sizeof text, "%s", path);
	while ((name = strsep(&rest, "/"))) {
		if (!*name) continue;
		putString(&names, name);
		count++;
	}
	putInt(&m, 4, fid);
	putInt(&m, 4, newfid);
	putInt(&m, 2, count);
	putBytes(&m, names.bytes, names.length);
	const unsigned char *reply = call(m, path, 0);
	if (getInt(reply + HEADER, 2) != count) die("%s: not there", path);
	return reply;
}

static void clunk(uint32_t fid) {
	Message m = begin(TCLUNK, 1);
	putInt(&m, 4, fid);
	call(m, "clunk", 0);
}

static void create(uint32_t fid, const char *name) {
	Message m = begin(TLCREATE, 1);
	walk(DIR_FID, fid, "");
	putInt(&m, 4, fid);
	putString(&m, name);
	putInt(&m, 4, 2); /* O_RDWR */
	putInt(&m, 4, 0644);
	putInt(&m, 4, 0);
	call(m, "create", 0);
}

static void makeDirectory(uint32_t parent, const char *name) {
	Message m = begin(TMKDIR, 1);
	putInt(&m, 4, parent);
	putString(&m, name);
	putInt(&m, 4, 0755);
	putInt(&m, 4, 0);
	call(m, "mkdir", 0);
}

/* Removes a file or empty directory: by Tremove, as older servers have no Tunlinkat. */
static void removeName(uint32_t parent, const char *name) {
	Message m = begin(TREMOVE, 1);
	walk(parent, SPARE_FID, name);
	putInt(&m, 4, SPARE_FID);
	call(m, "remove", 0);
}

static Message ioMessage(int type, unsigned tag, uint32_t fid, uint64_t offset, uint32_t count) {
	Message m = begin(type, tag);
	putInt(&m, 4, fid);
	putInt(&m, 8, offset);
	putInt(&m, 4, count);
	finish(&m, type == TWRITE ? count : 0);
	return m;
}

static void writeChunk(uint32_t fid, uint64_t offset, uint32_t count) {
	Message m = ioMessage(TWRITE, 1, fid, offset, count);
	struct iovec parts[] = {{m.bytes, m.length}, {(void *)patternAt(offset), count}};
	const unsigned char *reply;
	sendAll(parts, 2);
	while (!(reply = nextReply())) receive();
	expect(reply, TWRITE, "write");
	if (getInt(reply + HEADER, 4) != count) die("a short write");
}

static void checkData(const unsigned char *reply, uint64_t offset, uint32_t count) {
	unsigned long long at = offset;
	if (getInt(reply + HEADER, 4) != count || getInt(reply, 4) != HEADER + 4 + count) die("a short read at %llu", at);
	if (memcmp(reply + HEADER + 4, patternAt(offset), count) != 0) die("wrong data at %llu", at);
}
