#!/usr/bin/env bash
# Prints which settings of an interface stand in AF_XDP's way, with the command for each; --apply runs them.
#
#   scripts/nic-tune.sh IFACE [--netns NS] [--apply]
#
# It changes offloads only, says what it does, and never touches addresses, queues or the MTU. `octroi doctor` looks at
# more and changes nothing.
set -euo pipefail

usage() { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }

iface='' netns='' apply=no
while [ $# -gt 0 ]; do
    case $1 in
        --netns) [ $# -ge 2 ] || usage; netns=$2; shift ;;
        --apply) apply=yes ;;
        -*) usage ;;
        *) [ -z "$iface" ] || usage; iface=$1 ;;
    esac
    shift
done
[ -n "$iface" ] || usage

# No quotes needed around $in: it is empty or three plain words.
in=''
[ -z "$netns" ] || in="ip netns exec $netns"
features=$($in ethtool -k "$iface")

# feature as `ethtool -k` names it | as `ethtool -K` names it | why it is in the way
wanted_off='rx-vlan-offload|rxvlan|the tag is taken out of the frame: XDP sees tagged traffic as untagged
tx-vlan-offload|txvlan|on a veth the peer then sees frames without their tag
large-receive-offload|lro|merged frames do not fit a UMEM chunk; drivers refuse XDP with it
tx-checksumming|tx|on a veth the peer then sees unfinished TCP and UDP checksums'

clean=yes
while IFS='|' read -r feature short why; do
    state=$(sed -n "s/^$feature: //p" <<<"$features")
    case $state in
        off* | '') continue ;;
        *fixed*) clean=no; echo "$feature is on and fixed: $why" ;;
        *)
            clean=no
            echo "$feature is on: $why"
            echo "    $in ethtool -K $iface $short off" | sed 's/^ \{5,\}/    /'
            if [ "$apply" = yes ]; then $in ethtool -K "$iface" "$short" off >/dev/null; echo '    done'; fi
            ;;
    esac
done <<<"$wanted_off"

if [ "$clean" = yes ]; then echo "$iface: nothing in the way"; fi
queues=$($in ethtool -l "$iface" 2>/dev/null | awk '/^Current/ {now=1} now && /^(RX|Combined):/ && 0 < $2+0 {print $2; exit}' || true)
echo "receive queues: ${queues:-unknown}; Octroi serves all of them"
echo "While a native XDP program is attached the kernel keeps TSO off towards this interface; nothing here changes that."
