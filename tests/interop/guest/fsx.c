/*
 * fsx: seeded random operations on a file of a mounted tree, checked against a file in memory-backed /tmp.
 *
 * usage: fsx [-s seed] [-n operations] [-l max-length] [-m] FILE LOCAL
 *
 * Each operation is done to both files; what is read is compared at once, sizes after each operation, and everything
 * at the end. -m adds stores through a shared mapping (a client that caches). On the first difference it prints the
 * seed, the operation and the ones before it, and ends with status 1: the same seed replays it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HISTORY = 12, LINE = 96, MAX_IO = 96 * 1024 };

static uint64_t state, seed = 1;
static long operations = 1000, done;
static size_t maxLength = 256 * 1024;
static const char *paths[2];
static int fds[2]; /* the file under test, the local one */
static unsigned char data[MAX_IO], got[2][MAX_IO];
static char history[HISTORY][LINE];

static uint32_t rnd(uint32_t below) { /* xorshift64*, 0 .. below-1 */
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t)((state * 0x2545F4914F6CDD1Dull) >> 32) % below;
}

static void note(const char *format, ...) {
	va_list args;
	va_start(args, format);
	vsnprintf(history[done % HISTORY], LINE, format, args);
	va_end(args);
}

static void fail(const char *what, long at) {
	printf("fsx: %s (at %ld) in operation %ld with seed %llu: %s; before it:\n", what, at, done,
	       (unsigned long long)seed, strerror(errno));
	for (long i = done < HISTORY ? 0 : done - HISTORY + 1; i <= done; i++)
		printf("  %ld %s\n", i, history[i % HISTORY]);
	exit(1);
}

static void must(int ok, const char *what) {
	if (!ok) fail(what, 0);
}

static size_t length(int i) {
	struct stat st;
	must(fstat(fds[i], &st) == 0, "fstat");
	return (size_t)st.st_size;
}

static void openFiles(int flags) {
	for (int i = 0; i < 2; i++) {
		fds[i] = open(paths[i], O_RDWR | flags, 0644);
		must(fds[i] >= 0, i ? "open of the local file" : "open");
	}
}

static void closeFiles(void) {
	for (int i = 0; i < 2; i++) must(close(fds[i]) == 0, "close");
}

static void writeAll(int fd, size_t count, off_t at) {
	for (size_t n = 0; n < count;) {
		ssize_t w = at < 0 ? write(fd, data + n, count - n) : pwrite(fd, data + n, count - n, at + (off_t)n);
		must(w > 0, "write");
		n += (size_t)w;
	}
}

static size_t readAll(int i, size_t count, off_t at) {
	size_t n = 0;
	while (n < count) {
		ssize_t r = pread(fds[i], got[i] + n, count - n, at + (off_t)n);
		must(r >= 0, "read");
		if (r == 0) break;
		n += (size_t)r;
	}
	return n;
}

static void fill(size_t count) {
	for (size_t n = 0; n < count; n += 4) {
		uint32_t word = rnd(UINT32_MAX);
		memcpy(data + n, &word, count - n < 4 ? count - n : 4);
	}
}

static void compare(size_t count, size_t at) {
	size_t n = readAll(0, count, (off_t)at), m = readAll(1, count, (off_t)at);
	errno = 0;
	if (n != m) fail("the read ended elsewhere", (long)(at + n));
	for (size_t k = 0; k < n; k++)
		if (got[0][k] != got[1][k]) fail("wrong byte", (long)(at + k));
}

static void doWrite(size_t at, size_t count) {
	note("write %zu bytes at %zu", count, at);
	fill(count);
	for (int i = 0; i < 2; i++) writeAll(fds[i], count, (off_t)at);
}

static void doAppend(size_t count) {
	note("append %zu bytes to %zu", count, length(1));
	fill(count);
	for (int i = 0; i < 2; i++) {
		int fd = open(paths[i], O_WRONLY | O_APPEND);
		must(fd >= 0, "open to append");
		writeAll(fd, count, -1);
		must(close(fd) == 0, "close");
	}
}

static void doTruncate(size_t to) {
	note("truncate %zu to %zu", length(1), to);
	for (int i = 0; i < 2; i++) must(ftruncate(fds[i], (off_t)to) == 0, "ftruncate");
}

static void doMapped(size_t at, size_t count) {
	size_t size = length(1);
	if (size == 0) return doWrite(0, count);
	at %= size;
	if (at + count > size) count = size - at;
	note("store %zu bytes at %zu through a mapping", count, at);
	fill(count);
	for (int i = 0; i < 2; i++) {
		unsigned char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
		must(map != MAP_FAILED, "mmap");
		memcpy(map + at, data, count);
		must(msync(map, size, MS_SYNC) == 0 && munmap(map, size) == 0, "msync");
	}
}

static void step(int mapped) {
	size_t at = rnd((uint32_t)maxLength), count = 1 + rnd(rnd(4) ? 4096 : MAX_IO - 1);
	if (at + count > maxLength) count = maxLength - at;
	switch (rnd(mapped ? 12 : 10)) {
	case 0: case 1: case 2: return doWrite(at, count);
	case 3:
		if (length(1) + count <= maxLength) return doAppend(count);
		return doTruncate(at / 4);
	case 4: return doTruncate(at);
	case 5:
		note("close and open");
		closeFiles();
		return openFiles(0);
	case 6:
		note("fsync");
		must(fsync(fds[0]) == 0, "fsync");
		return;
	case 10: case 11: return doMapped(at, count);
	default:
		note("read %zu bytes at %zu", count, at);
		return compare(count, at);
	}
}

int main(int argc, char **argv) {
	int mapped = 0;
	for (int c; (c = getopt(argc, argv, "s:n:l:m")) != -1;) {
		if (c == 's') seed = strtoull(optarg, NULL, 0);
		else if (c == 'n') operations = atol(optarg);
		else if (c == 'l') maxLength = (size_t)atol(optarg);
		else if (c == 'm') mapped = 1;
		else return 2;
	}
	if (argc - optind != 2) return 2;
	paths[0] = argv[optind], paths[1] = argv[optind + 1];
	state = seed * 0x9E3779B97F4A7C15ull | 1;
	note("create");
	openFiles(O_CREAT | O_TRUNC);
	for (done = 1; done <= operations; done++) {
		step(mapped);
		errno = 0;
		if (length(0) != length(1)) fail("wrong size", (long)length(0));
	}
	note("read everything");
	closeFiles();
	openFiles(0);
	for (size_t at = 0; at < length(1); at += MAX_IO) compare(MAX_IO, at);
	closeFiles();
	printf("fsx: %ld operations, seed %llu: equal\n", operations, (unsigned long long)seed);
	return 0;
}
