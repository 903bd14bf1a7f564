#!/bin/bash
# Switches a host off by an agent of the package fence-agents, and asks whether it is.   fence-agents.sh AGENT OPTION...
#
# A fence_command: exits with 0 when the host is off, and no sooner. The options are those of the agent, without an action:
#
#   echo "/usr/local/sbin/fence-agents fence_ipmilan --ip=10.1.0.1 --username=admin --password-script=/etc/sttcp/ipmi --lanplus" \
#       >/proc/sys/net/sttcp/fence_command
set -euo pipefail

[[ $# -ge 2 ]] || {
    echo "usage: fence-agents.sh AGENT OPTION..." >&2
    exit 2
}
agent=$1
shift
logger -t sttcp-fence "switches ${STTCP_PEER-?} off for epoch ${STTCP_EPOCH-?}: $agent" || true
"$agent" "$@" --action=off
# 2 is off (fence_ipmilan(8) and its like).
status=0
"$agent" "$@" --action=status || status=$?
[[ $status -eq 2 ]]
