#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The host of a Redis server dies under a client that counts, here and with what people use today: the same two servers and the same client in the same
# topology (../netns/lib.sh). Prints a line of JSON for each time.
#
#   sttcp        a protected pair; heartbeats every 200 ms, three misses
#   keepalived   VRRP moves the address, three advertisements of 200 ms missed; Redis' replica becomes master; the client reconnects
#   conntrackd   the same, and the states of connections are synchronised
#   sentinel     three sentinels, 600 ms without an answer; the client asks them and reconnects

. "$(dirname "$0")/../netns/lib.sh"
HERE=$(realpath "$(dirname "$0")")/rivals
REDIS=6379
# A client that reconnects gives up on an answer after so many seconds; one whose session survives had better wait.
IMPATIENT=0.5 PATIENT=5

# redis HOST [OPTION...]
redis() {
    local host=$1
    shift
    mkdir -p "$WORK/redis.$host"
    ip netns exec "$host" redis-server --protected-mode no --save '' --appendonly no --dir "$WORK/redis.$host" --port $REDIS "$@" >"$WORK/redis.$host/log" 2>&1 &
}
redis_answers() { # NAMESPACE ADDRESS
    [ "$(ip netns exec "$1" redis-cli -h "$2" -p $REDIS ping 2>/dev/null)" = PONG ]
}
replicates() { ip netns exec backup redis-cli -h 10.0.0.2 -p $REDIS info replication 2>/dev/null | grep -q 'master_link_status:up'; }
# replicated: a master and a replica on the hosts' own addresses, and what moves between the two.
replicated() {
    local host
    for host in primary backup; do
        ip -n $host addr del "$VIP4/32" dev eth0
        ip netns exec $host sysctl -qw net.ipv4.ip_nonlocal_bind=1
    done
    ip -n client neigh del "$VIP4" dev eth0
    redis primary --bind 0.0.0.0
    wait_until 20 redis_answers client 10.0.0.1 || return 1
    redis backup --bind 0.0.0.0 --replicaof 10.0.0.1 $REDIS --repl-diskless-sync-delay 0
    wait_until 20 replicates
}

# vrrp HOST PRIORITY HOOK
vrrp() {
    sed "s/ROLE/$1/; s/PRIORITY/$2/; s|HOOK|$3|" "$HERE/keepalived.conf" >"$WORK/keepalived.$1"
    ip netns exec "$1" keepalived --dont-fork --log-console --vrrp -f "$WORK/keepalived.$1" -p "$WORK/keepalived.$1.pid" -r "$WORK/vrrp.$1.pid" >"$WORK/keepalived.$1.log" 2>&1 &
}
has_address() { ip -n "$1" -o -4 addr show dev eth0 | grep -q "$VIP4/"; }

# states HOST NUMBER: conntrackd, and a filter that asks for states.
states() {
    # Of the one before, a socket and a lock would be left.
    rm -rf "$WORK/states.$1"
    mkdir "$WORK/states.$1"
    sed "s/OWN/10.0.0.$2/; s|WORK|$WORK/states.$1|" "$HERE/conntrackd.conf" >"$WORK/states.$1/conf"
    ip netns exec "$1" nft -f - <<'NFT'
table inet states {
    chain in {
        type filter hook input priority filter
        ct state invalid counter
    }
}
NFT
    ip netns exec "$1" sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0 net.netfilter.nf_conntrack_tcp_be_liberal=1
    ip netns exec "$1" conntrackd -C "$WORK/states.$1/conf" >"$WORK/states.$1/log" 2>&1 &
}

# Each leaves `session` with the arguments of the client.
begin_sttcp() {
    local host
    module_load && configure primary 1 2 && configure backup 2 1 || return 1
    for host in primary backup; do
        set_control $host heartbeat_interval_ms 200
        redis $host --bind "$VIP4"
    done
    wait_until 20 redis_answers primary "$VIP4" && wait_until 20 redis_answers backup "$VIP4" || return 1
    set_control primary role primary && set_control backup role backup && wait_until 20 has_state primary protected || return 1
    session=("$VIP4" "$REDIS") patience=$PATIENT
}
begin_keepalived() {
    printf '#!/bin/sh\nexec redis-cli -p %s replicaof no one\n' $REDIS >"$WORK/master" && chmod 755 "$WORK/master"
    replicated || return 1
    vrrp primary 150 "$WORK/master"
    wait_until 20 has_address primary || return 1
    printf '#!/bin/sh\nredis-cli -p %s replicaof no one\n%s' $REDIS "${1-}" >"$WORK/master.backup" && chmod 755 "$WORK/master.backup"
    vrrp backup 100 "$WORK/master.backup"
    wait_until 20 grep -q 'Entering BACKUP STATE' "$WORK/keepalived.backup.log" && has_address primary && ! has_address backup || return 1
    session=("$VIP4" "$REDIS") patience=$IMPATIENT
}
begin_conntrackd() {
    modprobe nf_conntrack && { insmod /opt/bench/modules/nf_conntrack_netlink.ko || lsmod | grep -q nf_conntrack_netlink; } 2>/dev/null
    states primary 1 && states backup 2 || return 1
    wait_until 20 test -S "$WORK/states.primary/control" && wait_until 20 test -S "$WORK/states.backup/control" || return 1
    # What the example of conntrackd's authors does: the other host's states go into the kernel.
    begin_keepalived "conntrackd -C $WORK/states.backup/conf -c
conntrackd -C $WORK/states.backup/conf -f
conntrackd -C $WORK/states.backup/conf -R
conntrackd -C $WORK/states.backup/conf -B
"
}
begin_sentinel() {
    local host number
    replicated || return 1
    number=1
    session=(10.0.0.1 "$REDIS")
    for host in primary backup client; do
        [ $host != client ] || number=10
        cat >"$WORK/sentinel.$host" <<CONF
port 26379
protected-mode no
dir $WORK
sentinel monitor service 10.0.0.1 $REDIS 2
sentinel down-after-milliseconds service 600
sentinel failover-timeout service 3000
CONF
        ip netns exec $host redis-server "$WORK/sentinel.$host" --sentinel >"$WORK/sentinel.$host.log" 2>&1 &
        session+=("10.0.0.$number:26379")
        number=2
    done
    patience=$IMPATIENT
    wait_until 30 sentinels_agree
}
sentinels_agree() {
    ip netns exec client redis-cli -p 26379 sentinel ckquorum service 2>/dev/null | grep -q '^OK 3' &&
        ip netns exec client redis-cli -p 26379 sentinel replicas service 2>/dev/null | grep -q 10.0.0.2
}

# knows_states: conntrackd of the backup has heard of the client's connection.
knows_states() { backup conntrackd -C "$WORK/states.backup/conf" -e | grep -q "dport=$REDIS"; }

# measure SETUP ROUND
measure() {
    local setup=$1 round=$2 status=0 pid answer
    topology_up
    rm -f "$WORK"/{up,end}
    "begin_$setup" || {
        tail -5 "$WORK"/*log "$WORK"/*/log 2>/dev/null | sed 's/^/# /'
        result 1 "$setup, $round: it comes up"
        return
    }
    SESSION_PATIENCE=$patience client python3 "$HERE/session.py" "${session[@]:0:2}" "$WORK/up" "$WORK/end" "${session[@]:2}" >"$WORK/session" 2>"$WORK/session.errors" &
    pid=$!
    wait_until 20 test -e "$WORK/up" || status=1
    [ "$setup" != conntrackd ] || wait_until 20 knows_states || status=1
    # At a moment of chance.
    sleep "1.$((RANDOM % 9))"
    ip -n switch link set to-primary down
    ip netns pids primary | xargs -r kill -9
    rm -f "$WORK/up"
    wait_until 30 test -e "$WORK/up" || status=1
    touch "$WORK/end"
    wait $pid || status=1
    answer=$(cat "$WORK/session")
    [ -n "$answer" ] || { sed 's/^/# /' "$WORK/session.errors"; status=1; }
    echo "# {\"bench\":\"rivals\",\"setup\":\"$setup\",${answer#\{}"
    [ "$setup" != sttcp ] || grep -q '"sessions": 1, "failed": 0, "lost": 0,' "$WORK/session" || status=1
    result $status "$setup, $round: the client counts on$([ "$setup" != sttcp ] || echo ", in the session that it had")"
}

ktap_begin
for round in $(seq "${ROUNDS:-3}"); do
    for setup in ${SETUPS:-sttcp keepalived conntrackd sentinel}; do
        measure "$setup" "$round"
        topology_down
        rmmod sttcp 2>/dev/null
    done
done
ktap_end
