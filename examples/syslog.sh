#!/bin/sh
# SPDX-License-Identifier: MIT
# Three rsyslogd on one UDP port. A few machines send nearly everything and no order is promised, so each
# datagram goes its own way: mode random.
#   logger --udp --server 127.0.0.1 --port 5140 hello; tail log.*
set -eu
directory=${1:-$PWD}
cd "$directory"
for i in 0 1 2; do
  cat >"rsyslog.$i.conf" <<END
global(workDirectory="$directory")
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="5140")
action(type="omfile" file="$directory/log.$i")
END
done
exec subset run -n 3 --mode random -- rsyslogd -n -i "$directory/pid.{i}" -f "$directory/rsyslog.{i}.conf"
