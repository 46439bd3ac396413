#!/bin/sh
# SPDX-License-Identifier: MIT
# Two nginx with two forked workers each: four members. A connection goes to the worker that has the fewest.
#   curl http://127.0.0.1:8080/
# A SIGHUP to `subset run` replaces one nginx after the other: a new configuration, or a new nginx.
set -eu
directory=${1:-$PWD}
cat >"$directory/nginx.conf" <<'END'
worker_processes 2;
daemon off;
error_log stderr;
events {}
http {
  access_log off;
  server { listen 127.0.0.1:8080; return 200 "worker $pid\n"; }
}
END
exec subset run -n 2 --mode least --spread fork -- nginx -p "$directory" -c nginx.conf -g "pid nginx.{i}.pid;"
