#!/usr/bin/env python3
"""A player's buffer: player.py RATE. Reads a stream of RATE bytes a second until AHEAD seconds are buffered, plays them in
real time, and reads on when less than AGAIN seconds are left."""
import sys, time

AHEAD, AGAIN = 20, 16
rate = int(sys.argv[1])
start, read = None, 0
while chunk := sys.stdin.buffer.read1(65536):
    start = start or time.monotonic()
    read += len(chunk)
    if read / rate - (time.monotonic() - start) >= AHEAD:
        time.sleep(AHEAD - AGAIN)
