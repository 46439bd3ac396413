#!/bin/sh
# SPDX-License-Identifier: MIT
# The case of Watson's paper: one process whose threads contend for one UDP socket. memcached gives each of
# its threads a duplicate of it; with --spread dup each gets a socket of its own, and a quarter of the traffic.
#   printf '\0\1\0\0\0\1\0\0version\r\n' | nc -u -w1 127.0.0.1 11311
user=$(id -un)
exec subset run -n 1 --match udp --spread dup -- memcached -u "$user" -l 127.0.0.1 -p 11311 -U 11311 -t 4
