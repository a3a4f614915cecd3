#!/usr/bin/env python3
"""An HTTPS server with pages, a video and files: server.py ADDRESS DIRECTORY (key.pem, certificate.pem, video/).

/page/N   one of PAGES pages, drawn from a fixed seed: 10 to 80 objects of heavy-tailed sizes, 0.5 to 4 MB together; some
          time after it has loaded, its script goes to the next one
/file/N   N megabytes
/video/F  a file of the video
"""
import os, random, ssl, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGES = 20
NOISE = os.urandom(8 << 20)


def draw(number):
    """The sizes of a page's document and objects, and how long it is read, in bytes and seconds."""
    drawn = random.Random(1000 + number)
    shares = [drawn.paretovariate(1.2) for _ in range(drawn.randint(10, 80))]
    total = 500_000 * 8 ** drawn.random()
    sizes = [max(300, int(total * share / sum(shares))) for share in shares]
    return drawn.randint(15_000, 90_000), sizes, 5 * 8 ** drawn.random()


def document(number):
    size, sizes, reading = draw(number)
    tags = []
    for index in range(len(sizes)):
        address = f"/object/{number}/{index}"
        tags.append(f'<script src="{address}" defer></script>' if index % 5 == 0 else f'<img src="{address}">')
    script = f"addEventListener('load', () => setTimeout(() => location = '/page/{number + 1}', {reading * 1000:.0f}))"
    page = f"<!doctype html><title>{number}</title>{''.join(tags)}<script>{script}</script>"
    return (page + f"<p hidden>{NOISE[: max(0, size - len(page)) // 2].hex()}</p>").encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120

    def answer(self, kind, length, parts):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        for part in parts:
            self.wfile.write(part)

    def do_GET(self):
        words = self.path.strip("/").split("/")
        if words[0] == "page":
            body = document(int(words[1]) % 10_000)
            self.answer("text/html", len(body), [body])
        elif words[0] == "object":
            index = int(words[2])
            size = draw(int(words[1]))[1][index]
            start = hash((words[1], index)) % (len(NOISE) - size)
            body = NOISE[start : start + size] if index % 5 else b"//" + NOISE[start : start + (size - 2) // 2].hex().encode()
            self.answer("text/javascript" if index % 5 == 0 else "image/png", len(body), [body])
        elif words[0] == "file":
            megabytes = int(words[1])
            self.answer("application/octet-stream", megabytes * 1_000_000, (NOISE[:1_000_000] for _ in range(megabytes)))
        elif words[0] == "video" and len(words) == 2 and words[1] in os.listdir(os.path.join(directory, "video")):
            with open(os.path.join(directory, "video", words[1]), "rb") as file:
                body = file.read()
            self.answer("application/octet-stream", len(body), [body])
        else:
            self.send_error(404)

    def log_message(self, *_):
        pass


address, directory = sys.argv[1:]
server = ThreadingHTTPServer((address, 443), Handler)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(directory, "certificate.pem"), os.path.join(directory, "key.pem"))
# The handshake is the handler's thread's: a client that only opens a connection holds up nobody.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
