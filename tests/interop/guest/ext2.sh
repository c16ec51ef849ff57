# What programs do on a volume that a guest has mounted by 9P: trees are copied and packed, a git repository is made, and
# the answers of POSIX's calls are tried as several users. Reports as suite.sh does. At the end a manifest of the tree
# `kept` is printed between two lines, for who compares it with what the kernel finds on the disk.
#
# Environment: PORT, ANAME, WORK, MSIZE. Files: checks.sh, posix.sh; `as`, of as.c; git with its libraries and the loader ld.so, when GIT is not empty.

mkdir -p /mnt/one
mount -t 9p -o "trans=tcp,port=$PORT,version=9p2000.L,cache=none,msize=$MSIZE,aname=$ANAME" 10.0.2.2 /mnt/one || exit 1
export TOP="/mnt/one/$WORK/ext2"
mkdir "$TOP" && chmod 777 "$TOP" || exit 1

check() {
	name="$1"
	shift
	mkdir -p "$TOP/work" && chmod 777 "$TOP/work"
	timeout -s KILL 300 sh -ec '. ./checks.sh; . ./posix.sh; cd "$TOP/work"; "$@"' check "$@" >/tmp/out 2>&1
	status=$?
	if [ $status = 0 ]; then echo "ok $name"; else
		echo "not ok $name"
		echo "  status $status"
		sed 's/^/  /' /tmp/out
	fi
	rm -rf "$TOP/work"
}

. ./posix.sh
make_big_tree /tmp/tree
check "cp -a of a big tree, equal by diff -r and manifest" copies_big_tree
check "tar into the volume and out of it again" packs
[ -z "$GIT" ] || check "git init, add, commit, fsck, checkout" uses_git
check "permissions of directories and files, as others see them" posix_permissions
check "sticky directories" posix_sticky
check "setgid directories hand their group on" posix_setgid
check "chmod and chown are the owner's and root's" posix_ownership
check "an owner gives a file to a group that he is in" posix_groups
check "the umask" posix_umask
check "setuid goes with a write and a change of owner" posix_setuid
check "rename: every pair of kinds" posix_rename
check "rename counts links and mends .." posix_parents
check "a directory moves by who may write it" posix_moves
check "a file is no directory on the way" posix_not_directories
check "what may not be there, is there as a symlink to nowhere too" posix_exclusive
check "link: counts, and refusals" posix_link
check "names and paths: their lengths, their absence" posix_names
check "symlinks: long ones, loops" posix_symlinks
check "truncate: holes, tails, sizes" posix_truncate
check "times: who may set which" posix_times
check "times of change: of files" posix_ctimes
check "times of change: of directories" posix_directory_times
check "device nodes, fifos, sockets" posix_nodes
check "an unlinked file lives on for who has it open" posix_unlinked
check "a full volume says so, and goes on" posix_full
cp -a /tmp/tree "$TOP/kept" || exit 1
sync
echo "manifest begins"
cd "$TOP/kept" && manifest
echo "manifest ends"
cd /
umount /mnt/one
