# What only ring9 has, through the mount at /mnt/two: the system as files. Read by suite.sh.

WHERE="the system"
export REFUSED="Invalid argument"
check "reads /proc" reads_proc
check "reads /sys" reads_sys
check "reads and writes /dev" uses_dev
check "writes a ctl, and an error comes back" writes_ctl
check "gives up a read that waits" gives_up_reading
check "reloads a plugin, with a file of another open" reloads_plugin
check "binds by a line written to a proc's ns" binds_by_ns
for version in 9p2000.u 9p2000; do
	mount9p $version none /mnt/other ,uname=root
	WHERE="the system by $version"
	export SYSTEM=/mnt/other
	# 9P2000 sends the text of an error alone, and Linux has errno 526 for a text that it does not know.
	[ $version = 9p2000 ] && REFUSED="error 526"
	check "reads /proc" reads_proc
	check "reads /sys" reads_sys
	check "reads and writes /dev" uses_dev
	check "writes a ctl, and an error comes back" writes_ctl
	export SYSTEM=/mnt/two
	umount /mnt/other
done
