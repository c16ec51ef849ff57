#!/bin/busybox sh
# The guest's first process: modules, network, then /job/run with its output on the second serial line.
# Its last line there is the exit status, for guest.ts.

/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TERM=dumb
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /tmp

for module in /modules/*.ko; do insmod "$module"; done
hostname guest
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0

stty raw -echo -F /dev/ttyS1
cd /job
. ./env
sh ./run </dev/null >/dev/ttyS1 2>&1
echo "
ring9-guest-exit $?" >/dev/ttyS1
poweroff -f
