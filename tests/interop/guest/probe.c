/*
 * probe: what busybox has no command for, each checked to the end; it prints the line that failed, and why.
 *
 * usage: probe NAME ARGUMENTS, the names and their arguments as in the table at the bottom.
 *
 * Layer: tests/interop/guest. See the manual pages of the system calls for what each check holds them to.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition) \
	do { \
		if (!(condition)) fail(__LINE__, #condition); \
	} while (0)
#define CHECK_ERRNO(call, want) \
	do { \
		errno = 0; \
		if ((call) != -1 || errno != (want)) fail(__LINE__, #call " gives " #want); \
	} while (0)

static void fail(int line, const char *what) {
	printf("probe.c:%d: not so: %s (%s)\n", line, what, strerror(errno));
	exit(1);
}

static void put(const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	CHECK(fd >= 0);
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	CHECK(close(fd) == 0);
}

/* Whether `fd` reads `text` from its start and then ends. */
static int holds(int fd, const char *text) {
	char buffer[256];
	ssize_t n = pread(fd, buffer, sizeof buffer, 0);
	return n == (ssize_t)strlen(text) && memcmp(buffer, text, (size_t)n) == 0;
}

static int fileHolds(const char *path, const char *text) {
	int fd = open(path, O_RDONLY);
	CHECK(fd >= 0);
	int same = holds(fd, text);
	CHECK(close(fd) == 0);
	return same;
}

/* DIR: the errors that programs count on. */
static void errors(char **arg) {
	CHECK(chdir(arg[0]) == 0);
	put("file", "x");
	CHECK(mkdir("dir", 0755) == 0);
	put("dir/inside", "y");
	CHECK_ERRNO(open("absent", O_RDONLY), ENOENT);
	CHECK_ERRNO(open("absent/deep", O_RDONLY), ENOENT);
	CHECK_ERRNO(open("file", O_WRONLY | O_CREAT | O_EXCL, 0644), EEXIST);
	CHECK_ERRNO(open("file/under", O_RDONLY), ENOTDIR);
	CHECK_ERRNO(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR);
	CHECK_ERRNO(open("dir", O_WRONLY), EISDIR);
	CHECK_ERRNO(mkdir("dir", 0755), EEXIST);
	CHECK_ERRNO(mkdir("file", 0755), EEXIST);
	CHECK_ERRNO(rmdir("dir"), ENOTEMPTY);
	CHECK_ERRNO(rmdir("file"), ENOTDIR);
	CHECK_ERRNO(unlink("dir"), EISDIR);
	CHECK_ERRNO(unlink("absent"), ENOENT);
	CHECK_ERRNO(rename("absent", "other"), ENOENT);
	char name[300];
	memset(name, 'n', sizeof name);
	name[256] = 0;
	CHECK_ERRNO(open(name, O_WRONLY | O_CREAT, 0644), ENAMETOOLONG);
	CHECK(unlink("dir/inside") == 0 && rmdir("dir") == 0 && unlink("file") == 0);
}

/* DIR: errors of renames, and a rename over an open file, which keeps its content for who has it open. */
static void renames(char **arg) {
	CHECK(chdir(arg[0]) == 0);
	put("old", "the new one\n");
	put("target", "the replaced one\n");
	int open_target = open("target", O_RDONLY);
	CHECK(open_target >= 0);
	CHECK(rename("old", "target") == 0);
	CHECK(holds(open_target, "the replaced one\n"));
	CHECK(close(open_target) == 0);
	CHECK(fileHolds("target", "the new one\n"));
	CHECK_ERRNO(access("old", F_OK), ENOENT);
	CHECK(mkdir("a", 0755) == 0 && mkdir("b", 0755) == 0);
	put("b/inside", "x");
	CHECK_ERRNO(rename("a", "b"), ENOTEMPTY);
	CHECK_ERRNO(rename("target", "a"), EISDIR);
	CHECK_ERRNO(rename("a", "target"), ENOTDIR);
	CHECK(rename("target", "a/moved") == 0);
	CHECK(fileHolds("a/moved", "the new one\n"));
	CHECK(rename("b", "a/b") == 0);
	CHECK(fileHolds("a/b/inside", "x"));
	CHECK(unlink("a/moved") == 0 && unlink("a/b/inside") == 0 && rmdir("a/b") == 0 && rmdir("a") == 0);
}

/* DIR: a file that was unlinked goes on for who has it open. */
static void unlinked(char **arg) {
	CHECK(chdir(arg[0]) == 0);
	put("gone", "before");
	int fd = open("gone", O_RDWR);
	CHECK(fd >= 0);
	CHECK(unlink("gone") == 0);
	CHECK_ERRNO(access("gone", F_OK), ENOENT);
	CHECK(holds(fd, "before"));
	CHECK(pwrite(fd, "after!", 6, 0) == 6);
	CHECK(holds(fd, "after!"));
	put("gone", "another file of the same name");
	CHECK(holds(fd, "after!"));
	CHECK(close(fd) == 0);
	CHECK(unlink("gone") == 0);
}

/* DIR: appends go to the end, whoever has written meanwhile. */
static void append(char **arg) {
	CHECK(chdir(arg[0]) == 0);
	put("log", "");
	int one = open("log", O_WRONLY | O_APPEND), two = open("log", O_WRONLY | O_APPEND);
	CHECK(one >= 0 && two >= 0);
	for (int i = 0; i < 3; i++) CHECK(write(one, "one ", 4) == 4 && write(two, "two ", 4) == 4);
	CHECK(close(one) == 0 && close(two) == 0);
	CHECK(fileHolds("log", "one two one two one two "));
	CHECK(unlink("log") == 0);
}

/* DIR COUNT: every entry is listed once while those listed are removed. */
static void deleting(char **arg) {
	int count = atoi(arg[1]), listed = 0;
	char name[32];
	CHECK(chdir(arg[0]) == 0 && mkdir("many", 0755) == 0 && chdir("many") == 0);
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof name, "entry-%05d", i);
		put(name, "");
	}
	DIR *dir = opendir(".");
	CHECK(dir != NULL);
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		if (entry->d_name[0] == '.') continue;
		CHECK(unlink(entry->d_name) == 0);
		listed++;
	}
	CHECK(closedir(dir) == 0);
	CHECK(listed == count);
	CHECK(chdir("..") == 0 && rmdir("many") == 0);
}

/* DIR COUNT: the directory lists entry-00000 to COUNT, each once, and again after rewinddir. */
static void listed(char **arg) {
	int count = atoi(arg[1]);
	char *seen = calloc((size_t)count, 1);
	DIR *dir = opendir(arg[0]);
	CHECK(dir != NULL);
	for (char round = 1; round <= 2; round++) {
		int total = 0;
		for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
			int i;
			if (entry->d_name[0] == '.') continue;
			CHECK(sscanf(entry->d_name, "entry-%d", &i) == 1 && i >= 0 && i < count);
			CHECK(seen[i] == round - 1);
			seen[i] = round;
			total++;
		}
		CHECK(total == count);
		rewinddir(dir);
	}
	CHECK(closedir(dir) == 0);
	free(seen);
}

/* DIR COUNT: that many of entry-00000 ... are there; a client that caches holds a fid for each from then on. */
static void known(char **arg) {
	struct stat st;
	char name[32];
	CHECK(chdir(arg[0]) == 0);
	for (int i = 0; i < atoi(arg[1]); i++) {
		snprintf(name, sizeof name, "entry-%05d", i);
		CHECK(stat(name, &st) == 0);
	}
}

/* DIR: seekdir goes back to where telldir was. */
static void seeking(char **arg) {
	CHECK(chdir(arg[0]) == 0 && mkdir("seek", 0755) == 0 && chdir("seek") == 0);
	char name[32], third[256] = "";
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof name, "entry-%d", i);
		put(name, "");
	}
	DIR *dir = opendir(".");
	CHECK(dir != NULL);
	for (int i = 0; i < 5; i++) CHECK(readdir(dir) != NULL);
	long mark = telldir(dir);
	struct dirent *entry = readdir(dir);
	CHECK(entry != NULL);
	snprintf(third, sizeof third, "%s", entry->d_name);
	while (readdir(dir) != NULL) {}
	seekdir(dir, mark);
	CHECK((entry = readdir(dir)) != NULL && strcmp(entry->d_name, third) == 0);
	CHECK(closedir(dir) == 0);
}

/* DIR: times given, left alone, and of now. (Linux 6.1 cuts them to mtime for every 9P tree.) */
static void times(char **arg) {
	struct stat st;
	CHECK(chdir(arg[0]) == 0);
	put("clock", "x");
	struct timespec set[2] = {{1234567890, 0}, {987654321, 0}};
	CHECK(utimensat(AT_FDCWD, "clock", set, 0) == 0);
	CHECK(stat("clock", &st) == 0);
	CHECK(st.st_atim.tv_sec == 1234567890);
	CHECK(st.st_mtim.tv_sec == 987654321);
	struct timespec part[2] = {{0, UTIME_OMIT}, {1, 0}};
	CHECK(utimensat(AT_FDCWD, "clock", part, 0) == 0);
	CHECK(stat("clock", &st) == 0);
	CHECK(st.st_atim.tv_sec == 1234567890 && st.st_mtim.tv_sec == 1);
	struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
	CHECK(utimensat(AT_FDCWD, "clock", now, 0) == 0);
	CHECK(stat("clock", &st) == 0);
	CHECK(labs(st.st_mtim.tv_sec - time(NULL)) < 3600);
	CHECK(unlink("clock") == 0);
}

/* DIR: a time of change that is given: all that 9P2000 sets. */
static void mtime(char **arg) {
	struct stat st;
	CHECK(chdir(arg[0]) == 0);
	put("clock", "x");
	struct timespec set[2] = {{1234567890, 0}, {987654321, 0}};
	CHECK(utimensat(AT_FDCWD, "clock", set, 0) == 0);
	CHECK(stat("clock", &st) == 0);
	CHECK(st.st_mtim.tv_sec == 987654321);
	CHECK(unlink("clock") == 0);
}

/* DIR COUNTED: a hard link is the same file, and outlives the first name; COUNTED is 1 where links are counted. */
static void links(char **arg) {
	int counted = atoi(arg[1]);
	struct stat first, second;
	CHECK(chdir(arg[0]) == 0);
	put("one", "shared");
	CHECK(link("one", "two") == 0);
	CHECK(stat("one", &first) == 0 && stat("two", &second) == 0);
	CHECK(first.st_ino == second.st_ino);
	CHECK(!counted || (first.st_nlink == 2 && second.st_nlink == 2));
	CHECK_ERRNO(link("one", "two"), EEXIST);
	put("two", "changed");
	CHECK(fileHolds("one", "changed"));
	CHECK(unlink("one") == 0);
	CHECK(fileHolds("two", "changed"));
	CHECK(stat("two", &second) == 0 && second.st_nlink == 1);
	CHECK(unlink("two") == 0);
}

static int tryLock(int fd, short type, int command, struct flock *lock) {
	*lock = (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10};
	return fcntl(fd, command, lock);
}

/* Locks FILE, runs `check` on SAME in another process, unlocks FILE. */
static void whileLocked(char **arg, void (*check)(int fd)) {
	struct flock lock;
	put(arg[0], "something that is long enough for a range");
	int fd = open(arg[0], O_RDWR);
	CHECK(fd >= 0);
	CHECK(tryLock(fd, F_WRLCK, F_SETLK, &lock) == 0);
	pid_t child = fork();
	if (child == 0) {
		int other = open(arg[1], O_RDWR);
		CHECK(other >= 0);
		check(other);
		exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(tryLock(fd, F_UNLCK, F_SETLK, &lock) == 0);
	CHECK(close(fd) == 0);
	if (status != 0) exit(1);
}

static void isRefused(int fd) {
	struct flock lock;
	CHECK_ERRNO(tryLock(fd, F_WRLCK, F_SETLK, &lock), EAGAIN);
}

static void isTold(int fd) {
	struct flock lock;
	CHECK(tryLock(fd, F_WRLCK, F_GETLK, &lock) == 0);
	CHECK(lock.l_type == F_WRLCK && lock.l_start == 10 && lock.l_len == 10);
}

/* FILE SAME: two paths, through two mounts, of one file: a write lock on one keeps the other out, until it is let go. */
static void locks(char **arg) {
	struct flock lock;
	whileLocked(arg, isRefused);
	int other = open(arg[1], O_RDWR);
	CHECK(other >= 0);
	CHECK(tryLock(other, F_WRLCK, F_SETLK, &lock) == 0);
	CHECK(close(other) == 0);
	CHECK(unlink(arg[0]) == 0);
}

static void ignoreAlarm(int signal) { (void)signal; }

/* FILE SAME: who waits for a lock can be interrupted, and has none then. */
static void isInterrupted(int fd) {
	struct flock lock;
	struct sigaction action = {.sa_handler = ignoreAlarm};
	struct itimerval often = {{1, 0}, {1, 0}};
	CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
	/* Linux's 9P client says EAGAIN where others say EINTR. */
	CHECK(tryLock(fd, F_WRLCK, F_SETLKW, &lock) == -1 && (errno == EINTR || errno == EAGAIN));
}

static void lockwait(char **arg) {
	whileLocked(arg, isInterrupted);
	locks(arg);
}

/* FILE SAME: F_GETLK on one of two paths of a file tells of the lock on the other. */
static void getlock(char **arg) {
	whileLocked(arg, isTold);
	CHECK(unlink(arg[0]) == 0);
}

/* FILE: extended attributes are set, listed, read, replaced and removed. */
static void xattrs(char **arg) {
	char value[256], *name = "user.colour";
	put(arg[0], "x");
	CHECK(setxattr(arg[0], name, "blue", 4, XATTR_CREATE) == 0);
	CHECK(getxattr(arg[0], name, value, sizeof value) == 4 && memcmp(value, "blue", 4) == 0);
	CHECK_ERRNO(setxattr(arg[0], name, "red", 3, XATTR_CREATE), EEXIST);
	CHECK(setxattr(arg[0], name, "red", 3, XATTR_REPLACE) == 0);
	CHECK(getxattr(arg[0], name, value, sizeof value) == 3);
	CHECK(getxattr(arg[0], name, NULL, 0) == 3);
	CHECK(listxattr(arg[0], value, sizeof value) >= 12);
	CHECK(removexattr(arg[0], name) == 0);
	CHECK_ERRNO(getxattr(arg[0], name, value, sizeof value), ENODATA);
	CHECK(unlink(arg[0]) == 0);
}

/* PATH: statfs answers with sizes and a name length. */
static void space(char **arg) {
	struct statvfs fs;
	CHECK(statvfs(arg[0], &fs) == 0);
	CHECK(fs.f_bsize > 0 && fs.f_namemax >= 255 && fs.f_blocks >= fs.f_bfree && fs.f_bfree >= fs.f_bavail);
}

/* DIR HEX...: names given as bytes in hexadecimal are made, and listed as they were made. */
static void names(char **arg) {
	CHECK(chdir(arg[0]) == 0 && mkdir("names", 0755) == 0 && chdir("names") == 0);
	for (arg++; *arg; arg++) {
		char name[256] = "", found[256] = "";
		for (size_t i = 0; (*arg)[2 * i]; i++) {
			unsigned byte;
			CHECK(sscanf(*arg + 2 * i, "%2x", &byte) == 1);
			name[i] = (char)byte;
		}
		put(name, "named");
		DIR *dir = opendir(".");
		CHECK(dir != NULL);
		for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
			if (entry->d_name[0] != '.') snprintf(found, sizeof found, "%s", entry->d_name);
		CHECK(closedir(dir) == 0);
		CHECK(strcmp(found, name) == 0);
		CHECK(fileHolds(name, "named"));
		CHECK(unlink(name) == 0);
	}
	CHECK(chdir("..") == 0 && rmdir("names") == 0);
}

/* FILE SIZE: a pattern written in one call is read back in one call, and through a private mapping. */
static void large(char **arg) {
	size_t size = (size_t)atol(arg[1]);
	unsigned *out = malloc(size), *in = malloc(size);
	CHECK(out && in);
	for (size_t i = 0; i < size / 4; i++) out[i] = (unsigned)(i * 2654435761u);
	int fd = open(arg[0], O_RDWR | O_CREAT | O_TRUNC, 0644);
	CHECK(fd >= 0);
	CHECK(write(fd, out, size) == (ssize_t)size);
	CHECK(pread(fd, in, size, 0) == (ssize_t)size);
	CHECK(memcmp(in, out, size) == 0);
	void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(map != MAP_FAILED);
	CHECK(memcmp(map, out, size) == 0);
	CHECK(munmap(map, size) == 0 && close(fd) == 0 && unlink(arg[0]) == 0);
	free(out);
	free(in);
}

/* FILE: a hole reads as zeros, and truncation cuts and grows. */
static void holes(char **arg) {
	char buffer[8192];
	struct stat st;
	int fd = open(arg[0], O_RDWR | O_CREAT | O_TRUNC, 0644);
	CHECK(fd >= 0);
	CHECK(pwrite(fd, "end", 3, 5000) == 3);
	CHECK(pread(fd, buffer, sizeof buffer, 0) == 5003);
	for (int i = 0; i < 5000; i++) CHECK(buffer[i] == 0);
	CHECK(ftruncate(fd, 5001) == 0 && ftruncate(fd, 6000) == 0);
	CHECK(fstat(fd, &st) == 0 && st.st_size == 6000);
	CHECK(pread(fd, buffer, sizeof buffer, 5000) == 1000);
	CHECK(buffer[0] == 'e' && buffer[1] == 0 && buffer[999] == 0);
	CHECK(pread(fd, buffer, sizeof buffer, 6000) == 0);
	CHECK(close(fd) == 0 && unlink(arg[0]) == 0);
}

static const struct {
	const char *name;
	int arguments;
	void (*check)(char **arg);
} PROBES[] = {
	{"append", 1, append},
	{"deleting", 2, deleting},
	{"errors", 1, errors},
	{"getlock", 2, getlock},
	{"holes", 1, holes},
	{"known", 2, known},
	{"large", 2, large},
	{"links", 2, links},
	{"listed", 2, listed},
	{"locks", 2, locks},
	{"lockwait", 2, lockwait},
	{"names", 2, names},
	{"renames", 1, renames},
	{"mtime", 1, mtime},
	{"seeking", 1, seeking},
	{"space", 1, space},
	{"times", 1, times},
	{"unlinked", 1, unlinked},
	{"xattrs", 1, xattrs},
};

int main(int argc, char **argv) {
	for (size_t i = 0; argc > 1 && i < sizeof PROBES / sizeof *PROBES; i++) {
		if (strcmp(argv[1], PROBES[i].name) != 0 || argc - 2 < PROBES[i].arguments) continue;
		PROBES[i].check(argv + 2);
		return 0;
	}
	printf("usage: probe NAME ARGUMENTS\n");
	return 2;
}
