/* as ID[:GROUP] COMMAND...: runs the command as user and group ID, with no other group but GROUP. Layer: tests/interop/guest. */

#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
	if (argc < 3) return 125;
	char *more = NULL;
	int id = strtol(argv[1], &more, 10);
	gid_t group = *more == ':' ? atoi(more + 1) : 0;
	if (setgroups(*more == ':', &group) != 0 || setgid(id) != 0 || setuid(id) != 0) {
		perror("as");
		return 125;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
