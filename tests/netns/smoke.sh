#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The shortest of all: a pair comes up, carries one connection, and stops. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
begin
goes "an echo" client echo --to "$(target 4)" --count 1
set_control backup role off && wait_until 5 has_state primary solo
result $? "the backup leaves"
set_control primary role off && has_state primary off
result $? "the primary stops"
ktap_end
