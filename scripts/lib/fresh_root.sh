# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# A Debian of its own in a folder, as somebody has it who has just installed one, and programs that run in
# it: their own mounts, processes, /run and bpffs, and the machine's network, since packages come from there.
# To be sourced after common.sh, by root.

: "${root:?is set by common.sh}"

readonly debian_release=bookworm
readonly debian_mirror=${SUBSET_DEBIAN_MIRROR:-http://deb.debian.org/debian}

# why_no_root: prints why none can be made here, if so.
why_no_root() {
  local host=${debian_mirror#*://}
  if ((EUID != 0)); then
    echo "it needs root"
  elif ! command -v debootstrap >/dev/null; then
    echo "there is no debootstrap: sudo ./scripts/install-deps package"
  elif ! timeout 20 bash -c ": </dev/tcp/${host%%/*}/80" 2>/dev/null; then
    echo "the mirror $debian_mirror cannot be reached (SUBSET_DEBIAN_MIRROR names another)"
  fi
}

# make_fresh_root DIR LOG PACKAGE...: minimal, with these packages. How this machine's apt gets at its
# packages is not written down anywhere else, so its configuration comes along.
make_fresh_root() {
  local dir=$1 log=$2 packages=ca-certificates package cache=$root/build-package/debs
  for package in "${@:3}"; do packages+=,$package; done
  mkdir -p "$dir" "$cache"
  chmod 755 "$dir"
  watched "a minimal Debian $debian_release" "$log" \
    debootstrap --variant=minbase --include="$packages" --cache-dir="$cache" "$debian_release" "$dir" "$debian_mirror" ||
    return 1
  cp -a /etc/apt/apt.conf.d /etc/apt/preferences.d "$dir/etc/apt/"
  cp /etc/resolv.conf "$dir/etc/resolv.conf"
  printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$(uname -n)" >"$dir/etc/hosts"
  cat >"$dir/etc/apt/sources.list" <<END
deb $debian_mirror $debian_release main
deb $debian_mirror $debian_release-updates main
END
}

# Runs inside the new mount and process namespaces. The folder becomes a mount and the root of them, as that of a
# machine is: in a mere chroot nobody could change how mounts propagate, which each test does first.
enter_root() {
  local dir=$1
  shift
  mount --make-rprivate /
  mount --bind "$dir" "$dir"
  mount -t proc proc "$dir/proc"
  mount -t sysfs sysfs "$dir/sys"
  mount --rbind /dev "$dir/dev"
  mount -t tmpfs -o mode=755 tmpfs "$dir/run"
  mount -t bpf bpf "$dir/sys/fs/bpf"
  mount -t cgroup2 cgroup2 "$dir/sys/fs/cgroup"
  cd "$dir" || exit
  pivot_root . .
  umount -l .
  exec /usr/bin/env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 USER=root SHELL=/bin/bash \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
export -f enter_root

# apt_in_root DIR WORD...: apt-get there, without questions.
apt_in_root() {
  in_root "$1" env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Use-Pty=0 "${@:2}"
}

# in_root DIR COMMAND...: nothing that the command started or mounted is left when it ends.
in_root() {
  unshare --mount --pid --fork --kill-child --ipc --uts -- bash -ec 'enter_root "$@"' - "$@"
}
