#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A client opens a connection from a port that it used a moment ago, while the backup's server still has the earlier
# connection open. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
# No takeover is meant to happen before the cut, however busy the machine is.
INTERVAL=500
begin

cat >"$WORK/server.py" <<'PYTHON'
# Gives back what comes, and ends the connection on a line "bye".
import socket, sys, threading
def serve(connection):
    for line in connection.makefile("rb"):
        if line == b"bye\n":
            break
        connection.sendall(line)
    try:
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
    except OSError:
        pass  # reset, as the earlier one on the backup is
    connection.close()
listener = socket.create_server((sys.argv[1], 7100))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
PYTHON
cat >"$WORK/client.py" <<'PYTHON'
# Opens a connection twice from one port; the second lives until a file "end" is there, and makes a file "up" whenever it is missing.
import errno, os, socket, sys, time
os.chdir(sys.argv[2])
def connect():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", 5555))
    s.settimeout(20)
    for _ in range(200):
        try:
            s.connect((sys.argv[1], 7100))
            break
        except OSError as error:
            # The earlier one still waits for its last acknowledgement.
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            time.sleep(0.02)
    return s
def say(s, line):
    s.sendall(line)
    answer = b""
    while len(answer) < len(line):
        more = s.recv(100)
        assert more, "end of stream"
        answer += more
    assert answer == line, answer
def wait(name):
    while not os.path.exists(name):
        time.sleep(0.02)
s = connect()
say(s, b"first\n")
open("opened", "w")
wait("stopped")
s.sendall(b"bye\n")
assert s.recv(1) == b""
s.close()
s = connect()
number = 0
while not os.path.exists("end"):
    number += 1
    say(s, b"%d\n" % number)
    open("up", "w")
    time.sleep(0.01)
PYTHON

connections() { ip netns exec "$1" awk -v state="$2" '$3 == state' /proc/net/sttcp | wc -l; }
is_protected() { [ "$(connections primary protected)" -eq 1 ] && [ "$(connections backup shadow)" -eq 1 ]; }

for server in primary backup; do
    ip netns exec $server python3 "$WORK/server.py" "$VIP4" &
    pids="${pids-} $!"
done
stopped=${pids##* }
wait_until 10 sh -c "ip netns exec primary ss -Hltn 'sport = :7100' | grep -q . && ip netns exec backup ss -Hltn 'sport = :7100' | grep -q ."
client python3 "$WORK/client.py" "$VIP4" "$WORK" &
talker=$!
wait_until 20 test -e "$WORK/opened" && wait_until 10 is_protected; result $? "a connection is protected"
# From here on the backup's copy of the server does not see that the connection has ended.
kill -STOP "$stopped"
touch "$WORK/stopped"
wait_until 20 test -e "$WORK/up"; result $? "the client opens another one from the same port"
# The primary itself waits two seconds for the shadow, and then goes on without.
wait_until 5 is_protected
status=$?
[ $status -eq 0 ] || for server in primary backup; do ip netns exec $server cat /proc/net/sttcp | sed "s/^/# $server: /"; done
result $status "which is protected as well"
[ "$(counter backup resets_injected)" -gt 0 ]; result $? "the earlier socket was in the way"
kill -CONT "$stopped"
wait_until 10 is_protected
cut_off
wait_until 10 has_state backup solo; result $? "the primary is cut off"
rm "$WORK/up"
wait_until 10 test -e "$WORK/up"; result $? "and the connection goes on"
touch "$WORK/end"
wait $talker; result $? "every byte right"
ktap_end
