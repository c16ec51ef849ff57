/*
 * p9load: loads a 9P2000.L server over one connection with a number of requests in flight, and checks all it gets.
 *
 * usage: p9load [options] tcp!HOST!PORT | unix!PATH
 *   -w walk|read|seqread|seqwrite   workload (walk)    -n N       requests in flight (1)
 *   -a ANAME      tree to attach to (/)                -d DIR     writable directory in it (tmp)
 *   -m BYTES      msize to ask for (65536)             -s SECONDS measured (1), after -W SECONDS of warm-up (0.5)
 *   -z MIB        size of the file read and written (64)
 *   -p PID        a process of the server, for its processor time; any number of them
 *
 * walk: Twalk to one of 64 files, Tgetattr, Tclunk, one after the other in each of the N; read: 4 KiB at random places;
 * seqread, seqwrite: what fits msize, in order. It makes its files through 9P, in a directory of its own that it
 * removes. Prints one line of JSON. Needs nothing but the C library and /proc.
 *
 * What it holds the server to: every reply has the type and tag asked for, every byte read is the one written, sizes
 * are right. The first that is not so ends it with status 1 and a line that says what.
 */
#include "p9.h"

enum { MAX_SLOTS = 256, SMALL_FILES = 64, SMALL_SIZE = 100, RANDOM_READ = 4096 };
enum { BUCKETS = 1 << 20, BUCKET_NS = 100, MAX_PIDS = 16 };

static struct {
	const char *workload, *dir;
	double seconds, warmup;
	uint32_t depth;
	uint64_t fileBytes;
	int pids[MAX_PIDS], pidCount;
} opt = {"walk", "tmp", 1, 0.5, 1, 64 << 20, {0}, 0};

static uint32_t chunk; /* bytes of one sequential read or write */
static uint64_t fileChunks;
static uint64_t qids[SMALL_FILES];

/* ---- workloads: each slot has one request in flight; step() takes its reply and makes its next request ---- */

typedef struct {
	uint64_t offset, sent;
	uint32_t file;
	int type;
} Slot;

typedef struct {
	const char *name;
	void (*prepare)(void);
	/* The slot's next message after `reply` (NULL at first); *done where an operation came to its end. */
	Message (*step)(unsigned index, Slot *slot, const unsigned char *reply, int *done);
	void (*finish)(void);
	void (*cleanup)(void);
} Workload;

static uint64_t cursor; /* chunks handed out by the sequential workloads */

static void smallName(char *name, uint32_t index) { sprintf(name, "small-%02u", index); }

static void prepareWalk(void) {
	char name[16];
	for (uint32_t i = 0; i < SMALL_FILES; i++) {
		smallName(name, i);
		create(SPARE_FID, name);
		writeChunk(SPARE_FID, 0, SMALL_SIZE);
		clunk(SPARE_FID);
		qids[i] = getInt(walk(DIR_FID, SPARE_FID, name) + HEADER + 2 + 5, 8);
		clunk(SPARE_FID);
	}
}

static void cleanupWalk(void) {
	char name[16];
	for (uint32_t i = 0; i < SMALL_FILES; i++) {
		smallName(name, i);
		removeName(DIR_FID, name);
	}
}

static Message walkMessage(unsigned index, Slot *slot) {
	char name[16];
	Message m = begin(TWALK, index);
	smallName(name, slot->file = rnd() % SMALL_FILES);
	putInt(&m, 4, DIR_FID);
	putInt(&m, 4, SLOT_FID + index);
	putInt(&m, 2, 1);
	putString(&m, name);
	return m;
}

static Message stepWalk(unsigned index, Slot *slot, const unsigned char *reply, int *done) {
	Message m;
	switch (reply ? slot->type : TCLUNK) {
	case TWALK:
		if (getInt(reply + HEADER, 2) != 1) die("a walk that came half the way");
		if (getInt(reply + HEADER + 7, 8) != qids[slot->file]) die("walked to another file");
		m = begin(slot->type = TGETATTR, index);
		putInt(&m, 4, SLOT_FID + index);
		putInt(&m, 8, 0x7ff);
		break;
	case TGETATTR:
		/* valid[8] qid[13] mode[4] uid[4] gid[4] nlink[8] rdev[8] size[8] */
		if (getInt(reply + HEADER + 13, 8) != qids[slot->file]) die("attributes of another file");
		if (getInt(reply + HEADER + 49, 8) != SMALL_SIZE) die("a wrong size");
		m = begin(slot->type = TCLUNK, index);
		putInt(&m, 4, SLOT_FID + index);
		break;
	default:
		*done = reply != NULL;
		m = walkMessage(index, slot);
		slot->type = TWALK;
	}
	finish(&m, 0);
	return m;
}

static void prepareFile(void) {
	create(FILE_FID, "file");
	for (uint64_t i = 0; i < fileChunks; i++) writeChunk(FILE_FID, i * chunk, chunk);
}

static void prepareEmpty(void) { create(FILE_FID, "file"); }

static void cleanupFile(void) {
	clunk(FILE_FID);
	removeName(DIR_FID, "file");
}

static Message stepRead(unsigned index, Slot *slot, const unsigned char *reply, int *done) {
	if (reply) checkData(reply, slot->offset, RANDOM_READ);
	*done = reply != NULL;
	slot->offset = rnd() % (fileChunks * chunk / RANDOM_READ) * RANDOM_READ;
	return ioMessage(slot->type = TREAD, index, FILE_FID, slot->offset, RANDOM_READ);
}

static Message stepSeqRead(unsigned index, Slot *slot, const unsigned char *reply, int *done) {
	if (reply) checkData(reply, slot->offset, chunk);
	*done = reply != NULL;
	slot->offset = cursor++ % fileChunks * chunk;
	return ioMessage(slot->type = TREAD, index, FILE_FID, slot->offset, chunk);
}

static Message stepSeqWrite(unsigned index, Slot *slot, const unsigned char *reply, int *done) {
	if (reply && getInt(reply + HEADER, 4) != chunk) die("a short write");
	*done = reply != NULL;
	slot->offset = cursor++ % fileChunks * chunk;
	return ioMessage(slot->type = TWRITE, index, FILE_FID, slot->offset, chunk);
}

/* Reads back all that was written. */
static void verifyFile(void) {
	/* The last chunks that were handed out may not have been sent. */
	uint64_t sent = cursor > opt.depth ? cursor - opt.depth : 0, written = sent < fileChunks ? sent : fileChunks;
	for (uint64_t i = 0; i < written; i++) {
		Message m = ioMessage(TREAD, 1, FILE_FID, i * chunk, chunk);
		checkData(call(m, "read", 0), i * chunk, chunk);
	}
}

static const Workload WORKLOADS[] = {
	{"walk", prepareWalk, stepWalk, NULL, cleanupWalk},
	{"read", prepareFile, stepRead, NULL, cleanupFile},
	{"seqread", prepareFile, stepSeqRead, NULL, cleanupFile},
	{"seqwrite", prepareEmpty, stepSeqWrite, verifyFile, cleanupFile},
};

/* ---- the loop ---- */

static uint32_t histogram[BUCKETS];
static uint64_t operations;
static Slot slots[MAX_SLOTS];
static unsigned inFlight;

/* Sends what the slots have made, in one call. A write's data goes from where it lies. */
static void sendBatch(Message *messages, Slot **owners, int count) {
	struct iovec parts[2 * MAX_SLOTS];
	int used = 0;
	for (int i = 0; i < count; i++) {
		parts[used++] = (struct iovec){messages[i].bytes, messages[i].length};
		if (owners[i]->type == TWRITE) parts[used++] = (struct iovec){(void *)patternAt(owners[i]->offset), chunk};
	}
	uint64_t at = now();
	for (int i = 0; i < count; i++)
		if (!owners[i]->sent) owners[i]->sent = at;
	if (used > 0) sendAll(parts, used);
	inFlight += (unsigned)count;
}

/* Keeps every slot busy until `end`, then waits for what is in flight if `drain`. */
static void load(const Workload *w, uint64_t end, int drain) {
	static Message messages[MAX_SLOTS];
	Slot *owners[MAX_SLOTS];
	int count = 0, done = 0;
	if (inFlight == 0)
		for (unsigned i = 0; i < opt.depth; i++) {
			owners[count] = &slots[i];
			messages[count++] = w->step(i, &slots[i], NULL, &done);
		}
	sendBatch(messages, owners, count);
	uint64_t at;
	do {
		const unsigned char *reply;
		receive();
		at = now();
		count = 0;
		while ((reply = nextReply())) {
			unsigned tag = (unsigned)getInt(reply + 5, 2);
			if (tag >= opt.depth || !slots[tag].type) die("a reply to tag %u, which is not in flight", tag);
			Slot *slot = &slots[tag];
			expect(reply, slot->type, w->name);
			inFlight--;
			done = 0;
			Message next = w->step(tag, slot, reply, &done);
			if (done) {
				uint64_t bucket = (at - slot->sent) / BUCKET_NS;
				histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
				operations++;
				slot->sent = 0;
				if (drain && at >= end) continue;
			}
			owners[count] = slot;
			messages[count++] = next;
		}
		sendBatch(messages, owners, count);
	} while (at < end || (drain && inFlight > 0));
}

/* Clock ticks that all threads of a process have run. */
static unsigned long ticks(int pid) {
	char path[64], line[1024], *fields;
	unsigned long user, system;
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	FILE *file = fopen(path, "r");
	if (!file || !fgets(line, sizeof line, file) || !(fields = strrchr(line, ')'))) die("%s: %s", path, strerror(errno));
	fclose(file);
	/* state ppid pgrp session tty_nr tpgid flags minflt cminflt majflt cmajflt utime stime: see proc(5) */
	const char *format = "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu";
	if (sscanf(fields + 2, format, &user, &system) != 2) die("%s: what is this?", path);
	return user + system;
}

/* Microseconds that the server has run; 0 without a pid. */
static double serverCpu(void) {
	unsigned long sum = 0;
	for (int i = 0; i < opt.pidCount; i++) sum += ticks(opt.pids[i]);
	return (double)sum * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

static double percentile(double share) {
	uint64_t rest = (uint64_t)((double)operations * share);
	for (uint32_t i = 0; i < BUCKETS; i++) {
		if (rest < histogram[i]) return (i + 0.5) * BUCKET_NS / 1000;
		rest -= histogram[i];
	}
	return BUCKETS * (double)BUCKET_NS / 1000;
}

static void measure(const Workload *w) {
	load(w, now() + (uint64_t)(opt.warmup * 1e9), 0);
	memset(histogram, 0, sizeof histogram);
	operations = 0;
	double cpu = serverCpu();
	uint64_t start = now();
	load(w, start + (uint64_t)(opt.seconds * 1e9), 1);
	double seconds = (double)(now() - start) / 1e9;
	cpu = serverCpu() - cpu;
	uint32_t bytes = w->step == stepWalk ? 0 : w->step == stepRead ? RANDOM_READ : chunk;
	double n = (double)operations;
	printf("{\"workload\":\"%s\",\"inFlight\":%u,\"msize\":%u,\"operations\":%.0f,\"opsPerSecond\":%.1f,"
	       "\"mbPerSecond\":%.1f,\"p50Us\":%.2f,\"p99Us\":%.2f,\"serverCpuUs\":%.3f}\n",
	       w->name, opt.depth, msize, n, n / seconds, n * bytes / 1e6 / seconds, percentile(0.5), percentile(0.99),
	       cpu / n);
}

static void usage(void) {
	die("usage: p9load [-w walk|read|seqread|seqwrite] [-n N] [-a ANAME] [-d DIR] [-m MSIZE] [-s SECONDS] [-W SECONDS]"
	    " [-p PID] [-z MIB] tcp!HOST!PORT|unix!PATH");
}

static const Workload *options(int argc, char **argv) {
	for (int c; (c = getopt(argc, argv, "w:n:a:d:m:s:W:p:z:")) != -1;) switch (c) {
		case 'w': opt.workload = optarg; break;
		case 'n': opt.depth = (uint32_t)atoi(optarg); break;
		case 'a': treeName = optarg; break;
		case 'd': opt.dir = optarg; break;
		case 'm': msize = (uint32_t)atoi(optarg); break;
		case 's': opt.seconds = atof(optarg); break;
		case 'W': opt.warmup = atof(optarg); break;
		case 'p':
			if (opt.pidCount == MAX_PIDS) usage();
			opt.pids[opt.pidCount++] = atoi(optarg);
			break;
		case 'z': opt.fileBytes = (uint64_t)atoi(optarg) << 20; break;
		default: usage();
	}
	if (argc - optind != 1 || opt.depth < 1 || opt.depth > MAX_SLOTS) usage();
	if (msize < 8192 || msize > MAX_MSIZE) usage();
	dialString = argv[optind];
	for (size_t i = 0; i < sizeof WORKLOADS / sizeof *WORKLOADS; i++)
		if (strcmp(WORKLOADS[i].name, opt.workload) == 0) return &WORKLOADS[i];
	usage();
	return NULL;
}

int main(int argc, char **argv) {
	char own[32];
	const Workload *workload = options(argc, argv);
	snprintf(own, sizeof own, "p9load-%d", (int)getpid());
	makePattern();
	inboxSize = 2 * (size_t)msize + 65536;
	inbox = malloc(inboxSize);
	dial();
	version();
	attach();
	chunk = msize - IO_HEADER;
	fileChunks = opt.fileBytes / chunk;
	if (fileChunks == 0) die("the file is smaller than one chunk");
	walk(ROOT_FID, SPARE_FID, opt.dir);
	makeDirectory(SPARE_FID, own);
	walk(SPARE_FID, DIR_FID, own);
	clunk(SPARE_FID);
	workload->prepare();
	measure(workload);
	if (workload->finish) workload->finish();
	workload->cleanup();
	char path[256];
	snprintf(path, sizeof path, "%s/%s", opt.dir, own);
	removeName(ROOT_FID, path);
	return 0;
}
