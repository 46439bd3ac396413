#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What goes well and what goes wrong in somebody's first hour with the package, inside the Debian that
# scripts/first-hour has made: redis, unmodified, as two instances; and each mistake has to be answered by a
# line that says what to do. As root, in mount and process namespaces of its own.
#
# usage: first_hour.sh SOURCE-ROOT
set -uo pipefail

source_root=$1
nobody=(runuser -u nobody --)
server=(redis-server --port 6390 --save '' --dir /tmp)
failures=0
output=''

verdict() { # LABEL GOOD
  if [[ $2 == yes ]]; then
    printf 'ok      %s\n' "$1"
  else
    printf 'FAILED  %s\n%s\n' "$1" "$output" | sed '2,$s/^/          /'
    ((++failures))
  fi
}

# expect LABEL STATUS WORDS COMMAND...: ends so, and says so.
expect() {
  local label=$1 wanted=$2 words=$3 status=0 good=no
  shift 3
  output=$(timeout 30 "$@" 2>&1 </dev/null) || status=$?
  [[ $status == "$wanted" && $output == *"$words"* ]] && good=yes
  output="status $status: $output"
  verdict "$label" "$good"
}

# comes LABEL WORDS COMMAND...: says so before ten seconds are over.
comes() {
  local label=$1 words=$2 tries=50
  shift 2
  while ((tries-- > 0)); do
    output=$("$@" 2>&1) || true
    [[ $output == *"$words"* ]] && verdict "$label" yes && return
    sleep 0.2
  done
  verdict "$label" no
}

servers() { pgrep -c redis-server; }
status_of_group() { subset status tcp/0.0.0.0:6390; }
end() { # PID SIGNAL
  kill "-$2" "$1" 2>/dev/null
  wait "$1" 2>/dev/null
}

without_a_daemon() {
  expect "status without a daemon" 1 "start one: sudo subsetd" subset status
  expect "no such program" 1 "give its path" subset run -n 2 -- no-such-server
  expect "a static program is told apart" 1 "static" subset run -n 2 -- /sbin/ldconfig -p
  expect "a word too few" 2 "see subset run --help" subset run redis-server
  expect "no such command" 2 "unknown command 'start'" subset start
  expect "a command with a wrong letter" 2 "is 'status' meant" subset statu
  expect "a value that does not parse" 2 "expected" subset run -n 2 --mode fast -- "${server[@]}"
  expect "a daemon without privilege" 1 "run subsetd as root" "${nobody[@]}" subsetd
  expect "another shell, and no privilege" 1 "needs root: sudo" runuser -u somebody -- sh "$source_root/scripts/quickstart"
  cp -r "$source_root" "/tmp/a clone"
  expect "a path that LD_PRELOAD cannot carry" 1 "move it" sh "/tmp/a clone/scripts/quickstart"
}

by_itself() {
  subset run -n 2 -- "${server[@]}" >/tmp/run.log 2>&1 &
  local run=$!
  comes "two instances, by a daemon that run brings along" "2/2 active" status_of_group
  comes "they answer" PONG redis-cli -p 6390 ping
  expect "a second daemon" 1 "stop it, or give this one a --socket" timeout 10 subsetd
  end "$run" KILL
  comes "run was killed, and has left no server behind" 0 servers
}

port_in_use() {
  "${server[@]}" >/dev/null 2>&1 &
  local other=$!
  comes "somebody else has the port" PONG redis-cli -p 6390 ping
  expect "the port is in use" 1 "tcp port 6390 is in use by a socket" subset run -n 2 -- "${server[@]}"
  end "$other" TERM
}

with_a_daemon() {
  subsetd --http off >/tmp/daemon.log 2>&1 &
  local daemon=$! run
  comes "a daemon" "no groups" subset status
  "${nobody[@]}" subset run -n 2 --restart -- "${server[@]}" >/tmp/run.log 2>&1 &
  run=$!
  comes "two instances, by a user without privilege" "2/2 active" status_of_group
  pkill -KILL -o redis-server
  comes "one is killed and comes back" "ended by SIGKILL" cat /tmp/run.log
  comes "and has its share again" "2/2 active" status_of_group
  end "$daemon" KILL
  comes "the daemon is killed, and servers answer" PONG redis-cli -p 6390 ping
  subsetd --http off >/tmp/daemon.log 2>&1 &
  daemon=$!
  comes "the next daemon finds them" "2/2 active" status_of_group
  end "$run" TERM
  comes "all end" 0 servers
  end "$daemon" TERM
  expect "everything is taken down" 0 "/sys/fs/bpf/subset is gone" subsetd --teardown
}

nowhere_to_write() {
  mount -t tmpfs -o ro none /run
  expect "nowhere to put the socket" 1 "name a place that can be written by --socket" subsetd
  umount /run
}

without_a_daemon
by_itself
port_in_use
with_a_daemon
nowhere_to_write
((failures == 0))
