#!/bin/sh
# SPDX-License-Identifier: MIT
# Four dnsmasq on one port, UDP and TCP, each with a quarter of the questions:
#   dig +short @127.0.0.1 -p 5300 any.name
exec subset run -n "${1:-4}" --restart -- dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= \
  --port=5300 --listen-address=127.0.0.1 --bind-interfaces --no-resolv --no-hosts --address=/#/192.0.2.1
