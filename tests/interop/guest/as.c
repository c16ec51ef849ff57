/* as ID COMMAND...: runs the command as user and group ID, with no other groups. Layer: tests/interop/guest. */

#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
	if (argc < 3) return 125;
	int id = atoi(argv[1]);
	if (setgroups(0, NULL) != 0 || setgid(id) != 0 || setuid(id) != 0) {
		perror("as");
		return 125;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
