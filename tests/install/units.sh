#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The units under a systemd that runs: what `systemd-analyze verify` finds right may still not start.
#
#   units.sh BUILD-DIR
#
# A second systemd is pid 1 of namespaces of its own, over this root file system with a layer of memory
# above it, with cgroups, bpffs and network of its own, and with no units but ours and the few that systemd
# itself cannot be without. In there, try_units asks it for the daemon and does to it what happens to daemons.
# Both speak through files in $shared. The end of the outer script ends pid 1, and thereby all.
set -euo pipefail

readonly limit=60 # seconds for all of it; takes 10

fail() {
  echo "FAIL: $*"
  exit 1
}

# --- inside, as a service ------------------------------------------------------------------------

# within SECONDS COMMAND...: until it succeeds.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= end)); then
      systemctl status --no-pager subsetd.socket subsetd.service || true
      fail "not within its time: $*"
    fi
    sleep 0.1
  done
}

shows() { [[ $(systemctl show "$1" --property="$2" --value) == "$3" ]]; }
main_pid() { systemctl show subsetd.service --property=MainPID --value; }
is_another() { local now && now=$(main_pid) && ((now != 0 && now != $1)) && shows subsetd.service ActiveState active; }
# members PORT: the processes, a line each.
members() { subset status --json | jq ".groups[] | select(.port == $1) | .members[].pid | values" | sort; }
has_both() { (($(members 8080 | wc -l) == 2)); }
# are_others PORT PIDS: two that are not among them.
are_others() {
  local now
  now=$(members "$1")
  (($(wc -w <<<"$now") == 2)) && [[ -z $(comm -12 <(echo "$2") <(echo "$now")) ]]
}

try_units() {
  local each pid pids
  ip link set lo up
  echo "the service becomes active"
  within 10 shows subsetd.service ActiveState active
  shows subsetd.socket ActiveState active || fail "no socket"

  echo "servers of two instances join"
  for each in 0 1; do
    SUBSET=$each/2 SUBSET_MATCH=tcp:8080 LD_PRELOAD=$shim \
      python3 -m http.server --bind 127.0.0.1 --directory /run 8080 >/dev/null 2>&1 &
  done
  within 10 has_both

  echo "killed, it is started again and adopts them"
  pid=$(main_pid)
  kill -KILL "$pid"
  within 10 is_another "$pid"
  within 10 has_both

  echo "hung, the watchdog ends it, and the next one adopts them"
  pid=$(main_pid)
  kill -STOP "$pid"
  within 20 is_another "$pid"
  within 10 has_both

  echo "a server in instances is started, and restarted one at a time"
  systemctl start subset@web.service
  within 10 are_others 8081 ''
  pids=$(members 8081)
  systemctl reload subset@web.service
  within 20 are_others 8081 "$pids"
  systemctl stop subset@web.service
  [[ -z $(members 8081) ]] || fail "it has left processes"

  echo "stopped, it leaves steering in place; who asks the socket starts it again"
  systemctl stop subsetd.service
  shows subsetd.service ActiveState inactive || fail "it has not stopped"
  [[ -n $(find /sys/fs/bpf/subset -name 'group-*') ]] || fail "no steering is left"
  within 10 has_both
  shows subsetd.service ActiveState active || fail "its socket has not started it"

  echo "torn down, it leaves nothing"
  systemctl stop subsetd.socket subsetd.service
  subsetd --teardown
  [[ -z $(find /sys/fs/bpf -name 'group-*') ]] || fail "pins are left"
}

# --- the machine ---------------------------------------------------------------------------------

make_root() {
  mount --make-rprivate /
  mount -t tmpfs layer "$scratch"
  mkdir "$scratch"/{over,work,root}
  mount -t overlay root -o "lowerdir=/,upperdir=$scratch/over,workdir=$scratch/work" "$root"
  mount -t proc proc "$root/proc"
  mount -t sysfs sys "$root/sys"
  mount -t cgroup2 cgroup "$root/sys/fs/cgroup"
  mount -t bpf bpf "$root/sys/fs/bpf"
  mount --rbind /dev "$root/dev"
  mount --bind "$shared/console" "$root/dev/console"
  mount -t tmpfs tmp "$root/tmp"
  mount -t tmpfs run "$root/run"
  mkdir "$root/run/shared"
  mount --bind "$shared" "$root/run/shared"
}

# install_file SOURCE TARGET: copies into the layer, whatever the machine has there.
install_file() { install -D "$1" "$root$2"; }

install_programs() {
  install_file "$build/daemon/subsetd" "$(sed -n 's/^ExecStart=//p' "$build/systemd/subsetd.service")"
  install_file "$build/ctl/subset" "$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$build/systemd/subset@.service")"
  install_file "$build/shim/libsubset.so" "$shim" # where `subset` looks for it
  install_file "$0" /run/units.sh
}

install_units() {
  local units=$root/run/units each
  mkdir -p "$units/subsetd.service.d"
  cp "$build/systemd/subsetd.service" "$build/systemd/subset@.service" "$source/systemd/subsetd.socket" "$units"
  mkdir -p "$root/etc/subset"
  printf '%s\n' "COMMAND=python3 -m http.server --bind 127.0.0.1 --directory /run 8081" "OPTIONS=--match tcp:8081" \
    >"$root/etc/subset/web.conf"
  printf '[Service]\n%s\n' "WatchdogSec=2" "StandardOutput=append:/run/shared/daemon" \
    "StandardError=append:/run/shared/daemon" >"$units/subsetd.service.d/test.conf"
  for each in basic sysinit shutdown local-fs sockets umount; do
    printf '[Unit]\nDefaultDependencies=no\n' >"$units/$each.target"
  done
  printf '[Unit]\nDefaultDependencies=no\nWants=subsetd.socket subsetd.service try.service\n' >"$units/try.target"
  cat >"$units/try.service" <<END
[Service]
Type=oneshot
Environment=PATH=/usr/local/sbin:/usr/local/bin:$PATH
StandardOutput=append:/run/shared/said
StandardError=append:/run/shared/said
ExecStart=/bin/bash /run/units.sh --try $shim
ExecStopPost=/bin/sh -c 'echo \$SERVICE_RESULT >/run/shared/result'
END
}

be_machine() {
  scratch=$shared/layer root=$shared/layer/root
  source=$(cd "$(dirname "$0")/../.." && pwd)
  shim=$(sed -n 's/^#define SUBSET_SHIM_PATH "\(.*\)"/\1/p' "$build/config.h")
  make_root
  install_programs
  install_units
  cd "$root"
  # "container": it leaves the settings of the kernel alone.
  exec env -i PATH="$PATH" container=test SYSTEMD_UNIT_PATH=/run/units chroot "$root" /lib/systemd/systemd \
    --unit=try.target --show-status=no
}

# --- outside -------------------------------------------------------------------------------------

main() {
  local end=$((SECONDS + limit))
  shared=$(mktemp -d /tmp/subset-units.XXXXXX)
  export shared
  mkdir "$shared/layer"
  touch "$shared"/{console,said,daemon}
  unshare --mount --pid --fork --kill-child --cgroup --net --uts --ipc bash "$0" --machine "$build" \
    >"$shared/boot" 2>&1 &
  machine=$!
  trap 'kill -KILL $machine 2>/dev/null || true; wait $machine 2>/dev/null || true; rm -rf --one-file-system "$shared"' EXIT
  trap 'exit 130' INT TERM
  until [[ -s $shared/result ]] || ((SECONDS >= end)) || ! kill -0 $machine 2>/dev/null; do sleep 0.1; done
  cat "$shared/said"
  [[ -s $shared/result && $(<"$shared/result") == success ]] && return
  cat "$shared/boot" "$shared/console" "$shared/daemon"
  fail "the units do not do what they should"
}

case ${1-} in
  --try) shim=$2 && try_units ;;
  --machine) build=$2 && be_machine ;;
  *)
    build=$(cd "${1:?BUILD-DIR}" && pwd)
    main
    ;;
esac
