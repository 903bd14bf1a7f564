#!/bin/bash
# Switches a QEMU guest off, by the monitor of its QEMU (QMP).   qemu.sh ADDRESS PORT
#
# A fence_command: exits with 0 when the guest runs no longer, and no sooner. QEMU's side is -qmp tcp:ADDRESS:PORT,server=on,wait=off
#
#   echo "/usr/local/sbin/fence-qemu 10.0.0.250 4401" >/proc/sys/net/sttcp/fence_command
set -uo pipefail

[[ $# -eq 2 ]] || {
    echo "usage: qemu.sh ADDRESS PORT" >&2
    exit 2
}
# A host that answers, but has nobody at the port, runs no such guest.
if ! error=$({ exec 3<>"/dev/tcp/$1/$2"; } 2>&1); then
    [[ $error == *"Connection refused"* ]]
    exit
fi
exec 3<>"/dev/tcp/$1/$2" || exit 1
read -r greeting <&3 && [[ $greeting == *'"QMP"'* ]] || exit 1
printf '%s\n' '{"execute":"qmp_capabilities"}' '{"execute":"quit"}' >&3
quits=1
# QEMU's end is the end of the connection.
while read -r line <&3; do
    [[ $line != *'"error"'* ]] || exit 1
    [[ $line != *'"return"'* ]] || quits=0
done
exit "$quits"
