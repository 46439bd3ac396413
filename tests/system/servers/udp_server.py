#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A UDP server as one writes it in Python: nothing in it knows of SO_SUBSET or SO_REUSEPORT.

udp_server.py ADDRESS PORT: answers each question (flow, sequence) with its process id behind it.
"""
import os
import socket
import struct
import sys

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    question, client = server.recvfrom(2048)
    server.sendto(question[:8] + struct.pack("=I", os.getpid()), client)
