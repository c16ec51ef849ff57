# The checks of ext2.sh, one function each. As in checks.sh: sh -e, in a directory of their own.

# refused WORDS COMMAND...: the command fails, and says so in these words.
refused() {
	words="$1"
	shift
	if said=$("$@" 2>&1); then
		echo "not refused: $*"
		return 1
	fi
	case $said in *"$words"*) return ;; esac
	echo "expected '$words' of: $*, got: $said"
	return 1
}

# as USER COMMAND...: in another user's name. (busybox of Debian has nothing for it that takes a command's words.)
as() {
	case $1 in ken) id=1001 ;; rob) id=1002 ;; ken+rob) id=1001:1002 ;; esac # the last is ken, in rob's group too
	shift
	/job/as $id "$@"
}

links() {
	stat -c %h "$1"
}

# One line a file, the same from busybox and GNU's tools: kind and permissions, owners, links, size, time, content.
manifest() {
	find . | LC_ALL=C sort | while IFS= read -r file; do
		if [ -L "$file" ]; then what=$(readlink "$file"); elif [ -f "$file" ]; then what=$(md5sum <"$file"); else what=-; fi
		size=-
		[ -d "$file" ] || size=$(stat -c %s "$file")
		echo "$file $(stat -c '%f %u %g %h %Y' "$file") $size $what"
	done
}

# A manifest without the times of symlinks, which busybox's cp and tar leave as they come.
plain_manifest() {
	manifest | sed -E 's/ (a1ff [0-9]+ [0-9]+ [0-9]+) [0-9]+/ \1/'
}

make_big_tree() {
	mkdir -p "$1"
	d=0
	while [ $d -lt 10 ]; do
		mkdir "$1/dir$d"
		f=0
		while [ $f -lt 10 ]; do
			echo "file $f of directory $d" >"$1/dir$d/file$f"
			f=$((f + 1))
		done
		d=$((d + 1))
	done
	cp /bin/busybox "$1/program"
	dd if=/dev/urandom of="$1/random" bs=4096 count=100 2>/dev/null
	dd if="$1/random" of="$1/hole" bs=4096 count=1 seek=500 2>/dev/null
	ln "$1/dir0/file0" "$1/hard"
	ln -s dir1/file1 "$1/short"
	ln -s "$(seq 1 60 | tr '\n' x)" "$1/long"
	mkdir -p "$1/deep/a/b/c/d/e/f/g/h/i/j"
	echo "ümläut" >"$1/deep/a/b/ñame"
	mkfifo "$1/fifo"
	mknod "$1/null" c 1 3
	chmod 4711 "$1/dir2/file2"
	chmod 0 "$1/dir2/file3"
	chown 1001:1002 "$1/dir2/file4"
	chown 70000:2000000 "$1/dir2/file5"
	touch -d "1999-12-31 23:59:59" "$1/dir3/file1"
	touch -d "2040-01-01 00:00:00" "$1/dir3/file2"
}

copies_big_tree() {
	cp -a /tmp/tree copy
	diff -r /tmp/tree/dir1 copy/dir1
	(cd /tmp/tree && plain_manifest) >/tmp/want
	(cd copy && plain_manifest) >/tmp/got
	diff -U 0 /tmp/want /tmp/got
	cp -a copy again
	(cd again && plain_manifest) >/tmp/got
	diff -U 0 /tmp/want /tmp/got
	rm -rf copy again
	absent copy
}

packs() {
	mkdir in
	tar cf - -C /tmp/tree . | tar xf - -C in
	tar cf tree.tar -C in .
	rm -rf /tmp/back
	mkdir /tmp/back
	tar xf tree.tar -C /tmp/back
	(cd /tmp/tree && plain_manifest | sed -E 's/ [0-9]+ - -$//') >/tmp/want # directories' times are those of their last file
	(cd /tmp/back && plain_manifest | sed -E 's/ [0-9]+ - -$//') >/tmp/got
	diff -U 0 /tmp/want /tmp/got
}

git() {
	"$GIT_EXEC_PATH/git" -c user.name=ken -c user.email=ken@example.org -c gc.auto=0 \
		-c maintenance.auto=false -c core.fsync=all "$@"
}

uses_git() {
	export GIT_EXEC_PATH=/tmp/gitbin GIT_TEMPLATE_DIR=
	mkdir -p $GIT_EXEC_PATH
	printf '#!/bin/sh\nexec /job/ld.so --library-path /job /job/git "$@"\n' >$GIT_EXEC_PATH/git
	chmod 755 $GIT_EXEC_PATH/git
	mkdir repo
	cd repo
	git init -q .
	cp -a /tmp/tree/dir* /tmp/tree/short /tmp/tree/random .
	git add .
	git commit -q -m first
	git mv dir5 moved
	git rm -q -r dir6
	echo more >>dir7/file7
	git commit -q -a -m second
	git fsck --strict
	same "" "$(git status --porcelain)"
	same 2 "$(git log --oneline | wc -l | tr -d ' ')"
	git checkout -q HEAD~1
	holds dir6/file1 "file 1 of directory 6"
	git checkout -q -
	absent dir6
}

posix_permissions() {
	mkdir closed open
	chmod 755 closed
	chmod 777 open
	refused "ermission denied" as ken touch closed/file
	as ken touch open/file
	same "1001 1001" "$(stat -c '%u %g' open/file)"
	as ken chmod 600 open/file
	refused "ermission denied" as rob cat open/file
	refused "ermission denied" as rob sh -c 'echo x >>open/file'
	as ken chmod 044 open/file
	refused "ermission denied" as ken cat open/file
	as rob cat open/file
	mkdir open/blind
	echo seen >open/blind/file
	chmod 711 open/blind
	refused "ermission denied" as ken ls open/blind
	same seen "$(as ken cat open/blind/file)"
	chmod 744 open/blind
	refused "ermission denied" as ken cat open/blind/file
	as rob rm -f open/file
	absent open/file
}

posix_sticky() {
	mkdir sticky
	chmod 1777 sticky
	as ken touch sticky/mine
	chmod 666 sticky/mine
	refused "not permitted" as rob rm sticky/mine
	refused "not permitted" as rob mv sticky/mine sticky/yours
	as rob touch sticky/his
	refused "not permitted" as rob mv sticky/his sticky/mine
	as ken mv sticky/mine sticky/still
	as ken rm sticky/still
	rm sticky/his
	as ken mkdir sticky/dir
	as rob mkdir sticky/own
	refused "not permitted" as rob rmdir sticky/dir
	refused "not permitted" as rob mv sticky/dir sticky/taken
	refused "not permitted" as rob mv -T sticky/own sticky/dir
	chown 1002 sticky
	as rob mv -T sticky/own sticky/dir
	as rob rmdir sticky/dir
}

posix_setgid() {
	mkdir shared
	chown 0:1002 shared
	chmod 2777 shared
	as ken touch shared/file
	same 1002 "$(stat -c %g shared/file)"
	as ken mkdir shared/sub
	same "1002 2" "$(stat -c '%g %a' shared/sub | sed 's/...$//')"
}

posix_ownership() {
	touch file
	chmod 666 file
	refused "not permitted" as ken chmod 600 file
	refused "not permitted" as ken chown 1001 file
	chown 1001:1001 file
	as ken chmod 640 file
	same 640 "$(stat -c %a file)"
	refused "not permitted" as ken chown 1002 file
	refused "not permitted" as ken chown 1001:1002 file
	chown 4294967294:4294967294 file
	same "4294967294 4294967294" "$(stat -c '%u %g' file)"
}

posix_groups() {
	touch file
	mkdir dir
	chown 1001:1001 file dir
	chmod 6755 file
	refused "not permitted" as ken chgrp 1002 file
	refused "not permitted" as rob chgrp 1002 file
	as ken+rob chgrp 1002 file
	same "1001 1002 755" "$(stat -c '%u %g %a' file)"
	as ken+rob chgrp 1001 file
	as ken+rob chgrp 1002 dir
	same "1001 1001" "$(stat -c '%u %g' file)"
	same "1001 1002" "$(stat -c '%u %g' dir)"
}

posix_umask() {
	umask 027
	touch file
	mkdir dir
	mkfifo pipe
	same "640 750 640" "$(stat -c %a file) $(stat -c %a dir) $(stat -c %a pipe)"
}

posix_setuid() {
	touch file
	chown 1001:1001 file
	chmod 6777 file
	as rob sh -c 'echo x >>file'
	same 777 "$(stat -c %a file)"
	chmod 6755 file
	chown 1002 file
	same 755 "$(stat -c %a file)"
}

posix_rename() {
	mkdir -p full/sub empty dir
	echo one >file
	echo two >other
	refused "nvalid argument" mv -T dir dir/below
	refused "irectory" mv -T file empty
	refused "irectory" mv -T empty file
	refused "not empty" mv -T empty full
	mv file other
	same one "$(cat other)"
	absent file
	mv -T full empty
	[ -d empty/sub ]
	absent full
	ln other same
	mv -T dir dir2
	absent dir
	refused "o such file" mv -T nothing there
	ln -s other link
	mv link moved
	same other "$(readlink moved)"
	mkfifo pipe
	mv pipe other
	[ -p other ]
}

posix_parents() {
	mkdir -p a/x b
	same "3 2" "$(links a) $(links b)"
	mv a/x b/y
	same "2 3 2" "$(links a) $(links b) $(links b/y)"
	same "$(stat -c %i b)" "$(stat -c %i b/y/..)"
	mkdir a/z
	mv -T a/z b/y
	same "2 3" "$(links a) $(links b)"
	rmdir b/y
	same 2 "$(links b)"
}

posix_moves() {
	mkdir from to from/his
	chown 1001 from to
	chown 1002 from/his
	refused "ermission denied" as ken mv from/his to/his # its .. would change
	as ken mv from/his from/still
	chmod 777 from/still
	as ken mv from/still to/his
	chmod 555 from
	as ken mkdir to/mine
	refused "ermission denied" as ken mv to/mine from/mine
}

posix_not_directories() {
	echo text >file
	echo text >other
	mkdir dir
	refused "ot a directory" mkdir file/d
	refused "ot a directory" ln other file/l
	refused "ot a directory" ln -s other file/s
	refused "ot a directory" mkfifo file/p
	refused "ot a directory" truncate -s 0 file/t
	refused "ot a directory" chmod 600 file/c
	refused "irectory" mv -T other file/m # busybox has words of its own
	refused "ot a directory" mv -T dir file
	refused "ot a directory" rmdir file
	refused "ot a directory" rm file/r
	same "text text" "$(echo $(cat file other))"
}

posix_exclusive() {
	ln -s nowhere link
	refused "exist" sh -C -c 'echo y >link'
	refused "exist" mkdir link
	refused "exist" mkfifo link
	refused "exist" ln -s other link
	absent nowhere
	touch link
	[ -f nowhere ]
	same nowhere "$(readlink link)"
}

posix_link() {
	echo data >one
	ln one two
	same "2 2" "$(links one) $(links two)"
	same "$(stat -c %i one)" "$(stat -c %i two)"
	refused "exists" ln one two
	mkdir dir
	refused "not permitted" ln dir dir2 || refused "irectory" ln dir dir2
	rm one
	same "1 data" "$(links two) $(cat two)"
}

posix_names() {
	long=$(printf '%0255d' 7)
	echo x >"$long"
	same x "$(cat "$long")"
	refused "too long" sh -c 'echo x >"$1"' sh "${long}8"
	refused "too long" mkdir "${long}8"
	refused "too long" mv "$long" "${long}8"
	refused "o such file" cat missing
	refused "ot a directory" cat "$long/file"
	refused "exists" mkdir "$long"
	mkdir full
	touch full/file
	refused "not empty" rmdir full
	refused "irectory" rm full
	set -C
	refused "exist" sh -C -c 'echo y >"$1"' sh "$long"
}

posix_symlinks() {
	n=1
	for length in 1 59 60 61 255 1000; do
		target=$(printf "%0${length}d" $n)
		ln -s "$target" "link$length"
		same "$target" "$(readlink "link$length")"
		same "$length" "$(stat -c %s "link$length")"
	done
	ln -s loop2 loop1
	ln -s loop1 loop2
	refused "symbolic links" cat loop1
	ln -s . here
	echo x >file
	same x "$(cat here/here/here/file)"
}

posix_truncate() {
	seq 1 10000 >file
	size=$(stat -c %s file)
	head -c 5000 file >want
	truncate -s 5000 file
	cmp want file
	truncate -s 100000 file
	same 100000 "$(stat -c %s file)"
	cmp -n 5000 want file
	same 0 "$(tail -c 95000 file | tr -d '\000' | wc -c | tr -d ' ')"
	truncate -s 5000000000 file
	same 5000000000 "$(stat -c %s file)"
	[ "$(stat -c %b file)" -lt 200 ]
	truncate -s 0 file
	same "0 0" "$(stat -c '%s %b' file)"
}

posix_times() {
	touch file
	chmod 666 file
	as ken touch file
	refused "not permitted" as ken touch -d "2001-02-03 04:05:06" file
	touch -d "2001-02-03 04:05:06" file
	same 981173106 "$(stat -c %Y file)"
	before=$(stat -c %Z file)
	sleep 1
	chmod 600 file
	[ "$(stat -c %Z file)" -gt "$before" ]
	same 981173106 "$(stat -c %Y file)"
	echo x >>file
	[ "$(stat -c %Y file)" -gt 1000000000 ]
	mkdir dir
	touch -d "2001-02-03 04:05:06" dir
	touch dir/new
	[ "$(stat -c %Y dir)" -gt 1000000000 ]
}

# ctimes FILE...: when each was changed, one a line.
ctimes() {
	for file in "$@"; do stat -c %Z "$file"; done
}

posix_ctimes() {
	for file in mode owner linked cut unlinked; do echo text >$file; done
	ln unlinked second
	ctimes mode owner linked cut unlinked >/tmp/before
	sleep 1
	refused "not permitted" as ken chmod 600 mode
	refused "not permitted" as ken chown 1001 owner
	refused "ermission denied" as ken truncate -s 1 cut
	ctimes mode owner linked cut unlinked >/tmp/after
	cmp /tmp/before /tmp/after
	chmod 600 mode
	chown 1001 owner
	ln linked third
	truncate -s 1 cut
	rm second
	ctimes mode owner linked cut unlinked | paste /tmp/before - | while read -r before after; do
		[ "$after" -gt "$before" ] || return 1
	done
}

# changes DIRECTORY COMMAND...: the command succeeds, and the directory's time of change is now.
changes() {
	touch -d "2001-02-03 04:05:06" "$1"
	dir=$1
	shift
	"$@"
	[ "$(stat -c %Y "$dir")" -gt 1000000000 ] || { echo "$dir is as it was after: $*"; return 1; }
}

posix_directory_times() {
	mkdir dir to
	changes dir touch dir/file
	changes dir mkdir dir/sub
	changes dir ln dir/file dir/hard
	changes dir ln -s file dir/soft
	changes dir mkfifo dir/pipe
	changes dir mv dir/pipe dir/moved
	changes dir mv dir/moved to/moved
	changes to mv dir/hard to/hard
	changes dir rm dir/soft
	changes dir rmdir dir/sub
	touch -d "2001-02-03 04:05:06" dir .
	echo more >dir/file
	refused "exists" mkdir dir/file
	refused "not empty" rmdir dir
	refused "o such file" mv -T dir/none dir/some
	same "981173106 981173106" "$(stat -c %Y dir) $(stat -c %Y .)"
}

posix_nodes() {
	mknod block b 7 300
	same "7 12c" "$(stat -c '%t %T' block)"
	mknod char c 5 1
	same "5 1" "$(stat -c '%t %T' char)"
	mkfifo pipe
	(echo through >pipe) &
	same through "$(cat pipe)"
	chmod 777 .
	refused "not permitted" as ken mknod other c 1 3
}

posix_unlinked() {
	echo before >file
	exec 3<>file
	rm file
	absent file
	same 0 "$(stat -L -c %h /proc/self/fd/3)"
	echo after >&3
	same after "$(cat /proc/self/fd/3)" || same after "$(cat <&3)"
	exec 3>&-
}

posix_full() {
	refused "o space" sh -c 'dd if=/dev/zero of=big bs=1M count=4000 2>&1 || { cat; false; }' </dev/null
	rm big
	echo again >file
	same again "$(cat file)"
}
