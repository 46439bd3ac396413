#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Asks a UDP server the same question over many flows, and prints how each answer begins, in hex.

usage: ask_udp.py ADDRESS PORT FLOWS QUESTION-IN-HEX BYTES-TO-PRINT
"""
import socket
import sys

address, port, flows, question, shown = sys.argv[1:]
for _ in range(int(flows)):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as flow:
        flow.settimeout(10)
        flow.connect((address, int(port)))
        flow.send(bytes.fromhex(question))
        print(flow.recv(65536)[: int(shown)].hex())
