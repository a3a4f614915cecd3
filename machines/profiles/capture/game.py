#!/usr/bin/env python3
"""What a game might say, for want of one: game.py client|server ADDRESS.

The client sends its input 60 times a second, 40 to 90 bytes of payload; the server the state of the world 30 times a second,
150 to 450 bytes, and up to 1,100 in fights, which begin every 20 s on average and last 8 s. A match lasts 60 to 90 s; between two,
both say something twice a second for 10 to 20 s. All sizes and times are guesses.
"""
import random, socket, sys, time

role, address = sys.argv[1:]
there = (address, 27015)
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
drawn = random.Random(role)
shared = random.Random(7)
if role == "server":
    here.bind(there)
    there = here.recvfrom(2048)[1]
here.setblocking(False)


def drain():
    try:
        while True:
            here.recv(2048)
    except BlockingIOError:
        pass


def play(rate, until, size):
    at = time.monotonic()
    while at < until:
        here.sendto(bytes(size(at)), there)
        at += 1 / rate
        time.sleep(max(0, at - time.monotonic()))
        drain()


fight_until = 0


def world(at):
    global fight_until
    if at > fight_until + 1 and drawn.random() < 1 / (20 * 30):
        fight_until = at + 8
    return drawn.randint(500, 1_100) if at < fight_until else drawn.randint(150, 450)


at = time.monotonic()
while True:
    play(2, at := at + shared.uniform(10, 20), lambda _: drawn.randint(30, 60))
    rate, size = (60, lambda _: drawn.randint(40, 90)) if role == "client" else (30, world)
    play(rate, at := at + shared.uniform(60, 90), size)
