# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the scripts share: talking to a person, and commands that take long. To be sourced.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly root

if [[ -t 1 ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m' wipe=$'\r\e[K'
else
  bold='' dim='' red='' green='' plain='' wipe=''
fi
# shellcheck disable=SC2034 # some are for those who source this
readonly bold dim red green plain wipe

say() { printf '%s\n' "$*"; }
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }

die() {
  printf '%s%s: %s%s\n' "$red" "$(basename "$0")" "$*" "$plain" >&2
  exit 1
}

# Before minutes are spent on what could not be preloaded.
[[ $root != *[[:space:]:]* ]] ||
  die "LD_PRELOAD cannot carry '$root', which has a blank or a colon: move it elsewhere"

need_root() {
  ((EUID == 0)) || die "needs root: sudo $0"
}

# A login's limit is 1,024, for the sake of select(); loads have thousands of clients.
allow_descriptors() {
  local enough=16384
  (($(ulimit -Sn) >= enough)) || ulimit -Sn "$enough" 2>/dev/null || ulimit -n "$enough"
}

# The line of a log that says most about how far a command is.
last_line() {
  tail -c 2000 "$1" 2>/dev/null | tr '\r' '\n' | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c1-90 || true
}

watched_pid=''

# Ctrl-C reaches us alone, since what is watched is a process group of its own.
stop_watched() {
  [[ -n $watched_pid ]] || return 0
  kill -TERM -- "-$watched_pid" 2>/dev/null || true
  wait "$watched_pid" 2>/dev/null || true
  watched_pid=''
}
trap 'stop_watched; exit 130' INT
trap 'stop_watched; exit 143' TERM HUP

# watched LABEL LOG COMMAND...: runs the command with its output in LOG. A terminal sees how far it
# is; a log file gets a line at the end. What failed shows the end of its log, tail_lines of it.
tail_lines=40
watched() {
  local label=$1 log=$2 start=$SECONDS status=0
  shift 2
  set -m
  "$@" >"$log" 2>&1 </dev/null &
  watched_pid=$!
  set +m
  while [[ -n $wipe ]] && kill -0 "$watched_pid" 2>/dev/null; do
    printf '%s   %s %s%3ds  %s%s' "$wipe" "$label" "$dim" $((SECONDS - start)) "$(last_line "$log")" "$plain"
    sleep 0.3
  done
  wait "$watched_pid" || status=$?
  watched_pid=''
  if ((status == 0)); then
    printf '%s   %s %s(%d s)%s\n' "$wipe" "$label" "$dim" $((SECONDS - start)) "$plain"
  else
    printf '%s   %s%s: failed%s %s(%d s)%s\n' "$wipe" "$red" "$label" "$plain" "$dim" \
      $((SECONDS - start)) "$plain"
    tail -n "$tail_lines" "$log" | sed 's/^/     /'
  fi
  return "$status"
}

# A person who types `sudo ./scripts/...` in a clone of their own wants to own what is built there.
owner=$(stat -c %U "$root")
as_owner() {
  if ((EUID == 0)) && [[ $owner != root && $owner != UNKNOWN ]]; then
    runuser -u "$owner" -- "$@"
  else
    "$@"
  fi
}

# configure DIR LOG OPTION...: meson; a later change of the build files is ninja's to notice. A directory that
# is there may be another script's, which asked for less.
configure() {
  local dir=$1 log=$2
  shift 2
  if [[ -f $dir/build.ninja ]]; then
    (($# == 0)) || as_owner meson configure "$dir" "$@" >"$log"
    return
  fi
  rm -rf "$dir"
  watched "configure $(basename "$dir")" "$log" as_owner meson setup "$dir" "$root" "$@"
}

# build DIR LOG TARGET...: all targets if none is named.
build() {
  local dir=$1 log=$2
  shift 2
  watched "build $(basename "$dir")" "$log" as_owner nice ninja -C "$dir" "$@"
}
