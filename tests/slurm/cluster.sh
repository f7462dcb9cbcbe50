#!/usr/bin/env bash
# A Slurm cluster of pretended nodes on this one machine, to try the scripts in slurm/ without a real one.  As root:
#   NODES=8 RATE=1gbit bash tests/slurm/cluster.sh up; export SLURM_CONF=/tmp/mscnn-cluster/slurm.conf; sinfo
#   ... status | down | check (says what is missing for one)
# Each node claims 2 sockets x 20 cores, and has a network, a host name (node1, ...) and a disk (/tmp/mscnn-cluster/local)
# of its own; RATE limits its link both ways.  Tasks share the cores there are; with PYTHONPATH=CHECKOUT/tests/slurm/pretend:
# CHECKOUT, ranks plan for the 40 cores of their node and bind to none.
set -euo pipefail

NODES=${NODES:-8} RATE=${RATE:-} HOME_DIR=${CLUSTER_DIR:-/tmp/mscnn-cluster}
SPACE=mscnn-node BRIDGE=mscnn-bridge NETWORK=10.77.0 HEAD=10.77.0.254 PORT=17000
PACKAGES="slurm-wlm slurm-wlm-basic-plugins munge iproute2"
export SLURM_CONF=$HOME_DIR/slurm.conf

check() {
    local tool
    [ "$(id -u)" = 0 ] || fail "a virtual cluster needs root"
    for tool in sbatch slurmctld slurmd munged ip tc nsenter unshare; do
        command -v $tool >/dev/null || fail "$tool is missing (Debian: apt-get install $PACKAGES)"
    done
    unshare --net --uts --mount ip link add a-bridge type bridge 2>/dev/null || fail "no namespaces or bridges here"
}

up() {
    check
    down
    mkdir -p "$HOME_DIR"/{log,run,state,munge,local}
    write_conf
    show_cores
    connect
    head -c 1024 /dev/urandom >"$HOME_DIR/munge/key"
    chmod 400 "$HOME_DIR/munge/key"
    chmod 755 "$HOME_DIR" "$HOME_DIR/munge"
    munged --force --socket="$HOME_DIR/munge/socket" --key-file="$HOME_DIR/munge/key" --seed-file="$HOME_DIR/munge/seed" \
        --pid-file="$HOME_DIR/run/munged.pid" --log-file="$HOME_DIR/log/munged.log"
    slurmctld
    for i in $(seq "$NODES"); do start_node "$i"; done
    for _ in $(seq 60); do
        [ "$(sinfo -h -N -o %t | grep -c idle)" != "$NODES" ] || return 0
        sleep 0.5
    done
    tail -n 3 "$HOME_DIR"/log/*.log >&2
    fail "not all nodes are idle after 30 s; see the logs above"
}

write_conf() {
    echo "CgroupAutomount=no" >"$HOME_DIR/cgroup.conf"
    cat >"$SLURM_CONF" <<END
ClusterName=mscnn
SlurmctldHost=$(hostname -s)($HEAD)
SlurmctldPort=$PORT
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$HOME_DIR/munge/socket,cred_expire=5
TmpFS=$HOME_DIR/local
StateSaveLocation=$HOME_DIR/state
SlurmdSpoolDir=$HOME_DIR/spool/%n
SlurmctldPidFile=$HOME_DIR/run/slurmctld.pid
SlurmdPidFile=$HOME_DIR/run/slurmd-%n.pid
SlurmctldLogFile=$HOME_DIR/log/slurmctld.log
SlurmdLogFile=$HOME_DIR/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,requeue_delay=0
PropagateResourceLimits=NONE
KillWait=5
SlurmdTimeout=60
MinJobAge=3600
NodeName=DEFAULT Port=$((PORT + 1)) Sockets=2 CoresPerSocket=20 ThreadsPerCore=1 RealMemory=190000
$(for i in $(seq "$NODES"); do echo "NodeName=node$i NodeAddr=$NETWORK.$i"; done)
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE
END
}

connect() {     # a network namespace a node, joined by a bridge
    ip link add $BRIDGE type bridge
    ip addr add $HEAD/24 dev $BRIDGE
    ip link set $BRIDGE up
    {
        echo "127.0.0.1 localhost"
        echo "$HEAD $(hostname -s)"
        for i in $(seq "$NODES"); do echo "$NETWORK.$i node$i"; done
    } >"$HOME_DIR/hosts"
    for i in $(seq "$NODES"); do
        ip netns add $SPACE"$i"
        ip link add mscnn-link"$i" type veth peer name eth0 netns $SPACE"$i"
        ip link set mscnn-link"$i" master $BRIDGE up
        ip -n $SPACE"$i" addr add $NETWORK."$i"/24 dev eth0
        ip -n $SPACE"$i" link set eth0 up
        ip -n $SPACE"$i" link set lo up
        [ -z "$RATE" ] || limit "$i"
    done
}

limit() {
    tc qdisc add dev mscnn-link"$1" root tbf rate "$RATE" burst 512kb latency 200ms
    ip netns exec $SPACE"$1" tc qdisc add dev eth0 root tbf rate "$RATE" burst 512kb latency 200ms
}

show_cores() {     # as a kernel does: 2 sockets x 20 cores, each socket with a memory node; for pretend/sitecustomize.py
    local system=$HOME_DIR/sys/devices/system socket core topology
    for socket in 0 1; do
        mkdir -p "$system/node/node$socket"
        echo "$((20 * socket))-$((20 * socket + 19))" >"$system/node/node$socket/cpulist"
        for core in $(seq 0 19); do
            topology=$system/cpu/cpu$((20 * socket + core))/topology
            mkdir -p "$topology"
            echo "$socket" >"$topology/physical_package_id"
            echo "$core" >"$topology/core_id"
        done
    done
}

start_node() {     # nsenter, as `ip netns exec` would hide /sys/fs/cgroup
    mkdir -p "$HOME_DIR/disk/node$1" "$HOME_DIR/spool/node$1"
    nsenter --net=/run/netns/$SPACE"$1" unshare --uts --mount sh -c "
        mount --bind '$HOME_DIR/hosts' /etc/hosts
        mount --bind '$HOME_DIR/disk/node$1' '$HOME_DIR/local'
        hostname node$1
        exec slurmd -N node$1"
}

down() {     # whatever is left of a cluster, even of one that never came up; its jobs included, and nothing else
    local space
    for space in $(ip netns list | grep -o "^${SPACE}[0-9]*"); do
        ip netns pids "$space" | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
        ip netns del "$space"
    done
    for daemon in slurmctld munged; do
        stop $daemon "$(cat "$HOME_DIR/run/$daemon.pid" 2>/dev/null || true)"
    done
    ip link del $BRIDGE 2>/dev/null || true
    rm -rf "$HOME_DIR"
}

stop() {     # daemon, pid: unless the number is another program's by now
    [ "$(cat "/proc/${2:-none}/comm" 2>/dev/null)" = "$1" ] || return 0
    kill "$2"
    timeout 10 tail --pid="$2" -f /dev/null || kill -KILL "$2"
}

fail() {
    echo "cluster.sh: $*" >&2
    exit 1
}

case ${1:-} in
    check | up | down) "$1" ;;
    status) sinfo -N -o "%N %t %c cpus" && squeue ;;
    *) sed -n 2,6p "$0" >&2 && exit 2 ;;
esac
