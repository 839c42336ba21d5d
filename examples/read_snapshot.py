"""Lists what a Cairn snapshot holds (docs/SNAPSHOT.md, docs/CELLS.md): `python3 read_snapshot.py FILE` prints key,
value, worker and stamp (milliseconds since 1970 * 1024 + counter) of each key, rolled up or not, as a line of JSON."""
import base64, hashlib, json, pathlib, re, struct, sys, zlib

class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def integer(self):
        """A variable-length integer: 7 bits a byte, the lowest first."""
        value = shift = 0
        while (byte := self.take(1)[0]) > 127:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def msgpack(self):
        code = self.take(1)[0]
        if code < 0x80 or code >= 0xE0: return code if code < 0x80 else code - 256
        assert code != 0xD7 or self.data[self.at] == 1, "an extension of a later version"
        if code in constants: return constants[code]
        if code in numbers: return self.number(numbers[code])
        if code in integers: return Integer64(self.number(integers[code]))
        size = self.number(sizes[code]) if code in sizes else code & (31 if code >= 0xA0 else 15)
        if code in (0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB) or 0xA0 <= code < 0xC0:
            return bytes(self.take(size)) if 0xC4 <= code <= 0xC6 else self.take(size).decode()
        if code in (0xDC, 0xDD) or 0x90 <= code < 0xA0: return [self.msgpack() for _ in range(size)]
        return {self.msgpack(): self.msgpack() for _ in range(size)}

constants, integers = {0xC0: None, 0xC2: False, 0xC3: True}, {0xCF: ">Q", 0xD3: ">q"}
numbers = {0xCA: ">f", 0xCB: ">d", 0xD7: ">xd", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i"}
sizes = {code: ">" + "BHI"[i] for codes in ((0xC4, 0xC5, 0xC6), (0xD9, 0xDA, 0xDB)) for i, code in enumerate(codes)}
sizes |= {0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}

class Integer64(int):
    """Written with 64 bits; other whole numbers beyond 32 bits are floats."""

def states(path, expected=None):
    """Shard -> {(incarnation, clock): fields} of the live cells, hashes checked; of an increment on top of its base."""
    data = pathlib.Path(path).read_bytes()
    assert data[:8] == b"\x89CAIRN\r\n" and data[-8:] == b"CAIRNEND", "no snapshot"
    assert struct.unpack_from("<II", data, 8) in ((1, 0), (1, 1)), "a later version"
    assert hashlib.sha256(data[:-40]).digest() == data[-40:-8] == (expected or data[-40:-8]), "damaged, or another file"
    packed = data[-80 - struct.unpack("<Q", data[-48:-40])[0] : -80]
    manifest, found = Reader(packed).msgpack(), {}
    if data[12] == 1:
        name = "%s-%08d.cairn" % (manifest["environment"], manifest["base"]["generation"])
        found = states(pathlib.Path(path).with_name(name), manifest["base"]["fileSha256"])
    for section in manifest["sections"]:
        stored = data[int(section["offset"]) :][: int(section["storedBytes"])]
        update = inflated(stored, section["codec"], int(section["rawBytes"])) if section["codec"] else stored
        assert hashlib.sha256(update).digest() == section["rawSha256"], "damaged section"
        found[section["shard"]] = apply(update, found[section["shard"]] if "since" in section else {})
    return found

def inflated(stored, codec, size):
    if codec == 3 and sys.version_info >= (3, 14):
        return __import__("compression.zstd").zstd.ZstdDecompressor().decompress(stored, size)
    if codec != 1:
        name = {2: "brotli, which is not in Python", 3: "Zstandard, which Python has from 3.14 on"}.get(codec, codec)
        sys.exit(f"This file is compressed by {name}. A copy that can be read: cairn merge --codec deflate COPY FILE")
    return zlib.decompressobj(-15).decompress(stored, size)

def apply(update, cells):
    read, is_whole = Reader(update), not cells
    for _ in range(read.integer()):
        structs, incarnation, clock = read.integer(), read.integer(), read.integer()
        for _ in range(structs):
            info = read.take(1)[0]
            origin = (read.integer(), read.integer()) if info & 128 else read.take(7)
            assert len(origin) == 2 or origin == b"\x01\x05cells", "not the root of cells"
            if info & 31 == 3:
                cells[incarnation, clock] = Reader(read.take(read.integer())).msgpack()
                clock += 1
            else:
                clock += read.integer()
    for _ in range(0 if is_whole else read.integer()):  # what died; a whole state has no cells there
        incarnation, runs = read.integer(), read.integer()
        for first, count in [(read.integer(), read.integer()) for _ in range(runs)]:
            [cells.pop((incarnation, clock), None) for clock in range(first, first + count)]
    return cells

def key_elements(data):
    """A key: the tuple layer of FoundationDB."""
    key, at = [], 0
    while at < len(data):
        code, at = data[at], at + 1
        if code == 2:
            text = re.match(rb"(?:[^\0]|\0\xff)*", data[at:], re.DOTALL)[0]
            key.append(text.replace(b"\0\xff", b"\0").decode())
            at += len(text) + 1
        elif code in (0x26, 0x27):
            key.append(code == 0x27)
        else:
            size = abs(code - 0x14)
            key.append(int.from_bytes(data[at : at + size], "big") + (1 - 256**size if code < 0x14 else 0))
            at += size
    return key

def entries(path):
    """(key, value, worker, stamp) of every key that holds something, in key order."""
    openings, seals, sealed, registers = {}, {}, set(), {}
    for shard, cells in states(path).items():
        worker = shard.split("/")[1]
        for (incarnation, clock), (kind, key, stamp, *body) in cells.items():
            if kind == 1: openings[shard, incarnation] = body[4]
            elif kind == 8:
                seals[worker] = max(seals.get(worker, body[0]), body[0])
                sealed.add(shard)
            elif kind == 2:
                context = dict(zip((body[0] or [])[::2], (body[0] or [])[1::2]))
                cell = (stamp, tuple(body[1] or (incarnation, clock)), context, worker, (shard, incarnation), body[2:])
                registers.setdefault(key, []).append(cell)

    def is_void(worker, source):
        opening = openings.get(source)
        return source[0] in sealed if opening is None else worker in seals and opening < seals[worker]
    has_seen = lambda a, b: a is not b and a[2].get(b[1][0], 0) > b[1][1]
    order = lambda cell: (openings.get(cell[4], [-1]), cell[:2])

    def is_later(a, b):  # of one worker's incarnations that had not seen each other
        return a is not b and a[3] == b[3] and not has_seen(b, a) and order(a) > order(b)

    for key in sorted(registers):
        cells = [cell for cell in registers[key] if not is_void(cell[3], cell[4])]
        current = [cell for cell in cells if not any(has_seen(other, cell) for other in cells)]
        counting = [cell for cell in current if not any(is_later(other, cell) for other in cells)] or current
        winner = max(counting, key=lambda cell: cell[:2], default=None)
        if winner and winner[5]:
            yield key_elements(key), winner[5][0], winner[3], int(winner[0])

def to_json(value):
    if isinstance(value, bytes): return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, Integer64): return {"$integer": str(int(value))}
    if isinstance(value, float):
        special = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(value))
        return {"$number": special} if special else int(value) if value.is_integer() else value
    if isinstance(value, list): return list(map(to_json, value))
    return {name: to_json(value[name]) for name in sorted(value)} if isinstance(value, dict) else value

if __name__ == "__main__":
    for key, value, worker, stamp in entries(sys.argv[1]):
        print(json.dumps({"key": key, "value": to_json(value), "worker": worker, "stamp": stamp}))
