# What a guest does with a 9P server: mounts it in each dialect and cache mode, and runs the checks of checks.sh there.
# Every check prints one line, "ok NAME", "not ok NAME" with what it said under it, or "skip NAME".
#
# Environment: PORT; ANAME, the tree to attach to; WORK, a writable directory of it, with 10,000 files in WORK/many;
# MSIZE; DIALECTS; CACHES; FSX_OPERATIONS and SEED; NATIVE, not empty if the server is ring9 itself; LACKS, functions of
# checks.sh that the server has no means for, or loose:FUNCTION.

# mount9p VERSION CACHE DIRECTORY [MORE OPTIONS]
mount9p() {
	mkdir -p "$3"
	mount -t 9p -o "trans=tcp,port=$PORT,version=$1,cache=$2,msize=$MSIZE,aname=$ANAME$4" 10.0.2.2 "$3"
}

# check NAME FUNCTION [ARGUMENTS]: the function in a shell of its own that ends at the first command that fails.
check() {
	name="$WHERE: $1"
	shift
	case " $LACKS " in *" $1 "* | *" $CACHE:$1 "*)
		echo "skip $name"
		return
	esac
	timeout -s KILL 180 sh -ec '. ./checks.sh; cd "$W"; "$@"' check "$@" >/tmp/out 2>&1
	status=$?
	if [ $status = 0 ]; then
		echo "ok $name"
		return
	fi
	echo "not ok $name"
	echo "  status $status"
	sed 's/^/  /' /tmp/out
	dmesg -c | tail -n 5 | sed 's/^/  /'
}

# What every dialect has.
common() {
	check "creates, writes and reads back" create
	check "renames files and directories" rename_within
	check "truncates" truncates
	check "appends" appends
	check "changes permissions" permissions
	check "removes files and trees" removes
	check "says why it refuses" error_words
	check "writes 1 MiB in one call and reads it back" probe_large
	check "reads holes as zeros" probe_holes
	check "lists 10,000 entries" lists_many
	check "carries UTF-8 and 255-byte names" probe_utf8_names
	check "fsx, seed $SEED" random_operations
}

dotl() {
	check "links" probe_links
	check "symlinks" symlinks
	check "copies a tree with cp -a, equal by diff -r, modes and times" copies_tree
	check "moves between directories, over files, and refuses what has to be refused" probe_renames
	check "gives the errors that programs count on" probe_errors
	check "keeps an unlinked file for who has it open" probe_unlinked
	check "appends to the end from two descriptors" probe_append
	check "lists every entry once while they are removed" probe_deleting
	check "seeks in a directory" probe_seeking
	check "sets times, given, omitted and now" probe_times
	check "answers statfs" probe_space
	check "sets, lists and removes extended attributes" probe_xattrs
	check "carries names that are not UTF-8" probe_byte_names
	check "makes fifos and devices" special_files
	[ "$2" = none ] || check "goes on with 5,000 files cached" knows_many
}

dotu() {
	check "links" probe_uncounted_links
	check "symlinks" symlinks
	check "copies a tree with cp -a, equal by diff -r, modes and times" copies_tree
	check "sets the time of change" probe_mtime
}

plain() {
	check "copies a tree with cp -r, equal by diff -r" copies_plain_tree
	check "sets the time of change" probe_mtime
}

# on VERSION CACHE: a mount, the checks of the dialect, and the end of the mount
on() {
	WHERE="$1 cache=$2" W=/
	export ROOT=/mnt/one
	check "mounts" mounts "$1" "$2" $ROOT
	export W="$ROOT/$WORK/$1-$2" CACHE="$2"
	mkdir "$W" || return
	common
	case $1 in
	9p2000.L) dotl "$@" ;;
	9p2000.u) dotu ;;
	9p2000) plain ;;
	esac
	W=/
	check "unmounts" unmounts $ROOT
}

. ./checks.sh
make_tree /tmp/tree
export W=/
dmesg -c >/dev/null

mount9p 9p2000.L none /mnt/two
for dialect in $DIALECTS; do
	for cache in $CACHES; do on $dialect $cache; done
done

WHERE="two mounts"
mount9p 9p2000.L none /mnt/one
export W=/ SYSTEM=/mnt/two ONE="/mnt/one/$WORK" TWO="/mnt/two/$WORK"
check "see each other's files at once" two_mounts
check "keep each other out by locks" locks_between_mounts
check "let who waits for a lock be interrupted" lockwait_between_mounts
check "tell who holds a lock" getlock_between_mounts
[ -z "$NATIVE" ] || . ./native.sh
check "unmount" unmounts /mnt/one
check "unmount the other" unmounts /mnt/two

WHERE="options"
check "mounts with access=client" remounts 9p2000.L none ,access=client
check "mounts with access=any" remounts 9p2000.L none ,access=any
check "mounts with msize=8192" remounts 9p2000.L none ,msize=8192
check "mounts with cache=mmap" remounts 9p2000.L mmap
