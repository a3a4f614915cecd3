#!/usr/bin/env python3
"""Takes datagrams and drops them: sink.py SECONDS PORT..."""
import select, socket, sys, time

end = time.monotonic() + float(sys.argv[1]) + 2
sockets = []
for port in sys.argv[2:]:
    sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sockets[-1].bind(("0.0.0.0", int(port)))
while (left := end - time.monotonic()) > 0:
    for ready in select.select(sockets, [], [], left)[0]:
        ready.recv(65536)
