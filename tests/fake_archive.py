"""A small archive on this machine: maps with EMDB's layout, some broken in every way that a network and a map can be.

    python tests/fake_archive.py --maps 10000 --every 50

serves EMD-10000 and so on, made when they are asked for; every 50th is broken, or good in a difficult way. The first
line on stdout is one JSON object: its `url`, `good` (the ids of plain maps) and `odd` (`{id: [way, kind]}`).
"""

import argparse
import asyncio
import gzip
import json
import re
import socket
import struct
import sys
import time
from collections import Counter
from email.utils import formatdate
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from conftest import map_bytes

FIRST = 10_000


def voxels_of(number):
    """Return the map of an entry, ZYX float32, of 20 to 27 voxels an axis."""
    rng = np.random.default_rng(number)
    return rng.standard_normal(rng.integers(20, 28, 3), dtype=np.float32)


def zipped(number, voxels=None, **words):
    """Return the gzip of a map, of which `words` replace what its header should say."""
    return gzip.compress(map_bytes(voxels_of(number) if voxels is None else voxels, **words), 1, mtime=0)


def spoilt(number, value):
    voxels = voxels_of(number)
    voxels[3, 4, 5] = value
    with np.errstate(invalid="ignore"):
        return zipped(number, voxels)


def bomb(number):
    """Return 200 kB that unpack to a small map and 100 MB of zeros behind it."""
    return zipped(number) + gzip.compress(bytes(100 << 20), 9, mtime=0)


def wrong_mode(number):
    content = map_bytes(voxels_of(number), mode=1)
    return gzip.compress(content[:12] + struct.pack("<i", 2) + content[16:], 1)


def flipped(number):
    content = bytearray(zipped(number))
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


# The content is wrong: what is served, and the kind it must come to. `truncated` is a whole gzip with too few voxels.
CONTENTS = {
    "NaN": (lambda n: spoilt(n, np.nan), "non-finite"),
    "infinity": (lambda n: spoilt(n, np.inf), "non-finite"),
    "all zeros": (lambda n: zipped(n, np.zeros((20, 21, 22), np.float32)), "empty-map"),
    "one section too few": (lambda n: zipped(n, nz=voxels_of(n).shape[0] + 1), "truncated"),
    "an extended header that is not all there": (lambda n: zipped(n, extended=b"x" * 80, nsymbt=240), "truncated"),
    "an extended header that is not there": (lambda n: zipped(n, nsymbt=5000), "done"),
    "mode 99": (lambda n: zipped(n, **{"mode": 99}), "map-format"),
    "mode 2 that is mode 1": (
        lambda n: gzip.compress(
            map_bytes(voxels_of(n), mode=1, dmin=0)[:12] + struct.pack("<i", 2) + map_bytes(voxels_of(n), mode=1)[16:],
            1,
        ),
        "truncated",
    ),
    "a complex map": (lambda n: zipped(n, **{"mode": 4}), "map-format"),
    "no size": (lambda n: zipped(n, nx=0), "map-format"),
    "a negative size": (lambda n: zipped(n, ny=-20), "map-format"),
    "no cell": (lambda n: zipped(n, cella=(0, 0, 0)), "map-format"),
    "a skewed cell": (lambda n: zipped(n, cellb=(90, 104, 90)), "unsupported-geometry"),
    "impossible axes": (lambda n: zipped(n, mapc=2), "unsupported-geometry"),
    "voxels of 60 A": (lambda n: zipped(n, spacing=(60.0, 60.0, 60.0)), "too-large"),
    "a header of 20000^3 voxels": (lambda n: zipped(n, nx=20_000, ny=20_000, nz=20_000), "too-large"),
    "text in gzip": (lambda n: gzip.compress(b"no map, but text\n" * 200), "map-format"),
    "a header cut short": (lambda n: gzip.compress(map_bytes(voxels_of(n))[:900]), "truncated"),
    "a gzip bomb": (bomb, "map-format"),
    "a flipped bit": (flipped, "fetch"),
    "a gzip cut short": (lambda n: zipped(n)[:-3000], "fetch"),
    "a wrong checksum": (lambda n: zipped(n)[:-8] + bytes(8), "fetch"),
    "garbage behind the gzip": (lambda n: zipped(n) + b"garbage" * 9, "fetch"),
    "no gzip": (lambda n: map_bytes(voxels_of(n)), "fetch"),
    "HTML": (lambda n: b"<!DOCTYPE html><html><body>Please log in</body></html>", "fetch"),
    "an empty file": (lambda n: b"", "fetch"),
    "two gzip members and padding": (
        lambda n: (
            gzip.compress(map_bytes(voxels_of(n))[:5000]) + gzip.compress(map_bytes(voxels_of(n))[5000:]) + bytes(512)
        ),
        "done",
    ),
}


class Reply:
    """One request, and the ways to answer it."""

    def __init__(self, writer, *, number, method, span, condition, tries, rate):
        self.writer, self.number, self.method, self.rate = writer, number, method, rate
        self.span, self.condition, self.tries = span, condition, tries

    def head(self, status, **headers):
        lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())

    def status(self, status, **headers):
        self.head(status, Content_Length=0, **headers)

    async def send(self, content, *, ranges=True, etag=None, more=0, cut=None, shift=0, rate=None):
        """Serve `content`: `more` is added to the length that is promised, at `cut` the connection is closed."""
        etag = etag or f'"{self.number}"'
        begin = int(self.span) if ranges and self.span and self.condition == etag else 0
        headers = {"ETag": etag, "Content_Length": len(content) - begin + more}
        if begin:
            headers["Content_Range"] = f"bytes {begin + shift}-{len(content) - 1}/{len(content)}"
        self.head("206 Partial Content" if begin else "200 OK", **headers)
        if self.method == "HEAD":
            return
        await self.pour(content[begin:cut], rate=rate or self.rate)
        if cut is not None or more > 0:
            self.writer.close()

    async def pour(self, body, *, rate):
        piece = max(1, int(rate / 20)) if rate else 1 << 20
        for at in range(0, len(body), piece):
            self.writer.write(body[at : at + piece])
            await self.writer.drain()
            if rate:
                await asyncio.sleep(piece / rate)

    def reset(self):
        """Cut the connection as a crashed machine does."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def good(self):
        await self.send(zipped(self.number))

    async def chunked(self):
        self.head("200 OK", Transfer_Encoding="chunked")
        content = zipped(self.number)
        for at in range(0, len(content), 10_000):
            piece = content[at : at + 10_000]
            self.writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.writer.write(b"0\r\n\r\n")


def always(status, **headers):
    async def answer(reply):
        reply.status(status, **headers)

    return answer


def at_first(answer, *, times=1):
    """Answer so the first `times` times, then well."""

    async def way(reply):
        await (answer(reply) if reply.tries < times else reply.good())

    return way


async def reset(reply):
    reply.reset()


async def reset_inside(reply):
    content = zipped(reply.number)
    reply.head("200 OK", Content_Length=len(content))
    await reply.pour(content[:9000], rate=None)
    await asyncio.sleep(0.05)  # what was sent arrives first
    reply.reset()


async def cut(reply):
    await reply.send(zipped(reply.number), cut=9000, ranges=False)


async def cut_often(reply):
    await reply.send(zipped(reply.number), cut=9000 * (reply.tries + 1) if reply.tries < 3 else None)


async def stall(reply):
    content = zipped(reply.number)
    reply.head("200 OK", Content_Length=len(content))
    await reply.pour(content[:9000], rate=None)
    await asyncio.sleep(3600)


async def damaged(reply):
    await reply.send(flipped(reply.number))


async def changed_inside(reply):
    first = reply.tries == 0
    await reply.send(zipped(reply.number), cut=9000 if first else None, etag='"old"' if first else None)


# The transfer is wrong.
TRANSFERS = {
    "404": (always("404 Not Found"), "not-found"),
    "410": (always("410 Gone"), "not-found"),
    "403": (always("403 Forbidden"), "fetch"),
    "401": (always("401 Unauthorized"), "fetch"),
    "500 for ever": (always("500 Internal Server Error"), "fetch"),
    "come back tomorrow": (always("429 Too Many Requests", Retry_After=86_400), "fetch"),
    "resets before the answer": (reset, "fetch"),
    "resets inside the body": (reset_inside, "fetch"),
    "a body cut short, always": (cut, "fetch"),
    "promises more than there is": (lambda reply: reply.send(zipped(reply.number), more=1000), "fetch"),
    "promises less than there is": (lambda reply: reply.send(zipped(reply.number), more=-1000), "fetch"),
    "redirects in a circle": (lambda reply: redirect(reply, to="same"), "fetch"),
    "redirects to nowhere": (always("302 Found", Location="http://127.0.0.1:9/nowhere.map.gz"), "fetch"),
    "redirects once": (lambda reply: redirect(reply, hops=1), "done"),
    "redirects thrice": (lambda reply: redirect(reply, hops=3), "done"),
    "503, back in a second": (at_first(always("503 Service Unavailable", Retry_After=1)), "done"),
    "429 until a date": (at_first(lambda reply: until_date(reply)), "done"),
    "500 twice": (at_first(always("500 Internal Server Error"), times=2), "done"),
    "reset once": (at_first(reset), "done"),
    "cut once": (at_first(cut), "done"),
    "cut thrice, each time further": (cut_often, "done"),
    "damaged once": (at_first(damaged), "done"),
    "another file after a cut": (changed_inside, "done"),
    "another part than was asked for": (
        lambda reply: reply.send(zipped(reply.number), cut=None if reply.tries else 9000, shift=7 * (reply.tries == 1)),
        "done",
    ),
    "slow": (lambda reply: reply.send(zipped(reply.number), rate=40_000), "done"),
    "in chunks, no length": (Reply.chunked, "done"),
}
STALLS = {"stalls once": (at_first(stall), "done"), "stalls for ever": (stall, "fetch")}
"""Minutes, for that is how long a server that stalls is waited for."""


async def redirect(reply, *, to="further", hops=0):
    if to != "same" and reply.hops >= hops:
        await reply.good()
    else:
        reply.status("302 Found", Location=f"/{'hop/' * (reply.hops + (to != 'same'))}{reply.place}")


async def until_date(reply):
    reply.status("429 Too Many Requests", Retry_After=formatdate(int(time.time()) + 2, usegmt=True))


def odd_entries(maps, every, *, stalls):
    """Return the way and the kind of every ``every``-th entry, all ways in turn."""
    ways = CONTENTS | TRANSFERS | (STALLS if stalls else {})
    names = list(ways)
    return {
        FIRST + index: (names[index // every % len(names)], ways[names[index // every % len(names)]])
        for index in range(0, maps, every)
    }


class Archive:
    """Serves the entries from `FIRST`; each connection waits `latency` seconds an answer and brings `rate` bytes/s."""

    def __init__(self, maps, odd, *, latency, rate):
        self.maps, self.odd, self.latency, self.rate = maps, odd, latency, rate
        self.asked, self.giving, self.most = Counter(), 0, 0

    async def serve(self, reader, writer):
        try:
            while await self.answer(reader, writer):
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, reader, writer):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        found = re.fullmatch(r"/((?:hop/)*)(EMD-(\d+)/map/emd_\3\.map\.gz)", path)
        number = int(found[3]) if found else 0
        span = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        reply = Reply(
            writer,
            number=number,
            method=method,
            span=span and span[1],
            condition=headers.get("if-range"),
            tries=self.asked[path],
            rate=self.rate,
        )
        if path == "/state":
            state = json.dumps({"most at once": self.most, "asked": self.asked.total()}).encode()
            await reply.send(state)
        elif not FIRST <= number < FIRST + self.maps:
            reply.status("404 Not Found")
        else:
            reply.hops, reply.place = found[1].count("hop/"), found[2]
            self.asked[path] += method == "GET"
            self.giving += method == "GET"
            self.most = max(self.most, self.giving)
            try:
                await asyncio.sleep(self.latency)
                await self.give(reply)
            finally:
                self.giving -= method == "GET"
        return not writer.is_closing()

    async def give(self, reply):
        way, (what, _) = self.odd.get(reply.number, ("", (None, "done")))
        if not way:
            await reply.good()
        elif way in CONTENTS:
            await reply.send(what(reply.number))
        else:
            await what(reply)


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--stalls", action="store_true", help="Stalling servers too.")
    parser.add_argument("--latency", type=float, default=0.0, help="Seconds before each answer.")
    parser.add_argument("--rate", type=float, help="Bytes per second of one connection.")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    odd = odd_entries(options.maps, options.every, stalls=options.stalls) if options.every else {}
    archive = Archive(options.maps, odd, latency=options.latency, rate=options.rate)
    server = await asyncio.start_server(archive.serve, "127.0.0.1", options.port)
    told = {
        "url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        "good": [f"EMD-{n}" for n in range(FIRST, FIRST + options.maps) if n not in odd],
        "odd": {f"EMD-{number}": (way, kind) for number, (way, (_, kind)) in odd.items()},
    }
    print(json.dumps(told), flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
