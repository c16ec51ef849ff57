# The checks of suite.sh, one function each, run in the working directory $W with sh -e: the first command that fails
# ends a check. `x || exit 1` where -e does not look.

mounts() {
	mkdir -p "$3"
	mount -t 9p -o "trans=tcp,port=$PORT,version=$1,cache=$2,msize=$MSIZE,aname=$ANAME" 10.0.2.2 "$3"
	grep -q " $3 9p " /proc/mounts
	[ -d "$3/$WORK" ]
}

unmounts() {
	cd /
	umount "$1"
}

remounts() {
	mkdir -p /mnt/again
	mount -t 9p -o "trans=tcp,port=$PORT,version=$1,cache=$2,msize=$MSIZE,aname=$ANAME$3" 10.0.2.2 /mnt/again
	file="/mnt/again/$WORK/again$3"
	echo again >"$file"
	same again "$(cat "$file")"
	rm "$file"
	absent "$file"
	umount /mnt/again
}

# same WANT GOT
same() {
	[ "$1" = "$2" ] && return
	echo "expected: $1"
	echo "     got: $2"
	return 1
}

absent() {
	[ ! -e "$1" ] && [ ! -L "$1" ] && return
	echo "still there: $1"
	return 1
}

create() {
	echo hello >file
	same hello "$(cat file)"
	same 6 "$(stat -c %s file)"
	same "regular file" "$(stat -c %F file)"
	: >empty
	same "" "$(cat empty)"
	seq 1 20000 >numbers
	same "$(seq 1 20000 | md5sum)" "$(md5sum <numbers)"
	dd if=numbers bs=1 skip=1000 count=16 2>/dev/null >part
	same "$(seq 1 20000 | dd bs=1 skip=1000 count=16 2>/dev/null)" "$(cat part)"
}

rename_within() {
	echo content >before
	mv before after
	absent before
	same content "$(cat after)"
	mkdir -p dir/sub
	echo inside >dir/sub/file
	mv dir moved
	absent dir
	same inside "$(cat moved/sub/file)"
}

truncates() {
	echo 123456789 >cut
	truncate -s 4 cut
	same 1234 "$(cat cut)"
	truncate -s 10000 cut
	same 10000 "$(stat -c %s cut)"
	same 10000 "$(wc -c <cut)"
	: >cut
	same 0 "$(stat -c %s cut)"
}

appends() {
	echo one >log
	echo two >>log
	echo three >>log
	same "one two three" "$(tr '\n' ' ' <log | sed 's/ $//')"
}

permissions() {
	: >mode
	for mode in 600 644 755 400 777; do
		chmod $mode mode
		same $mode "$(stat -c %a mode)"
	done
	mkdir -m 700 private
	same 700 "$(stat -c %a private)"
	chmod 750 private
	same 750 "$(stat -c %a private)"
}

removes() {
	: >victim
	rm victim
	absent victim
	mkdir -p deep/er/still
	: >deep/er/still/file
	if rmdir deep 2>/dev/null; then return 1; fi
	rm -r deep
	absent deep
}

symlinks() {
	echo target >target
	ln -s target pointer
	same target "$(readlink pointer)"
	same target "$(cat pointer)"
	ln -s nowhere/at/all dangling
	same nowhere/at/all "$(readlink dangling)"
	same "symbolic link" "$(stat -c %F dangling)"
	mkdir folder
	ln -s folder shortcut
	echo through >shortcut/file
	same through "$(cat folder/file)"
	rm pointer dangling shortcut
	absent pointer
	same target "$(cat target)"
}

special_files() {
	mkfifo fifo
	same fifo "$(stat -c %F fifo)"
	echo through >fifo &
	same through "$(cat fifo)"
	mknod null c 1 3
	same "1 3" "$(stat -c '%t %T' null)"
	echo swallowed >null
	rm fifo null
}

# make_tree DIR: files of many sizes, modes and times, directories, links
make_tree() {
	mkdir -p "$1/empty" "$1/a/b/c/d" "$1/sizes"
	for size in 0 1 511 512 4095 4096 4097 65535 65536 300000; do
		yes "$size" | head -c $size >"$1/sizes/$size"
	done
	for name in one two three "with space" .hidden; do echo "$name" >"$1/a/b/$name"; done
	head -c 200000 /bin/busybox >"$1/a/b/c/program"
	chmod 755 "$1/a/b/c/program"
	chmod 600 "$1/a/b/one"
	chmod 444 "$1/a/b/two"
	chmod 700 "$1/a"
	touch -d "2001-02-03 04:05:06" "$1/a/b/three" "$1/empty"
	ln -s ../b/one "$1/a/b/link"
	ln -s /init "$1/a/outside"
	ln "$1/a/b/three" "$1/a/hard"
}

# facts DIR: name, mode, time and kind of everything in it but symlinks, whose times busybox's cp does not keep
facts() {
	(cd "$1" && find . ! -type l -print0 | xargs -0 stat -c '%n %A %Y %F' | sort)
}

copies_tree() {
	cp -a /tmp/tree tree
	diff -r /tmp/tree tree
	same ../b/one "$(readlink tree/a/b/link)"
	facts /tmp/tree >/tmp/want
	facts tree >/tmp/got
	diff /tmp/want /tmp/got
	rm -r tree
}

copies_plain_tree() {
	mkdir /tmp/plain 2>/dev/null && cp -r /tmp/tree/sizes /tmp/tree/empty /tmp/plain
	cp -r /tmp/plain tree
	diff -r /tmp/plain tree
	rm -r tree
}

lists_many() { probe listed "$ROOT/$WORK/many" 10000; }

random_operations() {
	case $CACHE in
	none) fsx -s "$SEED" -n "$FSX_OPERATIONS" random /tmp/random ;;
	*) fsx -m -s "$SEED" -n "$FSX_OPERATIONS" random /tmp/random ;;
	esac
}

probe_large() { probe large big 1048576; }
probe_holes() { probe holes sparse; }
probe_links() { probe links . 1; }
probe_uncounted_links() { probe links . 0; }
probe_renames() { probe renames .; }
probe_errors() { probe errors .; }
probe_unlinked() { probe unlinked .; }
probe_append() { probe append .; }
probe_deleting() { probe deleting . 150; }
probe_seeking() { probe seeking .; }
probe_times() { probe times .; }
probe_mtime() { probe mtime .; }
probe_space() { probe space .; }
probe_xattrs() { probe xattrs coloured; }
probe_utf8_names() { probe names . c3a4c3b6 e697a5e69cac f09f9a80 "$(printf '%0510d' 0 | tr 0 6)"; }
probe_byte_names() { probe names . 61ff80 fe c328; }

two_mounts() {
	echo from one >"$ONE/shared"
	same "from one" "$(cat "$TWO/shared")"
	echo from two >>"$TWO/shared"
	same "from one from two" "$(tr '\n' ' ' <"$ONE/shared" | sed 's/ $//')"
	mv "$ONE/shared" "$ONE/renamed"
	absent "$TWO/shared"
	same 18 "$(stat -c %s "$TWO/renamed")"
	rm "$TWO/renamed"
	absent "$ONE/renamed"
}

locks_between_mounts() { probe locks "$ONE/locked" "$TWO/locked"; }
getlock_between_mounts() { probe getlock "$ONE/locked" "$TWO/locked"; }
