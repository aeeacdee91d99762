#!/usr/bin/env bash
# Makes (or removes) two network namespaces joined by a veth pair, in the state that AF_XDP wants.
#
#   scripts/netns-lab.sh up   NAME [QUEUES]     default: as many queues as this machine has CPUs
#   scripts/netns-lab.sh down NAME
#
#   namespace NAME-gate                    namespace NAME-world
#     veth1  10.7.0.1/24  fd07::1/64  ───    veth0  10.7.0.2/24  fd07::2/64
#
# Load Octroi onto veth1 in NAME-gate; send from NAME-world. It touches nothing outside these two namespaces.
set -euo pipefail

die() { echo "netns-lab: $*" >&2; exit 1; }

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }

up() {
    local name=$1 queues=$2 gate=$1-gate world=$1-world
    [ ! -e "/run/netns/$gate" ] && [ ! -e "/run/netns/$world" ] || die "$name exists; remove it with: $0 down $name"
    trap 'down "$name"' ERR
    ip netns add "$gate"
    ip netns add "$world"
    # A veth has one queue unless told otherwise, and native XDP wants as many Rx queues here as the peer has Tx queues.
    ip -n "$gate" link add veth1 numrxqueues "$queues" numtxqueues "$queues" type veth \
        peer name veth0 netns "$world" numrxqueues "$queues" numtxqueues "$queues"
    end "$gate" veth1 10.7.0.1/24 fd07::1/64
    end "$world" veth0 10.7.0.2/24 fd07::2/64
    trap - ERR
    echo "$gate: veth1 10.7.0.1 fd07::1   $world: veth0 10.7.0.2 fd07::2   queues: $queues"
}

# Brings up one end: complete checksums and visible VLAN tags, because XDP sees frames before anyone repairs them.
end() {
    local ns=$1 dev=$2 v4=$3 v6=$4
    ip netns exec "$ns" ethtool -K "$dev" tx off rxvlan off txvlan off >/dev/null
    ip -n "$ns" addr add "$v4" dev "$dev"
    ip -n "$ns" addr add "$v6" dev "$dev" nodad
    ip -n "$ns" link set lo up
    ip -n "$ns" link set "$dev" up
}

# Deleting one end of a pair deletes the other, and an XDP link on either with it.
down() {
    for ns in "$1-gate" "$1-world"; do
        if [ -e "/run/netns/$ns" ]; then ip netns del "$ns"; fi
    done
}

[ $# -ge 2 ] || usage
[ "$(id -u)" = 0 ] || die "needs root, as network namespaces do"
for tool in ip ethtool; do
    command -v "$tool" >/dev/null || die "$tool is missing: apt-get install iproute2 ethtool"
done
case $1 in
    up) up "$2" "${3:-$(nproc)}" ;;
    down) down "$2" ;;
    *) usage ;;
esac
