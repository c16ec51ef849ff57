# Cores of a guest with cgroup v2: boots ring9 from /ring9 and looks at what the kernel made of its partitions, in an
# orderly life and after SIGKILL. Reports as suite.sh does.

CGROUP=/sys/fs/cgroup
export DENO_DIR=/tmp/deno HOME=/tmp

check() {
	name=$1
	shift
	if "$@" >/tmp/said 2>&1; then echo "ok $name"; else echo "not ok $name"; cat /tmp/said; fi
}

# within SECONDS COMMAND...: until it is true.
within() {
	tenths=${1}0
	shift
	while ! "$@"; do
		[ "$tenths" -gt 0 ] || break
		tenths=$((tenths - 1))
		sleep 0.1
	done
	"$@" && return
	echo "not in time: $*"
	head -n 99 /tmp/node.log /mnt/sys/cores/status $CGROUP/cpuset.cpus.effective $CGROUP/ring9*/c*
	return 1
}

boots() {
	rm -f /tmp/9p
	cd /ring9
	deno run --allow-all --no-prompt --no-npm --no-remote --v8-flags=--no-turboshaft-loop-unrolling \
		cmd/boot.ts --image /job/image --no-console --quiet --socket /tmp/9p --data /tmp/data >/tmp/node.log 2>&1 &
	node=$!
	within 240 test -S /tmp/9p || return 1
	mount -t 9p -o trans=unix,version=9p2000.L,uname=root,access=client /tmp/9p /mnt
}

# loads WORD...: a plugin with a core. One whose heart does not beat in time, under emulation, is loaded again.
loads() {
	for _ in 1 2 3 4 5 6; do
		echo "load $* cores cores:1,guaranteed:1,watchdog:0" >/mnt/sys/plugins/ctl && return
	done
	echo "load $* cores 1" | deno run --no-prompt -A cmd/9p.ts write 'unix!/tmp/9p' /sys/plugins/ctl # says why
}

ends() {
	kill "-$1" "$node"
	wait "$node"
	umount -l /mnt
}

guard_dies() {
	for process in /proc/[0-9]*; do
		if grep -q ring9-guard "$process/cmdline"; then kill -KILL "${process#/proc/}"; fi
	done
}

status() { grep -qx "$1" /mnt/sys/cores/status; }
file() { [ "$(cat "$1")" = "$2" ]; }
thread() { sed -n 's/^pid //p' "/mnt/sys/plugins/$1/stats" | head -n 1; }
runs_on() { grep -qx "Cpus_allowed_list:[[:space:]]*$2" "/proc/$1/status"; }
no_groups() { [ -z "$(find $CGROUP -name 'ring9cores-*')" ]; }
interrupts() { cat /proc/irq/*/smp_affinity_list | tr '\n' ' '; }

mkdir -p $CGROUP
mount -t cgroup2 none $CGROUP
echo +cpuset >$CGROUP/cgroup.subtree_control
before=$(interrupts)

check "a node boots" boots
check "it has all cores" status "shared 0-2"

check "a plugin with a core is loaded" loads hello
check "the status has an isolated partition" within 20 status "isolation partition"
group=$(find $CGROUP -name 'ring9cores-*')
check "the kernel's partition is isolated" file "$group/cpuset.cpus.partition" isolated
check "it has the core" file "$group/cpuset.cpus.effective" 1
check "nobody else has" file $CGROUP/cpuset.cpus.effective 0,2
check "the isolate's thread alone is in it" file "$group/cgroup.threads" "$(thread hello)"
check "it runs there" runs_on "$(thread hello)" 1

check "a process with a core is loaded" loads hello as other placement process
check "the partition has both cores" within 20 file "$group/cpuset.cpus.effective" 1-2
check "the process's threads are in it" within 20 grep -qx "$(thread other)" "$group/cgroup.threads"
check "they run on their core" within 20 runs_on "$(thread other)" 2
check "the process is unloaded" sh -c "echo 'unload other' >/mnt/sys/plugins/ctl"
check "its core comes back" within 20 file "$group/cpuset.cpus.effective" 1

check "the node is killed" ends KILL
check "its guard removes the partition" within 20 no_groups
check "all cores are the host's again" within 20 file $CGROUP/cpuset.cpus.effective 0-2
check "interrupts are where they were" test "$(interrupts)" = "$before"

check "a second node boots" boots
check "a plugin with a core is loaded again" loads hello
check "it has a partition" within 20 status "isolation partition"
guard_dies
check "it is killed, as its guard was" ends KILL
sleep 1
check "the partition stays" file $CGROUP/cpuset.cpus.effective 0,2

check "a third node boots" boots
check "it has removed what was left" no_groups
check "it has all cores, too" status "shared 0-2"
check "a plugin with a core is loaded a third time" loads hello
check "it has a partition, too" within 20 status "isolation partition"
check "nobody else has the core then" file $CGROUP/cpuset.cpus.effective 0,2
passes_on=$(find $CGROUP -name cpuset.cpus.exclusive)
check "it ends" ends INT
check "nothing of it stays" within 20 no_groups
check "all cores are the host's in the end" within 20 file $CGROUP/cpuset.cpus.effective 0-2
check "and interrupts where they were" test "$(interrupts)" = "$before"

# With Linux 6.7 a partition may lie below a group that is none, as a service's is.
[ -n "$passes_on" ] || exit 0
service=$CGROUP/system.slice/ring9.service
mkdir -p $service
echo +cpuset >$CGROUP/system.slice/cgroup.subtree_control
echo $$ >$service/cgroup.procs
check "a node boots as a service" boots
check "a plugin with a core is loaded there" loads hello
check "the service's node has a partition" within 20 status "isolation partition"
check "it lies in the service" file $service/ring9cores-*/cpuset.cpus.partition isolated
check "the slice passes the core on" file $CGROUP/system.slice/cpuset.cpus.exclusive 1
check "the service's node is killed" ends KILL
check "its guard removes that partition" within 20 no_groups
check "the slice passes nothing on any more" within 20 file $CGROUP/system.slice/cpuset.cpus.exclusive ""
check "all cores are the host's then" within 20 file $CGROUP/cpuset.cpus.effective 0-2
