# Brings the file of each line of its input up and down, and writes down what became of the host meanwhile.
# Arguments: which program, and a directory with bin/resolvconf and tables, where the file and the answers are.
set -u
program=$1 directory=$2
export MBT_CALLS=$directory/calls
PATH=$directory/bin:$PATH
interface=wgdiff file=$directory/wgdiff.conf

# Sockets of its own, so that both sides have the same interface name; and a kernel without WireGuard.
mount --make-rprivate /
mkdir -p /run/wireguard
mount -t tmpfs none /run/wireguard
mount -t tmpfs none /sys/module
cp -a /etc "$directory/etc"
mount --bind "$directory/etc" /etc
mkdir -p /etc/iproute2/rt_tables.d
cp "$directory/tables" /etc/iproute2/rt_tables.d/differential.conf
rm -rf /etc/resolvconf
if [[ -e $directory/interface-order ]]; then
    mkdir /etc/resolvconf
    cp "$directory/interface-order" /etc/resolvconf/
fi
ip() { [[ $* == *"type wireguard"* ]] && return 95; command ip "$@"; }
# wg-quick puts its own directory before the path.
resolvconf() { "$MBT_RESOLVCONF" "$@"; }
export MBT_RESOLVCONF=$directory/bin/resolvconf
export -f ip resolvconf

observe() {
    {
        echo "== address"; ip -j addr show dev $interface 2>/dev/null || true
        echo "== link"; ip -o link show dev $interface 2>/dev/null || true
        echo "== route"; ip -j route show table all
        echo "== rule4"; ip -4 -j rule
        echo "== rule6"; ip -6 -j rule
        echo "== filter"; nft list ruleset
        echo "== mark"; cat /proc/sys/net/ipv4/conf/all/src_valid_mark
        echo "== wg"; wg showconf $interface 2>/dev/null || true
        echo "== calls"; cat "$MBT_CALLS"
    } >"$directory/$1"
}

up() {
    case $program in
    wg-quick) wg-quick up "$file" ;;
    *) "$program" up --allow-hooks --detach "$file" ;;
    esac
}

down() {
    case $program in
    wg-quick) wg-quick down "$file" ;;
    *) "$program" down $interface ;;
    esac
}

# The end of wireguard-go comes after that of wg-quick.
gone() {
    local left=1000
    while [[ -e /run/wireguard/$interface.sock || -e /sys/class/net/$interface ]] && ((left--)); do
        sleep 0.01
    done
}

: >"$MBT_CALLS"
observe before
echo ready
while read -r _; do
    : >"$MBT_CALLS"
    echo 0 >/proc/sys/net/ipv4/conf/all/src_valid_mark
    up </dev/null >"$directory/said" 2>&1
    code=$?
    ended=0
    observe up
    if ((code == 0)); then
        down </dev/null >"$directory/said.down" 2>&1
        ended=$?
    fi
    gone
    observe down
    echo "$code $ended"
done
