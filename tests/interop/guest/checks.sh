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

# refused WHY COMMAND...: the command fails, and says why
refused() {
	why=$1
	shift
	if "$@" 2>/tmp/refused; then return 1; fi
	holds /tmp/refused "$why"
}

# holds FILE TEXT: the file has the text in it
holds() {
	cat "$1" >/tmp/held
	grep -qF "$2" /tmp/held && return
	echo "no \"$2\" in $1:"
	cat /tmp/held
	return 1
}

error_words() {
	mkdir taken
	: >taken/file
	refused "No such file or directory" cat absent
	refused "No such file or directory" cat taken/absent
	refused "File exists" mkdir taken
	refused "Directory not empty" rmdir taken
	refused "Not a directory" cat taken/file/below
	refused "Is a directory" sh -c 'echo x >taken'
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

# More than any table of fids is likely to be limited to by mistake: Linux gives none back until it has to.
knows_many() {
	probe known "$ROOT/$WORK/many" 5000
	echo more >more
	same more "$(cat more)"
	ls "$ROOT/$WORK" >/dev/null
}

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
lockwait_between_mounts() { probe lockwait "$ONE/locked" "$TWO/locked"; }
getlock_between_mounts() { probe getlock "$ONE/locked" "$TWO/locked"; }

# The rest is for ring9's own name space, mounted at $SYSTEM.

reads_proc() {
	[ -d "$SYSTEM/proc/1" ]
	holds "$SYSTEM/proc/1/status" Running
	holds "$SYSTEM/proc/1/ns" "/tmp"
	holds "$SYSTEM/proc/1/ns" "cd /"
}

reads_sys() {
	holds "$SYSTEM/sys/plugins/ram/status" "state up"
	holds "$SYSTEM/sys/plugins/ram/manifest" '"ram"'
	holds "$SYSTEM/sys/plugins/ram/man" "# ram"
	# The log waits at its end, and Linux reads on until its buffer is full: the shell takes it byte by byte.
	IFS= read -r line <"$SYSTEM/sys/log"
	[ -n "$line" ]
	ls "$SYSTEM/sys/plugins" >/tmp/plugins
	grep -qx proc /tmp/plugins
}

uses_dev() {
	echo gone >"$SYSTEM/dev/null"
	same "" "$(cat "$SYSTEM/dev/null")"
	same 100000 "$(head -c 100000 "$SYSTEM/dev/zero" | tr -d -c '\000' | wc -c)"
	same 16 "$(head -c 16 "$SYSTEM/dev/random" | wc -c)"
	[ -n "$(cat "$SYSTEM/dev/sysname")" ]
}

writes_ctl() {
	echo "name guest" >"$SYSTEM/proc/1/ctl"
	holds "$SYSTEM/proc/1/status" guest
	echo "name init" >"$SYSTEM/proc/1/ctl"
	holds "$SYSTEM/proc/1/status" init
	refused "$REFUSED" sh -c 'echo "no such command" >"$SYSTEM/proc/1/ctl"'
}

gives_up_reading() {
	timeout 1 cat "$SYSTEM/dev/kprint" >/tmp/log || status=$?
	same 143 "$status"
	holds "$SYSTEM/proc/1/status" Running
}

reloads_plugin() {
	before=$(sed -n 's/^generation //p' "$SYSTEM/sys/plugins/dev/status")
	echo kept >"$SYSTEM/$WORK/kept"
	exec 3<"$SYSTEM/$WORK/kept"
	echo reload >"$SYSTEM/sys/plugins/dev/ctl"
	same $((before + 1)) "$(sed -n 's/^generation //p' "$SYSTEM/sys/plugins/dev/status")"
	same kept "$(cat <&3)"
	exec 3<&-
	uses_dev
	rm "$SYSTEM/$WORK/kept"
}

binds_by_ns() {
	echo bound >"$SYSTEM/$WORK/bound"
	echo "bind '#ram' /n" >"$SYSTEM/proc/1/ns"
	same bound "$(cat "$SYSTEM/n/bound")"
	rm "$SYSTEM/n/bound"
	absent "$SYSTEM/$WORK/bound"
}
