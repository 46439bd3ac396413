# SPDX-License-Identifier: MIT
# A TCP server that listens, serves a number of connections, and then listens again, in one of the
# ways that servers do: `same` (as Tomcat's connectors), `backlog` (with another one, as after a
# change of configuration), `shutdown` (stops listening for a while, as nginx' or HAProxy's soft
# stop that is called off).
#
#   listen_again.py WAY ADDRESS PORT
#
# SIGUSR1 makes it listen again; before that, `shutdown` waits for SIGUSR2 to stop. It sends its
# process id to each connection, as tcp_server does with its own.
import os
import selectors
import signal
import socket
import struct
import sys

way, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.bind((address, port))
listener.listen(64)
listener.setblocking(False)

wakeup_reader, wakeup_writer = socket.socketpair()
wakeup_reader.setblocking(False)
wakeup_writer.setblocking(False)
signal.set_wakeup_fd(wakeup_writer.fileno())
for number in signal.SIGUSR1, signal.SIGUSR2:
    signal.signal(number, lambda *_: None)

selector = selectors.DefaultSelector()
selector.register(listener, selectors.EVENT_READ)
selector.register(wakeup_reader, selectors.EVENT_READ)


def obey(number):
    if number == signal.SIGUSR2:
        selector.unregister(listener)
        listener.shutdown(socket.SHUT_RDWR)
        print("stopped", flush=True)
        return
    listener.listen(512 if way == "backlog" else 64)
    if way == "shutdown":
        selector.register(listener, selectors.EVENT_READ)
    print("again", flush=True)


print("ready", flush=True)
while True:
    for key, _ in selector.select():
        if key.fileobj is wakeup_reader:
            for number in wakeup_reader.recv(16):
                obey(number)
            continue
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        with connection:
            connection.sendall(struct.pack("=I", os.getpid()))
