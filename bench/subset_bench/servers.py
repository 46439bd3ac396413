# SPDX-License-Identifier: MIT
"""Unmodified servers and what stands in front of them, as a user would run them."""
import os
import contextlib
import socket
import subprocess

from .lab import Failed, listens


def on_cpu(lab, index, local):
    """Where instance `index` runs: all on the servers' CPUs, or each on a CPU of its own."""
    return [lab.cpus[index % len(lab.cpus)]] if local else lab.server_cpus


# --- DNS ---

UNBOUND = """server:
  interface: 127.0.0.1@{port}
  so-reuseport: yes
  num-threads: 1
  so-rcvbuf: {buffer}
  do-ip6: no
  do-tcp: no
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  verbosity: 0
  module-config: "iterator"
  access-control: 127.0.0.0/8 allow
  local-zone: "example." redirect
  local-data: "example. A 192.0.2.1"
remote-control:
  control-enable: no
"""


def unbound_command(lab, port, buffer="0"):
    """`buffer`: of the socket; 0 is the kernel's default, 208 KiB, some 270 small datagrams."""
    config = lab.file(f"unbound-{port}.conf", UNBOUND.format(port=port, buffer=buffer))
    return ["unbound", "-d", "-c", config]


def unbound(lab, group, port, cpus, env=None, buffer="0"):
    return lab.start(unbound_command(lab, port, buffer), group, cpus, env)


def nginx_stream(lab, group, port, backends, cpus):
    servers = "".join(f"server 127.0.0.1:{backend};" for backend in backends)
    config = lab.file(f"nginx-stream-{port}.conf", f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; worker_processes 2; pid {lab.scratch}/nginx-stream-{port}.pid; error_log stderr crit;
events {{ worker_connections 16384; }}
stream {{
  upstream instances {{ {servers} }}
  server {{ listen 127.0.0.1:{port} udp reuseport; proxy_pass instances; proxy_responses 1;
    proxy_timeout 1s; }}
}}
""")
    return lab.start(["nginx", "-c", config, "-p", str(lab.scratch)], group, cpus)


def dnsdist(lab, group, port, backends, cpus):
    servers = "".join(f'newServer({{address="127.0.0.1:{backend}", sockets=8, checkName="www.example."}})\n'
                      for backend in backends)
    config = lab.file(f"dnsdist-{port}.conf", f"""
setACL("127.0.0.0/8")
setSecurityPollSuffix("")
addLocal("127.0.0.1:{port}", {{reusePort=true}})
addLocal("127.0.0.1:{port}", {{reusePort=true}})
{servers}""")
    return lab.start(["dnsdist", "--supervised", "--disable-syslog", "-C", config], group, cpus)


def _nft(rules):
    ran = subprocess.run(["nft", "-f", "-"], input=rules, text=True, capture_output=True, check=False)
    if ran.returncode != 0:
        raise Failed(f"nft: {ran.stderr}")


@contextlib.contextmanager
def nftables_dnat(port, backends):
    """The client is on this machine: its packets are rewritten as they leave it. As long as there is
    a rule for NAT, the kernel tracks every connection of the namespace."""
    choices = ", ".join(f"{index} : {backend}" for index, backend in enumerate(backends))
    _nft(f"""table ip bench_{port} {{
  chain out {{ type nat hook output priority -100;
    udp dport {port} dnat to 127.0.0.1 : jhash ip saddr . udp sport mod {len(backends)} map {{ {choices} }}
  }}
}}
""")
    try:
        yield
    finally:
        _nft(f"delete table ip bench_{port}")


# --- HTTP ---

def certificate(lab):
    """Self-signed, ECDSA on P-256: what most sites use. Made once."""
    key, cert = lab.scratch / "key.pem", lab.scratch / "cert.pem"
    if not cert.exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-subj", "/CN=bench", "-days", "30", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
    return key, cert


def nginx(lab, group, port, cpus, tls=False, workers=1, reuseport=False, env=None, tag="0"):
    """workers=0: a single process without a master."""
    listen = f"127.0.0.1:{port}{' ssl' if tls else ''}{' reuseport' if reuseport else ''} backlog=1024"
    tls_lines = ""
    if tls:
        key, cert = certificate(lab)
        tls_lines = f"ssl_certificate {cert}; ssl_certificate_key {key}; ssl_session_tickets off;"
    processes = f"worker_processes {workers};" if workers else "master_process off;"
    pid = f"{lab.scratch}/nginx-{port}-{tag}.pid"
    config = lab.file(f"nginx-{port}-{tag}.conf", f"""
daemon off; {processes} pid {pid}; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  server {{ listen {listen}; {tls_lines}
    location / {{ return 200 "hello, and thank you for the visit\\n"; }} }}
}}
""")
    return lab.start(["nginx", "-c", config, "-p", str(lab.scratch)], group, cpus, env)


def haproxy(lab, group, port, backends, cpus):
    """In TCP mode, as the servers do TLS themselves; a thread for each of its CPUs."""
    servers = "\n  ".join(f"server s{backend} 127.0.0.1:{backend}" for backend in backends)
    config = lab.file(f"haproxy-{port}.cfg", f"""
global
  nbthread {max(1, len(cpus))}
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 10s
  timeout server 10s
listen front
  bind 127.0.0.1:{port}
  balance roundrobin
  {servers}
""")
    return lab.start(["haproxy", "-W", "-db", "-f", config], group, cpus)


# --- memcached ---

def memcached(lab, group, port, threads, env=None):
    """Not pinned: which threads wake for one socket is what is measured."""
    process = lab.start(["memcached", "-u", "root", "-l", "127.0.0.1", "-p", str(port), "-U", str(port),
                         "-t", str(threads), "-m", "64"], group, None, env)
    lab.until(lambda: listens(port), "memcached does not listen", process)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        value = b"x" * 100
        connection.sendall(b"set key 0 0 %d\r\n%s\r\n" % (len(value), value))
        if connection.recv(64) != b"STORED\r\n":
            raise Failed("memcached did not store the value")
    return process


def bound_udp(port):
    return listens(port, socket.SOCK_DGRAM)


