"""
Cairn: context of a long job, recorded without locks and without a server.

This one file is the client; it needs nothing but the standard library. It speaks to the agent of the node, which owns the
store (``docs/AGENT.md`` says how). Quick start::

    import cairn

    with cairn.local() as store:
        store.set(("partition", 17, "rows"), 10_000)
        store.counter("rows").add(10_000, once="normalise/17")
        store.progress("normalise").done(17)

Keys are tuples of texts, whole numbers and booleans. Values are what JSON has, bytes, and whole numbers of up to 64 bits, and
come back as they went in (tuples within values come back as lists).
"""

# What is annotated within calls is not evaluated then.
from __future__ import annotations

import atexit
import base64
import contextlib
import json
import math
import os
import pickle
import select
import shlex
import shutil
import socket as _socket
import struct
import subprocess
import sys
import threading
import time
import uuid
import weakref
from collections import deque
from itertools import groupby
from json.encoder import encode_basestring as _quote
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Change",
    "Coded",
    "Conflict",
    "ContextKeyError",
    "ContextStore",
    "ContextStoreError",
    "Counter",
    "Coverage",
    "Entry",
    "Event",
    "Health",
    "Journal",
    "Progress",
    "Rewound",
    "RewoundWorker",
    "ShardCoverage",
    "Statistic",
    "Summary",
    "Work",
    "local",
    "merge",
]

KeyElement = Union[str, int, bool]
Key = Tuple[KeyElement, ...]
#: What a call takes for a key: lists are understood, too.
KeyLike = Sequence[KeyElement]
ItemId = Union[int, str]
_T = TypeVar("_T")


# --- Errors


class ContextStoreError(Exception):
    """What is thrown on purpose. ``code`` is stable (``docs/ERRORS.md``), ``message`` is a sentence, ``hint`` says what to do."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint} [{self.code}]" if self.hint else f"{self.message} [{self.code}]"


class ContextKeyError(ContextStoreError, KeyError):
    """A key that is none, or that names no part of the structure that an adapter wraps. Its code is ``KEY_INVALID``."""

    def __init__(self, message: str, hint: str = "", code: str = "KEY_INVALID") -> None:
        super().__init__(code, message, hint)

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.message, self.hint, self.code)

    __str__ = ContextStoreError.__str__


class _Unreachable(Exception):
    """No agent answers; never leaves this module."""


def _error(told: Dict[str, Any]) -> ContextStoreError:
    code, message, hint = told["code"], told["message"], told.get("hint", "")
    if code == "KEY_INVALID":
        return ContextKeyError(message, hint)
    return ContextStoreError(code, message, hint)


# --- What is read


class Coded(NamedTuple):
    """Bytes that only one codec understands, such as ``Coded("pickle", b"...")``."""

    codec: str
    data: bytes

    def decode(self) -> Any:
        """The object, where the codec is ``pickle``; whoever may write to the store may run code here. Raises ``VALUE_INVALID`` for other codecs."""
        if self.codec == "pickle":
            return pickle.loads(self.data)
        raise ContextStoreError("VALUE_INVALID", f"The codec {self.codec!r} is not known here.", "Decode its data yourself.")


class Conflict(NamedTuple):
    """What somebody else wrote to a key without having seen the rest. ``is_deletion``: it is no value, but a deletion."""

    value: Any
    worker: str
    time: float
    is_deletion: bool


class Entry(NamedTuple):
    """A value, who wrote it, and when (seconds since 1970). ``version`` is for ``Batch.check``."""

    key: Key
    value: Any
    worker: str
    time: float
    version: str
    conflicts: List[Conflict]


class Change(NamedTuple):
    """What ``watch`` tells. A key that was deleted has ``is_deletion``; ``is_gap``: events were skipped, read what you need again."""

    key: Optional[Key]
    value: Any
    worker: Optional[str]
    time: Optional[float]
    is_deletion: bool
    is_gap: bool
    position: str


class Event(NamedTuple):
    """An event of the journal; ``time`` in seconds since 1970."""

    type: str
    data: Any
    worker: str
    time: float


class Summary(NamedTuple):
    """What a statistic knows; ``quantiles`` are those that were asked for."""

    count: int  # type: ignore[assignment]  # tuples have a method of that name
    sum: float
    min: float
    max: float
    mean: float
    stddev: float
    quantiles: List[float]


class ShardCoverage(NamedTuple):
    """
    A shard that reads see. ``reason``: ``own``, ``followed``, ``partner`` (kept up for its worker), or ``kept``: as it was when it came. ``age``: seconds since a
    peer was found to have the same; None where none was.
    """

    shard: str
    reason: str
    age: Optional[float]


class Coverage(NamedTuple):
    """What reads see: patterns that are followed, workers whose partner the agent is, and each shard."""

    follow: List[str]
    partner_of: List[str]
    shards: List[ShardCoverage]


class RewoundWorker(NamedTuple):
    """A worker that was taken back: cells written once more, cells deleted, and openings that are void now."""

    worker: str
    reissued: int
    deleted: int
    voided: int


class Rewound(NamedTuple):
    """What a rewind did, or would do: ``files`` of the tag, ``workers`` taken back, those that run elsewhere (``present``), and those ``kept`` as they are."""

    tag: str
    files: int
    workers: List[RewoundWorker]
    present: List[str]
    kept: List[str]


class Health(NamedTuple):
    """
    How this client is doing.

    ``is_reachable``: the agent answered last time. ``pending``: operations that are not known to be on disk, kept here and sent again where that is
    needed. ``lost``: operations that were given up, because too much was pending. ``refused``: operations in which the agent found a fault. ``missed``:
    reads and waits that got no answer (``strict=False`` only). ``reconnects``: how often the agent was found again. ``last_error``: the last thing that went wrong.
    """

    is_reachable: bool
    pending: int
    lost: int
    refused: int
    missed: int
    reconnects: int
    last_error: Optional[str]


# --- Values and keys on the wire

_DEPTH_MAX = 64
_SAFE = 2**53
_KEY_BYTES_MAX = 1024
#: Keys of so many elements of so many characters are short enough, whatever they hold.
_PLAIN_ELEMENTS = 8
_PLAIN_CHARACTERS = 60
#: Longer texts count among what is gathered.
_PLAIN_TEXT = 256
#: What a line holds: the text of an operation, or one of which `_joined` makes text.
_Operation = Union[str, Tuple[str, KeyLike, Any]]
_NO_NUMBER = {"nan": '{"$number":"NaN"}', "inf": '{"$number":"Infinity"}', "-inf": '{"$number":"-Infinity"}'}


def _encoder() -> Callable[[Any], str]:
    """As ``json.dumps``, but for what is made anew by it for each text: that takes twice as long as a short text."""
    encoder = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    encode = make(None, encoder.default, _quote, None, ":", ",", False, False, True)
    return lambda plain: "".join(encode(plain, 0))


def _bad_value(why: str) -> ContextStoreError:
    return ContextStoreError(
        "VALUE_INVALID",
        f"Invalid value: {why}.",
        'Store what JSON has, bytes, or whole numbers of up to 64 bits; other objects with codec="pickle".',
    )


def _value_text(value: Any, depth: int = 0) -> str:
    """Exact JSON of a value, as ``docs/AGENT.md`` has it."""
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is int:
        if -(2**63) <= value < 2**64:
            return int.__repr__(value)
        raise _bad_value(f"{value} has more than 64 bits")
    if kind is float:
        text = float.__repr__(value)
        return _NO_NUMBER.get(text, text)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is dict:
        return _map_text(value, depth)
    if kind is list or kind is tuple:
        if depth >= _DEPTH_MAX:
            raise _bad_value(f"it is nested deeper than {_DEPTH_MAX}, or holds itself")
        return "[" + ",".join([_value_text(element, depth + 1) for element in value]) + "]"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return '{"$bytes":"' + base64.b64encode(value).decode() + '"}'
    if kind is Coded:
        data = base64.b64encode(value.data).decode()
        return '{"$codec":' + _text(value.codec) + ',"$bytes":"' + data + '"}'
    return _value_text(_plain(value), depth)


def _map_text(value: Dict[Any, Any], depth: int) -> str:
    if depth >= _DEPTH_MAX:
        raise _bad_value(f"it is nested deeper than {_DEPTH_MAX}, or holds itself")
    is_special = False
    members = []
    for name, element in value.items():
        if not isinstance(name, str):
            raise _bad_value(f"a name in a map is text, this is {name!r}")
        if name in ("__proto__", "toJSON"):
            raise _bad_value(f"a map has no name {name}, which has a meaning of its own in JavaScript")
        if name[:1] == "$":
            is_special = True
        members.append(_text(name) + ":" + _value_text(element, depth + 1))
    text = "{" + ",".join(members) + "}"
    return '{"$map":' + text + "}" if is_special else text


def _plain(value: Any) -> Any:
    """The same as one of the plain types: subclasses of them, and scalars of NumPy."""
    if isinstance(value, bool):
        return value
    kind: Any
    for kind in (str, int, float, dict, list, tuple):
        if isinstance(value, kind):
            return kind(value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        item = value.item()
        if isinstance(item, (str, int, float, bytes, bool)):
            return item
    raise _bad_value(f"it holds a {type(value).__module__}.{type(value).__qualname__}")


def _is_plain(key: Any, value: Any) -> bool:
    """
    Whether `_json` writes both as they are to be written, and neither can change meanwhile: so it is with nearly all. Then many operations become text together, in a quarter of the time that
    they would take one by one.
    """
    kind = type(value)
    if kind is int:
        if not -(2**63) <= value < 2**64:
            return False
    elif kind is str:
        if len(value) > _PLAIN_TEXT or not value.isascii():
            return False
    elif kind is not float and kind is not bool and value is not None:
        return False
    if type(key) is not tuple or not 0 < len(key) <= _PLAIN_ELEMENTS:
        return False
    for element in key:
        kind = type(element)
        if kind is str:
            if len(element) > _PLAIN_CHARACTERS or not element.isascii():
                return False
        elif kind is int:
            if not -_SAFE < element < _SAFE:
                return False
        elif kind is not bool:
            return False
    return True


def _joined(operations: Iterable[_Operation]) -> str:
    """Operations as the elements of a list."""
    runs = groupby(operations, type)
    return ",".join([_json(list(run))[1:-1] if kind is tuple else ",".join(run) for kind, run in runs])  # type: ignore[arg-type]


def _text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _bad_value("a text has half a surrogate pair") from None
    return str(_quote(text))


def _key_text(key: KeyLike, is_prefix: bool = False) -> str:
    if not isinstance(key, (tuple, list)) or not (key or is_prefix):
        raise _bad_key(key)
    parts = []
    for element in key:
        kind = type(element)
        if kind is str and element.isascii():
            parts.append(_quote(element))
        elif kind is int and -_SAFE < element < _SAFE:
            parts.append(int.__repr__(element))
        elif kind is bool:
            parts.append("true" if element else "false")
        else:
            parts.append(_key_part(key, element))
    text = "[" + ",".join(parts) + "]"
    if len(text) > 100:
        _check_length(json.loads(text))
    return text


def _check_length(key: Sequence[KeyElement]) -> None:
    if _key_bytes(key) > _KEY_BYTES_MAX:
        raise ContextKeyError(
            f"Invalid key: {str(key)[:60]}... takes more than {_KEY_BYTES_MAX} bytes.", "Put long texts into the value."
        )


def _key_bytes(key: Sequence[KeyElement]) -> int:
    """The length of a key as it is stored (`docs/CELLS.md`)."""
    length = 0
    for element in key:
        if isinstance(element, str):
            length += len(element.encode()) + element.count("\0") + 2
        elif isinstance(element, bool):
            length += 1
        else:
            length += 1 + (element.bit_length() + 7) // 8
    return length


def _key_part(key: KeyLike, element: Any) -> str:
    try:
        plain = element if type(element) in (str, int, float) else _plain(element)
        if isinstance(plain, (str, bool)) or (isinstance(plain, int) and -_SAFE < plain < _SAFE):
            return _value_text(plain)
    except ContextStoreError:
        pass
    raise _bad_key(key)


def _bad_key(key: Any) -> ContextKeyError:
    return ContextKeyError(
        f"Invalid key: {key!r} is no tuple of texts, whole numbers (magnitude below 2^53) and booleans.",
        'Use a tuple such as ("partition", 17, "column", "T"); put floats and objects into the value.',
    )


def _decode(answer: Any) -> Any:
    """What the wire writes as a map with a name that begins with ``$``."""
    if isinstance(answer, list):
        return [_decode(element) for element in answer]
    if not isinstance(answer, dict):
        return answer
    if len(answer) <= 2:
        if "$bytes" in answer:
            data = base64.b64decode(answer["$bytes"])
            return Coded(answer["$codec"], data) if "$codec" in answer else data
        if "$number" in answer:
            return float(answer["$number"])
        if "$map" in answer:
            answer = answer["$map"]
    return {name: _decode(element) for name, element in answer.items()}


# --- A connection

#: Bytes that are sent before answers are looked at, so the agent always gets rid of them; and so many are read at a time.
_PIECE = 1 << 16
_parse = json.JSONDecoder().raw_decode
_json = _encoder()


class _Connection:
    """Lines to and from an agent. Raises ``OSError`` where it breaks; then it is of no use any more."""

    def __init__(self, path: str, worker: Optional[str], client: Optional[str], timeout: float) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._pieces: List[bytes] = []
        self._unread: List[Dict[str, Any]] = []
        try:
            self.set_timeout(timeout)
            self._socket.connect(path)
            self._poll = select.poll()
            self._poll.register(self._socket, select.POLLIN)
            names = {"hello": 1, "worker": worker, "client": client}
            hello = json.dumps({name: value for name, value in names.items() if value is not None})
            self._socket.sendall(hello.encode() + b"\n")
            answers: List[Dict[str, Any]] = []
            while not answers:
                answers = self.receive()
        except BaseException:
            self.close()
            raise
        self.greeting = answers[0]
        if "error" in self.greeting:
            self.close()
            raise _error(self.greeting["error"])
        if self.greeting["hello"] != 1:
            self.close()
            raise ContextStoreError("FORMAT_NEWER", "The agent speaks a version that this client does not.", "Update the package cairn.")

    def send(self, data: Union[bytes, memoryview]) -> None:
        try:
            self._socket.sendall(data)
        except BlockingIOError:
            raise TimeoutError("the agent does not answer") from None

    def send_now(self, data: bytes) -> int:
        """As much as there is room for; returns how many bytes."""
        try:
            return self._socket.send(data, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def receive(self) -> List[Dict[str, Any]]:
        """What came, at least some bytes; waits for the timeout."""
        if self._unread:
            answers, self._unread = self._unread, []
            return answers
        try:
            return self._parse(self._socket.recv(_PIECE))
        except BlockingIOError:
            raise TimeoutError("the agent does not answer") from None

    def receive_now(self) -> Optional[List[Dict[str, Any]]]:
        """What came already; None where nothing did."""
        try:
            return self._parse(self._socket.recv(_PIECE, _socket.MSG_DONTWAIT))
        except BlockingIOError:
            return None

    def unread(self, answers: List[Dict[str, Any]]) -> None:
        """Has them received again."""
        self._unread = answers

    def has_input(self, seconds: float) -> bool:
        return bool(self._poll.poll(seconds * 1000))

    def set_timeout(self, seconds: Optional[float]) -> None:
        """Of the system's own: Python's would poll before each call. None: none."""
        # To the system 0 means none.
        microseconds = 0 if seconds is None else max(1, round(seconds * 1e6))
        timeval = struct.pack("ll", *divmod(microseconds, 1_000_000))
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, timeval)
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, timeval)

    def close(self) -> None:
        self._socket.close()

    def _parse(self, data: bytes) -> List[Dict[str, Any]]:
        """The lines that are whole with these bytes."""
        if not data:
            raise ConnectionResetError("the agent closed the connection")
        lines, end, rest = data.rpartition(b"\n")
        if not end:
            self._pieces.append(data)
            return []
        if self._pieces:
            lines = b"".join([*self._pieces, lines])
        self._pieces = [rest] if rest else []
        whole = lines.decode()
        answers: List[Dict[str, Any]] = _parse("[" + whole.replace("\n", ",") + "]")[0]
        return [_decode(answer) for answer in answers] if '"$' in whole else answers


# --- The store

#: An operation this long is a line of its own: whether a value is too large only the agent knows, and its fault would undo what is in one line with it.
_LONG = 200_000
#: The longest batch; a line takes 16 MiB, and a character up to 4 bytes.
_LINE_CHARACTERS = 4 << 20
#: Operations that are gathered into one line.
_GATHER = 1_000
_GATHER_LENIENT = 200
_GATHER_CHARACTERS = 1 << 18
#: How long operations are gathered: strict stores want them seen, others want the processor left to the simulation.
_GATHER_SECONDS = 0.02
_GATHER_SECONDS_LENIENT = 0.2
#: What is kept until it is on disk. Beyond it, strict stores wait, others give up what comes.
_KEPT_BYTES = 64 << 20
#: An agent that is gone is looked for again after so long, twice as long each time.
_RETRY_SECONDS = 0.05
_RETRY_SECONDS_MAX = 2.0
#: After so many turns without work the sender sleeps until it is woken, and ends after so long.
_IDLE_TURNS = 4
_IDLE_SECONDS = 1.0
#: When nothing was sent for so long, the sender asks for a flush: before, answers to what is sent tell what is on disk, and to flush costs the agent more than what it writes.
_FLUSH_SECONDS = 0.1
#: After a flush that failed it asks for none for so long.
_FLUSH_AGAIN_SECONDS = 1.0
#: When a store is closed, an agent that went away with something pending may come back within so long: `cairn run` starts another, and so do stores of `local`.
_LAST_SECONDS = 5.0
#: Texts of refused operations that are kept for `flush`.
_REFUSALS_MAX = 100


class _Line(NamedTuple):
    n: int
    data: bytes
    operations: int


class ContextStore:
    """
    The store of this node, through its agent.

    Writes are gathered and sent within some milliseconds (some hundred where not ``strict``); reads of the same store see them at once, and whatever an agent loses
    that is killed is sent again and done exactly once. `flush` returns when all is on disk. A store may be used by several threads,
    goes on in a process that was forked (as a client of its own), and can be pickled (it opens anew where it is unpickled).

    :param socket: path of the agent's socket; ``CAIRN_SOCKET`` by default, which ``cairn run`` sets
    :param worker: as which worker to write: letters, digits, ``.``, ``_``, ``-``; ``CAIRN_WORKER`` by default, else the agent's own
    :param strict: False: no call raises because of the store, nor waits for an agent that is gone; reads give their defaults, and ``health`` counts
    :param buffered: False: each write waits for the agent's answer, and raises what is wrong with it
    :param timeout: seconds that a call waits for an agent; 30, or 1 where not ``strict``
    :raises ContextStoreError: ``TIMEOUT`` where nobody answers, ``NAME_INVALID`` (both where ``strict``), ``OPTION_INVALID``
    """

    def __init__(
        self,
        socket: Optional[str] = None,
        *,
        worker: Optional[str] = None,
        strict: bool = True,
        buffered: bool = True,
        timeout: Optional[float] = None,
        _starter: Optional["_Starter"] = None,
    ) -> None:
        path = socket or os.environ.get("CAIRN_SOCKET")
        if path is None and strict:
            raise ContextStoreError(
                "OPTION_INVALID",
                "There is no socket of an agent.",
                "Use cairn.local(), start the program with `cairn run`, or set CAIRN_SOCKET.",
            )
        self._path = path or ""
        self._worker = worker or os.environ.get("CAIRN_WORKER") or None
        self._worker_known = self._worker
        self._strict = strict
        self._buffered = buffered
        self._timeout = timeout if timeout is not None else (30.0 if strict else 1.0)
        self._starter = _starter
        self._begin()
        try:
            self._speak(lambda connection: None)
        except (_Unreachable, ContextStoreError) as error:
            if strict:
                raise self._unreachable() if isinstance(error, _Unreachable) else error

    def _begin(self) -> None:
        """As a client of its own, with nothing sent yet: also in a process that was forked, and where it is unpickled."""
        #: Guards what follows; held for moments only, never while anything is sent.
        self._lock = threading.Lock()
        #: Something has changed that the sender, or who waits for room, wants to know.
        self._changed = threading.Condition(self._lock)
        #: Held by who sends and receives.
        self._speech = threading.Lock()
        self._client = uuid.uuid4().hex
        self._n = 0
        self._gathered: Deque[_Operation] = deque()
        self._gathered_characters = 0
        self._gather_max = _GATHER if self._strict else _GATHER_LENIENT
        self._kept: Deque[_Line] = deque()
        self._kept_bytes = 0
        self._unsent: Deque[bytes] = deque()
        #: Answers that somebody waits for.
        self._awaited: Dict[int, List[Dict[str, Any]]] = {}
        self._connection: Optional[_Connection] = None
        self._retry_at = 0.0
        self._retry_seconds = _RETRY_SECONDS
        #: Number of the sender's request to flush that is under way.
        self._flush = 0
        self._flush_at = 0.0
        self._wants_connection = False
        self._sender: Optional[threading.Thread] = None
        self._sender_is_awake = False
        #: Since the sender's last turn, what was gathered has been sent by who wrote it.
        self._has_sent = False
        #: The sender sleeps on it; who releases it wakes it.
        self._sleep = threading.Lock()
        self._sleep.acquire()
        self._is_closed = False
        self._was_connected = False
        self._lost = 0
        self._refused = 0
        self._missed = 0
        self._reconnects = 0
        self._last_error: Optional[str] = None
        self._refusals: List[ContextStoreError] = []
        _open_stores.add(self)

    # --- Keys and values

    def set(self, key: KeyLike, value: Any, *, codec: Optional[str] = None) -> None:
        """
        Writes a value.

        :param codec: ``"pickle"``: any object, as bytes that only Python understands; read it with ``get(key).decode()``
        :raises ContextKeyError: the key is none
        :raises ContextStoreError: ``VALUE_INVALID``
        """
        if codec is None and self._buffered and _is_plain(key, value):
            self._gather(("set", key, value))
        else:
            self._write(_set_text, key, value, codec)

    def get(self, key: KeyLike, default: Any = None) -> Any:
        """The value of a key, ``default`` where it holds nothing. Cost: one exchange with the agent, some 50 microseconds."""
        answer = self._ask("get", _key_member, key)
        return default if answer is None else answer.get("value", default)

    def read(self, keys: Iterable[KeyLike], default: Any = None) -> List[Any]:
        """The values of several keys, all of one moment."""
        wanted = list(keys)
        answer = self._ask("read", _keys_member, wanted)
        if answer is None:
            return [default] * len(wanted)
        return [held[0] if held else default for held in answer["values"]]

    def entry(self, key: KeyLike) -> Optional[Entry]:
        """The value of a key with who wrote it, when, and in conflict with whom; None where it holds nothing."""
        answer = self._ask("entry", _key_member, key)
        told = None if answer is None else answer.get("entry")
        if told is None:
            return None
        conflicts = [_conflict(each) for each in told["conflicts"]]
        return Entry(tuple(told["key"]), told["value"], told["worker"], told["time"] / 1000, told["version"], conflicts)

    def delete(self, key: KeyLike) -> bool:
        """Deletes a key; False where it held nothing (and where nobody answered). Waits for the answer; in a ``batch`` it need not."""
        answer = self._write_now(_delete_text, key)
        if answer is None:
            return False
        results = answer.get("results")
        return True if results is None else bool(results[0])

    def list_keys(self, prefix: KeyLike = ()) -> List[Key]:
        """Keys that begin with ``prefix``, in key order. Cost: a scan of them."""
        return [tuple(key) for key in self._list("keys", "keys", _prefix_member, prefix)]

    def entries(self, prefix: KeyLike = ()) -> List[Tuple[Key, Any]]:
        """Keys that begin with ``prefix`` and their values, in key order, all of one moment."""
        return [(tuple(key), value) for key, value in self._list("entries", "entries", _prefix_member, prefix)]

    def count_keys(self, prefix: KeyLike = ()) -> int:
        """How many keys begin with ``prefix``."""
        answer = self._ask("countKeys", _prefix_member, prefix)
        return 0 if answer is None else int(answer["count"])

    def conflicts(self, prefix: KeyLike = ()) -> Dict[Key, List[Conflict]]:
        """Keys to which workers wrote without having seen each other, with all that they wrote, newest first. Writing such a key resolves it."""
        found = self._list("conflicts", "conflicts", _prefix_member, prefix)
        return {tuple(each["key"]): [_conflict(one) for one in each["candidates"]] for each in found}

    def dump_context_to_disk(self, path: Union[str, "os.PathLike[str]"], prefix: KeyLike = ()) -> int:
        """
        Writes all keys and values below ``prefix`` to a file: one JSON object ``{"key": [...], "value": ...}`` a line, in key order, values as on the
        wire. The file appears whole or not at all.

        :returns: the number of keys written
        :raises OSError: it cannot be written
        """
        entries = self.entries(prefix)
        temporary = f"{os.fspath(path)}.{uuid.uuid4().hex[:12]}.tmp"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
                for key, value in entries:
                    file.write(f'{{"key":{_key_text(key)},"value":{_value_text(value)}}}\n')
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary)
            raise
        return len(entries)

    # --- The other kinds of context

    def batch(self) -> "Batch":
        """Writes that are done as one, all or none, at the end of a ``with`` block; none where the block raises."""
        return Batch(self)

    def counter(self, name: str) -> "Counter":
        """A counter."""
        return Counter(self, name)

    def progress(self, step: str, total: Optional[int] = None) -> "Progress":
        """Which items of a step are done; of ``total``, the items 0 to total - 1."""
        return Progress(self, step, total)

    def statistic(self, name: str) -> "Statistic":
        """Count, mean, deviation and quantiles of observations."""
        return Statistic(self, name)

    @property
    def journal(self) -> "Journal":
        """What happened, in order."""
        return Journal(self)

    def names(self, of: str) -> List[str]:
        """Names of all that there is ``of``: ``"counter"``, ``"progress"`` or ``"statistic"``."""
        return self._list("names", "names", lambda: _members(of=of))

    def _commit(self, operations: List[_Operation], has_check: bool) -> None:
        """What a batch holds. It may fail of its own where it checks a version, and then needs its answer before more is sent."""
        if has_check and not self._strict and self._connection is None and self._is_gone():
            self._miss("no agent answers")
            return
        self._send_line(_joined(operations), len(operations), wait=has_check or not self._buffered)

    # --- Waiting

    def watch(self, prefix: KeyLike = (), since: Optional[str] = None) -> Iterator[Change]:
        """
        Changes of keys below ``prefix``, own ones included, from this call on, or after the ``position`` of a change. Goes on for ever: leave the loop, or
        call ``close()`` of it. Where the agent was started anew, a change with ``is_gap`` comes first.

        :raises ContextStoreError: where ``strict``: ``TIMEOUT`` where no agent answers for ``timeout`` seconds
        """
        try:
            members = _prefix_member(prefix)
        except ContextStoreError as error:
            self._misused(error)
            return iter(())
        # Begun here, not when the first change is asked for: what is written from this line on is told.
        return self._changes(self._watch_anew(members, since), members)

    def wait_for(
        self,
        *,
        key: Optional[KeyLike] = None,
        counter: Optional[str] = None,
        progress: Optional[str] = None,
        version: Optional[str] = None,
        at_least: int = 1,
        timeout: float = 30.0,
    ) -> bool:
        """
        Waits until a key holds something, a counter or a progress is ``at_least`` so high, or all of a ``version`` is here.

        :returns: True; where not ``strict``, False where it did not come to be
        :raises ContextStoreError: ``TIMEOUT`` after ``timeout`` seconds
        """

        def members() -> str:
            if key is not None:
                return _key_member(key)
            if version is not None:
                return _members(version=version)
            return _members(counter=counter, progress=progress, atLeast=at_least)

        return self._long("waitFor", members, timeout) is not None

    def sync(self, timeout: float = 10.0, *, everybody: bool = False) -> bool:
        """
        Waits until all that reachable peers had is here. True where every peer was reached.

        :param everybody: in a job of many stores, too, each one that is announced is asked, not only neighbours: for the end of a step or a job
        """
        return self._exchanged("sync", lambda: _members(everybody=everybody or None), timeout)

    def fetch(self, patterns: Iterable[str], timeout: float = 10.0) -> bool:
        """
        Brings here, once, what reachable peers have of shards that the agent does not follow, such as ``context/rank-17/**``. True where every peer was reached.

        :raises ContextStoreError: ``OPTION_INVALID`` for what is no pattern, or where the agent has no peers; ``TIMEOUT``
        """
        wanted = list(patterns)
        return self._exchanged("fetch", lambda: _members(patterns=wanted), timeout)

    def _exchanged(self, ask: str, members: Callable[[], str], timeout: float) -> bool:
        answer = self._long(ask, members, timeout)
        return answer is not None and answer["missed"] == 0

    def follow(self, patterns: Iterable[str]) -> None:
        """
        Has the agent follow these shards from now on, and no others, for all programs of the node.

        :raises ContextStoreError: ``OPTION_INVALID`` for what is no pattern, or where the agent has no peers
        """
        wanted = list(patterns)
        self._ask("follow", lambda: _members(patterns=wanted))

    def coverage(self) -> Optional[Coverage]:
        """Which shards reads see, and how fresh they are; None where not ``strict`` and nobody answered."""
        answer = self._ask("coverage")
        if answer is None:
            return None
        told = answer["coverage"]
        ages = ((each, each.get("ageMs")) for each in told["shards"])
        shards = [ShardCoverage(each["shard"], each["reason"], None if age is None else age / 1000) for each, age in ages]
        return Coverage(told["follow"], told["partnerOf"], shards)

    def checkpoint(self, tag: Optional[str] = None, timeout: float = 600.0) -> Optional[str]:
        """
        Writes a snapshot of everything, all workers of this node, to the shared file system.

        :returns: its path; None where not ``strict`` and it could not be written
        :raises ContextStoreError: ``OPTION_INVALID`` where the agent has no place for it, ``NOT_DURABLE``
        """
        answer = self._long("checkpoint", lambda: _members(tag=tag), timeout)
        return None if answer is None else str(answer["checkpoint"]["path"])

    def restore(self, timeout: float = 600.0) -> int:
        """Merges the newest checkpoints of the job into the store; returns how many files those were."""
        answer = self._long("restore", str, timeout)
        return 0 if answer is None else int(answer["restored"]["files"])

    def rewind(
        self,
        tag: str,
        *,
        present: Optional[Iterable[str]] = None,
        missing: str = "refuse",
        dry_run: bool = False,
        timeout: float = 600.0,
    ) -> Optional[Rewound]:
        """
        Takes the context back to a tag, for a job that restores its own checkpoint of that step: what was recorded since did not happen. On disk when it returns.

        All workers of the agent go back at once. So each program of the node calls it before it writes (the first has it done, the others hear of it), or one does and the
        others wait. While it is under way writes of others wait for its end. `docs/USING.md` says more.

        :param present: the workers of the job that run now; by default those that have written since its last restart
        :param missing: what becomes of workers that began before the tag and are not in it: ``refuse`` the rewind, ``keep`` them as they are, or ``discard`` all they wrote
        :param dry_run: only tells what would be done
        :returns: what was done; None where not ``strict`` and it could not be
        :raises ContextStoreError: ``SNAPSHOT_MISSING`` or ``SNAPSHOT_DAMAGED``: the tag is not there, or not whole; ``OPTION_INVALID``: other programs have written already, or
            nothing tells who runs now. Then nothing is changed. After ``NOT_DURABLE`` or ``TIMEOUT`` call it again
        """
        names = None if present is None else list(present)
        answer = self._ask(
            "rewind", lambda: _members(tag=tag, present=names, missing=missing, dryRun=dry_run or None), timeout=timeout
        )
        if answer is None:
            return None
        told = answer["rewound"]
        workers = [RewoundWorker(each["worker"], each["reissued"], each["deleted"], each["voided"]) for each in told["workers"]]
        return Rewound(told["tag"], told["files"], workers, told["present"], told["kept"])

    def version(self) -> Optional[str]:
        """Stands for everything that is seen here now; for ``wait_for(version=...)`` of another process."""
        answer = self._ask("version")
        return None if answer is None else str(answer["version"])

    # --- Life

    def flush(self, timeout: Optional[float] = None) -> bool:
        """
        Waits until all that was written is on disk.

        :returns: True; where not ``strict``, False where it is not
        :raises ContextStoreError: ``NOT_DURABLE``, ``TIMEOUT``, or what the agent found wrong in writes since the last ``flush``
        """
        answer = self._ask("flush", timeout=timeout)
        with self._lock:
            refusals, self._refusals = self._refusals, []
        if refusals and self._strict:
            raise refusals[0]
        return answer is not None and not refusals

    @property
    def worker(self) -> Optional[str]:
        """As which worker this store writes; None: it has not reached an agent yet, and was given no name."""
        return self._worker_known

    @property
    def health(self) -> Health:
        """How this client is doing; asks nobody."""
        with self._lock:
            return Health(
                self._connection is not None,
                self._pending(),
                self._lost,
                self._refused,
                self._missed,
                self._reconnects,
                self._last_error,
            )

    def agent_health(self) -> Optional[Dict[str, Any]]:
        """What the store says of itself: ``state`` and ``problems``."""
        answer = self._ask("health")
        return None if answer is None else dict(answer["health"])

    def stats(self) -> Dict[str, Any]:
        """Figures of the store."""
        answer = self._ask("stats")
        return {} if answer is None else dict(answer["stats"])

    def as_worker(self, worker: str) -> "ContextStore":
        """Another store that writes as another worker, through the same agent."""
        return ContextStore(
            self._path,
            worker=worker,
            strict=self._strict,
            buffered=self._buffered,
            timeout=self._timeout,
            _starter=self._starter,
        )

    def close(self) -> None:
        """
        Waits until all is on disk, and takes leave of the agent; where not ``strict``, up to 5 s also for one that takes the place of an agent that went away with something
        pending. Raises what `flush` raises; the store is closed all the same.
        """
        if self._is_closed:
            return
        try:
            self._leave()
        finally:
            with self._changed:
                self._is_closed = True
                self._lost += self._pending()
                self._gathered.clear()
                self._kept.clear()
                self._unsent.clear()
                self._kept_bytes = 0
                connection, self._connection = self._connection, None
                self._changed.notify_all()
                self._wake_sender()
            if connection is not None:
                connection.close()
            _open_stores.discard(self)
            if not self._strict:
                _losses.add(self._lost, self._refused, self._last_error)

    def _leave(self) -> None:
        self._wait_for_another()
        if self.flush() and not self.health.pending:
            self._ask("bye")

    def _end(self) -> None:
        """At the end of the process."""
        if self._connection is None and not (self.health.pending or self._lost or self._refused):
            return
        self._timeout = min(self._timeout, 10.0)
        try:
            self.close()
        except ContextStoreError as error:
            print(f"cairn: at the end of the process: {error}", file=sys.stderr)

    def _wait_for_another(self) -> None:
        """Where the agent went away, and not ``strict``: only here is it worth a wait."""
        deadline = time.monotonic() + _LAST_SECONDS
        while self._was_connected and not self._strict and self.health.pending and time.monotonic() < deadline:
            # The sender looks for it, and may start it, which takes as long as it takes; where Python ends there may be none.
            if self._connection is None and self._is_gone() and self._sender is not None:
                time.sleep(_RETRY_SECONDS)
                continue
            try:
                self._exchange(deadline, None, '"ask":"flush"}\n')
                return
            except ContextStoreError:
                # It cannot be written. What went wrong is told with what is lost.
                return
            except _Unreachable:
                time.sleep(_RETRY_SECONDS)
                # There is no later: it is not looked for less and less often.
                self._retry_at = min(self._retry_at, time.monotonic())

    def __enter__(self) -> "ContextStore":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()

    def __repr__(self) -> str:
        return f"ContextStore({self._path!r}, worker={self._worker!r})"

    def __getstate__(self) -> Dict[str, Any]:
        kept = ("_path", "_worker", "_worker_known", "_strict", "_buffered", "_timeout", "_starter")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    # --- Writing

    def _write(self, text_of: Callable[..., str], *arguments: Any) -> None:
        """Gathers an operation, or does it at once where nothing is buffered."""
        try:
            operation = text_of(*arguments)
        except ContextStoreError as error:
            self._misused(error)
            return
        if not self._buffered:
            self._send_line(operation, 1, wait=True)
        elif len(operation) > _LONG:
            self._send_line(operation, 1, wait=False)
        else:
            self._gather(operation)

    def _gather(self, operation: _Operation) -> None:
        """
        A line is made of what is gathered when it is enough, or when the sender has its turn. Takes no lock: who takes from one end of a deque does not mind who
        puts something at the other, and the sender looks whether there is something after it has said that it goes to sleep.
        """
        if self._is_closed:
            self._check_open()
        if self._kept_bytes > _KEPT_BYTES and not self._make_room(1):
            return
        gathered = self._gathered
        gathered.append(operation)
        if type(operation) is str:
            self._gathered_characters += len(operation)
        if len(gathered) >= self._gather_max or self._gathered_characters >= _GATHER_CHARACTERS:
            with self._lock:
                self._cut()
            self._send_now()
        elif not self._sender_is_awake:
            with self._lock:
                self._wake_sender()

    def _write_now(self, text_of: Callable[..., str], *arguments: Any) -> Optional[Dict[str, Any]]:
        """Does an operation at once. The answer; None where there is none."""
        try:
            operation = text_of(*arguments)
        except ContextStoreError as error:
            self._misused(error)
            return None
        return self._send_line(operation, 1, wait=True)

    def _send_line(self, operations: str, count: int, wait: bool) -> Optional[Dict[str, Any]]:
        """Operations as a line of their own. The answer, where it is waited for; None where nobody answers (never where ``strict``)."""
        self._check_open()
        if len(operations) > _LINE_CHARACTERS:
            hint = "Write it as several batches."
            self._misused(ContextStoreError("VALUE_INVALID", "A batch takes at most 4 Mi characters.", hint))
            return None
        if self._kept_bytes > _KEPT_BYTES and not self._make_room(count):
            return None
        with self._lock:
            self._cut()
            n = self._enqueue(operations, count)
            if wait:
                self._awaited[n] = []
        if not wait:
            self._send_now()
            return None
        try:
            return self._try(n)
        finally:
            self._awaited.pop(n, None)

    def _pending(self) -> int:
        """Operations that are not known to be on disk. Needs the lock."""
        return len(self._gathered) + sum(line.operations for line in self._kept)

    def _enqueue(self, operations: str, count: int) -> int:
        """Numbers a line and keeps it. Needs the lock."""
        self._n = n = self._n + 1
        data = ('{"n":%d,"do":[%s]}\n' % (n, operations)).encode()
        self._kept.append(_Line(n, data, count))
        self._kept_bytes += len(data)
        self._unsent.append(data)
        return n

    def _cut(self) -> None:
        """What was gathered becomes a line. Needs the lock."""
        gathered = self._gathered
        if gathered:
            operations = [gathered.popleft() for _ in range(len(gathered))]
            self._gathered_characters = 0
            self._enqueue(_joined(operations), len(operations))

    def _make_room(self, count: int) -> bool:
        """Waits, where ``strict``, until less is kept; else counts what is given up."""
        with self._lock:
            self._wake_sender()
            if not self._strict:
                self._lost += count
                return False
            deadline = time.monotonic() + self._timeout
            while self._kept_bytes > _KEPT_BYTES:
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise ContextStoreError(
                        "TIMEOUT",
                        f"The agent takes no writes: {self._kept_bytes} bytes wait for it.",
                        "See what `cairn doctor` and the log of the agent say.",
                    )
            return True

    def _misused(self, error: ContextStoreError) -> None:
        """What is wrong before anything is sent."""
        if self._strict:
            raise error
        with self._lock:
            self._refused += 1
            self._last_error = str(error)

    def _check_open(self) -> None:
        if self._is_closed and self._strict:
            raise ContextStoreError("STORE_CLOSED", "The store is closed.", "Open it again.")

    # --- Asking

    def _ask(self, ask: str, text_of: Callable[..., str] = str, *arguments: Any, timeout: Optional[float] = None) -> Optional[Dict[str, Any]]:
        """The answer to a request; None where nobody answers (never where ``strict``)."""
        try:
            members = text_of(*arguments)
        except ContextStoreError as error:
            self._misused(error)
            return None
        self._check_open()
        request = f'"ask":"{ask}"{members}}}\n'
        return self._try(None, request, timeout)

    def _list(self, ask: str, name: str, text_of: Callable[..., str], *arguments: Any) -> List[Any]:
        answer = self._ask(ask, text_of, *arguments)
        return [] if answer is None else list(answer[name])

    def _try(self, write: Optional[int], request: str = "", timeout: Optional[float] = None) -> Optional[Dict[str, Any]]:
        """An exchange; where not ``strict``, never raises, nor waits for who is gone."""
        seconds = self._timeout if timeout is None else timeout
        if self._strict:
            try:
                return self._exchange(time.monotonic() + seconds, write, request)
            except _Unreachable:
                raise self._unreachable() from None
        if self._is_closed or (self._connection is None and self._is_gone()):
            self._miss(self._last_error or "the store is closed")
            return None
        try:
            return self._exchange(time.monotonic() + seconds, write, request)
        except (_Unreachable, ContextStoreError) as error:
            self._miss(str(error))
            return None

    def _is_gone(self) -> bool:
        """The sender looks for an agent that is gone, so that nobody else waits for it. The first time is different: it may well be there."""
        if self._retry_at == 0.0:
            return False
        with self._lock:
            self._wants_connection = True
            self._wake_sender()
        return True

    def _miss(self, why: str) -> None:
        with self._lock:
            self._missed += 1
            self._last_error = why

    def _unreachable(self) -> ContextStoreError:
        return ContextStoreError(
            "TIMEOUT",
            f"No agent answers at {self._path or 'no socket'}{': ' + self._last_error if self._last_error else ''}.",
            "Start one with `cairn agent --detach`, or use cairn.local(). What was written is kept, and done when an agent is there.",
        )

    # --- Speaking: one thread at a time

    def _speak(self, act: Callable[[_Connection], _T], seconds: float = -1, may_start: bool = False) -> _T:
        """Does something alone with the connection, which ends where anything goes wrong: half a line may have been sent."""
        if not self._speech.acquire(timeout=seconds):
            raise _Unreachable("the agent does not answer")
        try:
            return act(self._connection or self._connect(may_start))
        except (ContextStoreError, _Unreachable):
            raise
        except BaseException as error:
            self._disconnect(error)
            if isinstance(error, OSError):
                raise _Unreachable(str(error)) from None
            raise
        finally:
            self._speech.release()

    def _exchange(self, deadline: float, write: Optional[int], request: str) -> Dict[str, Any]:
        """Sends all that waits, and a request; its answer, or that to a write. Tries again where the agent goes away. Raises what the answer says."""

        def act(connection: _Connection) -> Dict[str, Any]:
            n = write
            with self._lock:
                if n is None:
                    self._cut()
                    self._n = n = self._n + 1
                    self._awaited[n] = []
                    self._unsent.append(f'{{"n":{n},{request}'.encode())
                data = self._take_unsent()
            try:
                self._send(connection, data)
                return self._answer_to(n, connection, deadline)
            finally:
                if write is None:
                    self._awaited.pop(n, None)

        while True:
            try:
                return self._speak(act, max(0.0, deadline - time.monotonic()))
            except _Unreachable as error:
                now = time.monotonic()
                if now >= deadline or not self._strict:
                    raise
                self._last_error = str(error)
                time.sleep(max(0.0, min(self._retry_at - now, deadline - now)))

    def _answer_to(self, n: int, connection: _Connection, deadline: float) -> Dict[str, Any]:
        parts = self._awaited[n]
        while not parts or parts[-1].get("more"):
            left = deadline - time.monotonic()
            is_other = left < self._timeout / 2 or left > self._timeout
            if is_other and not connection.has_input(max(0.0, left)):
                raise TimeoutError("the agent does not answer")
            self._take(connection.receive())
        answer = parts[0]
        if "error" in answer:
            raise _error(answer["error"])
        for part in parts[1:]:
            for name, value in part.items():
                if isinstance(value, list):
                    answer[name] += value
        return answer

    def _take(self, answers: List[Dict[str, Any]]) -> None:
        """What answers mean: for who waits for them, and for what is kept."""
        with self._lock:
            for answer in answers:
                n = answer.get("n", 0)
                awaited = self._awaited.get(n)
                if awaited is not None:
                    awaited.append(answer)
                if "error" in answer:
                    error = answer["error"]
                    if n == 0:
                        raise ConnectionResetError(error["message"])
                    self._give_up(n, _error(error), awaited is not None)
                if n == self._flush:
                    self._flush = 0
                    if "error" in answer:
                        self._flush_at = time.monotonic() + _FLUSH_AGAIN_SECONDS
                if "durable" in answer:
                    self._is_durable(answer["durable"])

    def _give_up(self, n: int, error: ContextStoreError, is_told: bool) -> None:
        """The agent refused a line, or a request, of which nothing is kept. Needs the lock."""
        line = next((line for line in self._kept if line.n == n), None)
        if line is None:
            return
        self._kept.remove(line)
        self._kept_bytes -= len(line.data)
        self._refused += line.operations
        self._last_error = str(error)
        if not is_told and len(self._refusals) < _REFUSALS_MAX:
            self._refusals.append(error)

    def _is_durable(self, durable: int) -> None:
        """Lines up to a number need not be kept any more. Needs the lock."""
        kept = self._kept
        while kept and kept[0].n <= durable:
            self._kept_bytes -= len(kept.popleft().data)
        self._changed.notify_all()

    def _connect(self, may_start: bool = False) -> _Connection:
        """A connection. Needs to speak alone. Raises ``OSError``, ``_Unreachable``, and what the agent says to the hello."""
        if time.monotonic() < self._retry_at:
            raise _Unreachable(self._last_error or "no agent answers")
        if not self._path:
            raise _Unreachable("there is no agent, and no CAIRN_SOCKET that names one")
        try:
            connection = self._open(self._client)
        except (FileNotFoundError, ConnectionRefusedError):
            if self._starter is None or not (may_start or self._strict):
                raise
            self._starter.start()
            connection = self._open(self._client)
        greeting = connection.greeting
        with self._lock:
            self._worker_known = greeting["worker"]
            self._reconnects += self._was_connected
            self._was_connected = True
            self._is_durable(greeting["durable"])
            # Also what was done already: then the answer says so.
            self._unsent = deque(line.data for line in self._kept)
            self._connection = connection
            self._retry_at, self._retry_seconds = 0.0, _RETRY_SECONDS
        _flush_at_exit()
        return connection

    def _open(self, client: Optional[str]) -> _Connection:
        return _Connection(self._path, self._worker, client, self._timeout)

    def _disconnect(self, error: BaseException) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            self._flush = 0
            self._last_error = str(error) or type(error).__name__
            self._retry_at = time.monotonic() + self._retry_seconds
            self._retry_seconds = min(2 * self._retry_seconds, _RETRY_SECONDS_MAX)
        if connection is not None:
            connection.close()

    def _take_unsent(self) -> bytes:
        """All lines that wait. Needs the lock."""
        data = b"".join(self._unsent) if len(self._unsent) != 1 else self._unsent[0]
        self._unsent.clear()
        return data

    def _send(self, connection: _Connection, data: bytes) -> None:
        """Takes answers in between: an agent that cannot get rid of them does not read."""
        if len(data) <= _PIECE:
            connection.send(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), _PIECE):
            connection.send(view[start : start + _PIECE])
            while self._take_what_came(connection):
                pass

    def _take_what_came(self, connection: _Connection) -> bool:
        """Up to a piece; False where nothing came."""
        answers = connection.receive_now()
        if answers:
            self._take(answers)
        return answers is not None

    # --- The sender: a thread that lives while something is on its way

    def _wake_sender(self) -> None:
        """It looks for work at once. Needs the lock."""
        if self._sender is None and not self._is_closed:
            _flush_at_exit()
            thread = threading.Thread(target=self._send_gathered, name="cairn", daemon=True)
            try:
                thread.start()
                self._sender = thread
            except RuntimeError:
                # Python is ending: what is gathered goes out with the last flush.
                return
        elif self._sleep.locked():
            self._sleep.release()
        self._sender_is_awake = True

    def _send_now(self) -> None:
        """
        What waits to be sent goes out here where it can without waiting: to give the turn to another thread, and to take it back, would cost who writes more. What is left, and
        whatever goes wrong, is the sender's.
        """
        connection = self._connection
        is_sent = False
        if connection is not None and self._speech.acquire(blocking=False):
            try:
                if connection is self._connection:
                    with self._lock:
                        data = self._take_unsent()
                    self._flush_at = time.monotonic() + _FLUSH_SECONDS
                    sent = connection.send_now(data)
                    is_sent = sent == len(data)
                    if not is_sent:
                        with self._lock:
                            self._unsent.appendleft(data[sent:])
                    self._take_what_came(connection)
            except Exception as error:
                self._disconnect(error)
                is_sent = False
            except BaseException as error:
                self._disconnect(error)
                raise
            finally:
                self._speech.release()
        with self._lock:
            self._has_sent = is_sent
            if not is_sent or not self._sender_is_awake:
                self._wake_sender()

    def _send_gathered(self) -> None:
        """
        Turns at a steady pace, which nobody has to wake: what costs a simulation is not what a turn does, but that Python gives the turn to this thread and
        takes it back, once for each time that it waits, sends or receives. Where who writes has sent what it gathered itself since the last turn, there is none.
        """
        gather = _GATHER_SECONDS if self._strict else _GATHER_SECONDS_LENIENT
        turns_without_work = 0
        while True:
            self._sleep.acquire(timeout=gather if turns_without_work < _IDLE_TURNS else _IDLE_SECONDS)
            with self._lock:
                # Before it looks whether there is something: see `_gather`.
                self._sender_is_awake = False
                has_sent, self._has_sent = self._has_sent, False
                if has_sent or self._gathered or self._kept or self._wants_connection:
                    turns_without_work = 0
                    self._sender_is_awake = True
                elif turns_without_work > _IDLE_TURNS or self._is_closed:
                    self._sender = None
                    return
                else:
                    turns_without_work += 1
                    self._sender_is_awake = turns_without_work < _IDLE_TURNS
                    continue
            if has_sent:
                continue
            pause = self._retry_at - time.monotonic()
            if pause > 0:
                time.sleep(min(pause, _RETRY_SECONDS))
                continue
            try:
                self._speak(self._send_more, may_start=True)
            except _Unreachable:
                continue
            except ContextStoreError as error:
                self._disconnect(error)

    def _send_more(self, connection: _Connection) -> None:
        self._wants_connection = False
        with self._lock:
            self._cut()
            data = self._take_unsent()
            if data:
                self._flush_at = time.monotonic() + _FLUSH_SECONDS
            elif self._kept and not self._flush and time.monotonic() >= self._flush_at:
                self._n = self._flush = self._n + 1
                data = b'{"n":%d,"ask":"flush"}\n' % self._n
        if data:
            self._send(connection, data)
        self._take_what_came(connection)

    # --- What takes time has a connection of its own

    def _long(self, ask: str, text_of: Callable[[], str], timeout: float) -> Optional[Dict[str, Any]]:
        """The answer to a request that takes time; None where there is none (never where ``strict``)."""
        deadline = time.monotonic() + timeout
        try:
            members = text_of()
            while True:
                try:
                    return self._ask_long(ask, members, deadline)
                except OSError as error:
                    self._last_error = str(error)
                    if not self._strict or time.monotonic() >= deadline:
                        raise self._unreachable() from None
                    time.sleep(_RETRY_SECONDS)
        except ContextStoreError as error:
            if self._strict:
                raise
            self._miss(str(error))
            return None

    def _ask_long(self, ask: str, members: str, deadline: float) -> Optional[Dict[str, Any]]:
        connection = self._begin_long(ask, members, deadline)
        if connection is None:
            return None
        with contextlib.closing(connection):
            # The agent says better what was waited for: it has the first word.
            connection.set_timeout(max(deadline - time.monotonic(), 0.0) + 5.0)
            answers: List[Dict[str, Any]] = []
            while not answers:
                answers = connection.receive()
        if "error" in answers[0]:
            raise _error(answers[0]["error"])
        return answers[0]

    def _begin_long(self, ask: str, members: str, deadline: float = 0.0) -> Optional[_Connection]:
        """A connection on which the request was sent, after all that this store wrote before was done. None where nobody answers."""
        if self._ask("end", str, ',"of":0') is None:
            return None
        if deadline:
            members += f',"timeoutMs":{max(1, round((deadline - time.monotonic()) * 1000))}'
        connection = self._open(None)
        try:
            connection.send(f'{{"n":1,"ask":"{ask}"{members}}}\n'.encode())
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_watch(self, members: str, since: Optional[str]) -> Optional[_Connection]:
        if since is not None:
            members += ',"since":' + _value_text(since)
        connection = self._begin_long("watch", members)
        if connection is None:
            return None
        try:
            first: List[Dict[str, Any]] = []
            while not first:
                first = connection.receive()
            if "error" in first[0]:
                raise _error(first[0]["error"])
            connection.unread(first[1:])
            connection.set_timeout(None)
        except BaseException:
            connection.close()
            raise
        return connection

    def _changes(self, connection: Optional[_Connection], members: str) -> Iterator[Change]:
        while connection is not None:
            try:
                with contextlib.closing(connection):
                    while True:
                        for answer in connection.receive():
                            if "error" in answer:
                                raise _error(answer["error"])
                            if answer.get("ended"):
                                return
                            yield _change(answer)
            except OSError:
                # What an agent that was killed had not on disk got its positions for nothing: another has other changes there.
                connection = self._watch_anew(members, None)
                if connection is not None:
                    yield Change(None, None, None, None, False, True, "")

    def _watch_anew(self, members: str, position: Optional[str]) -> Optional[_Connection]:
        """After the agent went away."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return self._begin_watch(members, position)
            except OSError as error:
                self._last_error = str(error)
                if time.monotonic() < deadline:
                    time.sleep(_RETRY_SECONDS)
                    continue
                if self._strict:
                    raise self._unreachable() from None
                return None


# --- Operations and requests on the wire


def _set_text(key: KeyLike, value: Any, codec: Optional[str]) -> str:
    if codec is not None:
        if codec != "pickle":
            raise ContextStoreError(
                "OPTION_INVALID", f"There is no codec {codec!r} here.", 'Use "pickle", or store cairn.Coded(codec, data).'
            )
        try:
            value = Coded(codec, pickle.dumps(value, protocol=4))
        except Exception as error:
            raise _bad_value(f"it cannot be pickled ({error})") from error
    return '["set",' + _key_text(key) + "," + _value_text(value) + "]"


def _delete_text(key: KeyLike) -> str:
    return '["delete",' + _key_text(key) + "]"


def _check_text(key: KeyLike, version: Optional[str]) -> str:
    return '["check",' + _key_text(key) + "," + _value_text(version) + "]"


def _count_text(name: str, amount: int, once: Optional[ItemId]) -> str:
    head = '["count",' + _name_text(name) + "," + _whole_text(amount, "An amount")
    return head + "]" if once is None else head + "," + _id_text(once, name) + "]"


def _done_text(step: str, ids: Union[ItemId, Iterable[ItemId]]) -> str:
    if isinstance(ids, (str, int)) or not hasattr(ids, "__iter__"):
        return '["done",' + _name_text(step) + "," + _id_text(ids, step) + "]"
    return '["done",' + _name_text(step) + ",[" + ",".join([_id_text(each, step) for each in ids]) + "]]"


def _done_range_text(step: str, first: int, last: int) -> str:
    return f'["doneRange",{_name_text(step)},{_whole_text(first, "An item")},{_whole_text(last, "An item")}]'


def _observe_text(name: str, numbers: Union[float, Iterable[float]], scope: Optional[KeyLike]) -> str:
    each = numbers if hasattr(numbers, "__iter__") else [numbers]
    text = '["observe",' + _name_text(name) + ",[" + ",".join(map(_observation_text, each)) + "]"
    if scope is None:
        return text + "]"
    _key_text((name, *scope))
    return text + "," + _key_text(scope) + "]"


def _append_text(type_: str, data: Any) -> str:
    return '["append",' + _name_text(type_) + "," + _value_text(data) + "]"


def _whole_text(number: Any, what: str) -> str:
    plain = number if type(number) is int else _plain_or_none(number)
    if isinstance(plain, int) and not isinstance(plain, bool) and -_SAFE < plain < _SAFE:
        return int.__repr__(plain)
    raise ContextStoreError("NUMBER_INVALID", f"{what} is a whole number (magnitude below 2^53), this is {number!r}.", "Keep fractions in a statistic.")


def _id_text(item: Any, of: str) -> str:
    if isinstance(item, str) and item:
        if len(item) > 100:
            _check_length((of, item))
        return _text(item)
    plain = item if type(item) is int else _plain_or_none(item)
    if isinstance(plain, int) and not isinstance(plain, bool) and 0 <= plain < _SAFE:
        return int.__repr__(plain)
    raise ContextStoreError("NUMBER_INVALID", f"An item is a whole number from 0 or a text, this is {item!r}.", "Number the items, or name them.")


def _observation_text(number: Any) -> str:
    plain = number if type(number) in (float, int) else _plain_or_none(number)
    if isinstance(plain, (int, float)) and abs(plain) <= 2.0**480:
        return repr(float(plain)) if isinstance(plain, float) else int.__repr__(plain)
    raise ContextStoreError("NUMBER_INVALID", f"An observation is a finite number, this is {number!r}.", "Leave out what is none.")


def _plain_or_none(number: Any) -> Any:
    try:
        return _plain(number)
    except ContextStoreError:
        return None


def _name_text(name: Any) -> str:
    if isinstance(name, str) and name:
        return _key_text((name,))[1:-1]
    raise ContextStoreError("NAME_INVALID", f"A name is a text that is not empty, this is {name!r}.", "Name it.")


def _key_member(key: KeyLike) -> str:
    return ',"key":' + _key_text(key)


def _keys_member(keys: List[KeyLike]) -> str:
    return ',"keys":[' + ",".join(map(_key_text, keys)) + "]"


def _prefix_member(prefix: KeyLike) -> str:
    return ',"prefix":' + _key_text(prefix, is_prefix=True)


def _members(**members: Any) -> str:
    return "".join(f',"{name}":{_value_text(value)}' for name, value in members.items() if value is not None)


def _conflict(told: Dict[str, Any]) -> Conflict:
    return Conflict(told.get("value"), told["worker"], told["time"] / 1000, "value" not in told)


def _change(told: Dict[str, Any]) -> Change:
    if told.get("skipped"):
        return Change(None, None, None, None, False, True, told["position"])
    when = told.get("time")
    return Change(
        tuple(told["change"]),
        told.get("value"),
        told.get("worker"),
        None if when is None else when / 1000,
        "value" not in told,
        False,
        told["position"],
    )


# --- Counters, progress, statistics, journal, batches


class Counter:
    """A counter of the whole job: all workers add, retries with ``once`` count once."""

    def __init__(self, store: ContextStore, name: str) -> None:
        self._store = store
        self.name = name

    def add(self, amount: int = 1, once: Optional[ItemId] = None) -> None:
        """Adds a whole number, negative to take away. With ``once``, once for that id, however often and by whomever it is repeated. Raises ``NUMBER_INVALID``."""
        self._store._write(_count_text, self.name, amount, once)

    @property
    def value(self) -> int:
        """What all workers that are known here added."""
        return int(self._told().get("value", 0))

    @property
    def increments(self) -> int:
        """All that was added without ``once``."""
        return int(self._told().get("increments", 0))

    @property
    def decrements(self) -> int:
        """All that was taken away without ``once``."""
        return int(self._told().get("decrements", 0))

    def by_worker(self) -> Dict[str, int]:
        """What each worker added without ``once``."""
        return dict(self._told().get("byWorker", {}))

    def _told(self) -> Dict[str, Any]:
        return self._store._ask("counter", lambda: _members(name=self.name)) or {}


class Progress:
    """Which items of a step are done: whole numbers from 0, or texts. An item that is done twice, by whomever, counts once."""

    def __init__(self, store: ContextStore, step: str, total: Optional[int] = None) -> None:
        self._store = store
        self.step = step
        self.total = total

    def done(self, ids: Union[ItemId, Iterable[ItemId]]) -> None:
        """Marks an item, or several, as done. Raises ``NUMBER_INVALID``."""
        self._store._write(_done_text, self.step, ids)

    def done_range(self, first: int, last: int) -> None:
        """Marks items ``first`` to ``last`` as done, both included."""
        self._store._write(_done_range_text, self.step, first, last)

    def work(self, item: ItemId) -> "Work":
        """An item with all that belongs to it: what is recorded in the ``with`` block counts once, together with the item being done; nothing of it where the block raises."""
        return Work(self._store, self.step, item)

    @property
    def count(self) -> int:
        """How many different items are done."""
        return int(self._told().get("count", 0))

    def has(self, item: ItemId) -> bool:
        """Whether an item is done."""
        answer = self._store._ask("has", lambda: _members(step=self.step) + ',"id":' + _id_text(item, self.step))
        return False if answer is None else bool(answer["has"])

    def by_worker(self) -> Dict[str, int]:
        """How many items each worker did."""
        return dict(self._told().get("byWorker", {}))

    def missing(self, limit: int = 1_000) -> List[Tuple[int, int]]:
        """Items below ``total`` that nobody has done: at most ``limit`` ranges, first and last included. Raises ``OPTION_INVALID`` without ``total``."""
        if self.total is None:
            self._store._misused(
                ContextStoreError("OPTION_INVALID", "What is missing is not known without a total.", "Use progress(step, total=...).")
            )
            return []
        return [(first, last) for first, last in self._told(total=self.total, limit=limit).get("missing", [])]

    def _told(self, **more: Any) -> Dict[str, Any]:
        return self._store._ask("progress", lambda: _members(step=self.step, **more)) or {}


class Statistic:
    """Count, mean, deviation and quantiles of observations."""

    def __init__(self, store: ContextStore, name: str) -> None:
        self._store = store
        self.name = name

    def observe(self, numbers: Union[float, Iterable[float]], scope: Optional[KeyLike] = None) -> None:
        """
        Adds an observation, or several. With ``scope``, a key, they are all that belong to this unit of work, which is complete with them: they count
        once, however often and by whomever it is repeated. Raises ``NUMBER_INVALID``.
        """
        self._store._write(_observe_text, self.name, numbers, scope)

    def summary(self, scope: Optional[KeyLike] = None, quantiles: Sequence[float] = ()) -> Optional[Summary]:
        """What is known of all observations, or those of a scope; None where there are none."""

        def members() -> str:
            wanted = _members(name=self.name, quantiles=list(quantiles) or None)
            return wanted if scope is None else wanted + ',"scope":' + _key_text(scope)

        told = (self._store._ask("statistic", members) or {}).get("summary")
        if told is None:
            return None
        total, least, most, mean, stddev = (float(told[name]) for name in ("sum", "min", "max", "mean", "stddev"))
        return Summary(told["count"], total, least, most, mean, stddev, [float(at) for at in told.get("quantiles", [])])


class Journal:
    """What happened, in order: events with a type and data."""

    def __init__(self, store: ContextStore) -> None:
        self._store = store

    def append(self, type: str, data: Any = None) -> None:
        """Appends an event, such as ``append("solver.restarted", {"step": 4})``. Raises ``NAME_INVALID``, ``VALUE_INVALID``."""
        self._store._write(_append_text, type, data)

    def events(self, type: Optional[str] = None, start: Optional[float] = None, end: Optional[float] = None) -> List[Event]:
        """Events of all workers, in order; of a type (one that ends in ``.`` stands for all that begin so), from ``start`` to ``end``, in seconds since 1970."""
        milliseconds = {name: round(at * 1000) for name, at in (("from", start), ("to", end)) if at is not None}
        told = self._store._list("journal", "events", lambda: _members(type=type, **milliseconds))
        return [Event(each["type"], each["data"], each["worker"], each["time"] / 1000) for each in told]


class Batch:
    """Writes that are done as one at the end of the ``with`` block, all or none; none where the block raises. Cheapest where there are many."""

    def __init__(self, store: ContextStore) -> None:
        self._store = store
        self._operations: List[_Operation] = []
        self._has_check = False

    def set(self, key: KeyLike, value: Any, *, codec: Optional[str] = None) -> None:
        """Writes a value."""
        if codec is None and _is_plain(key, value):
            self._operations.append(("set", key, value))
        else:
            self._add(_set_text, key, value, codec)

    def delete(self, key: KeyLike) -> None:
        """Deletes a key."""
        self._add(_delete_text, key)

    def check(self, key: KeyLike, version: Optional[str]) -> None:
        """Has the batch fail with ``VERSION_CHANGED``, nothing done, unless the key is at this version (of `ContextStore.entry`); None: unless it holds nothing."""
        self._has_check = True
        self._add(_check_text, key, version)

    def count(self, name: str, amount: int = 1, once: Optional[ItemId] = None) -> None:
        """Adds to a counter."""
        self._add(_count_text, name, amount, once)

    def done(self, step: str, ids: Union[ItemId, Iterable[ItemId]]) -> None:
        """Marks an item of a step, or several, as done."""
        self._add(_done_text, step, ids)

    def done_range(self, step: str, first: int, last: int) -> None:
        """Marks items ``first`` to ``last`` as done, both included."""
        self._add(_done_range_text, step, first, last)

    def observe(self, name: str, numbers: Union[float, Iterable[float]], scope: Optional[KeyLike] = None) -> None:
        """Adds observations to a statistic."""
        self._add(_observe_text, name, numbers, scope)

    def append(self, type: str, data: Any = None) -> None:
        """Appends an event to the journal."""
        self._add(_append_text, type, data)

    def _add(self, text_of: Callable[..., str], *arguments: Any) -> None:
        try:
            self._operations.append(text_of(*arguments))
        except ContextStoreError as error:
            self._store._misused(error)

    def __enter__(self) -> "Batch":
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        if kind is None and self._operations:
            operations, self._operations = self._operations, []
            self._store._commit(operations, self._has_check)


class Work(Batch):
    """An item of a step, with all that belongs to it. Amounts and observations count once for the item, however often it is done."""

    def __init__(self, store: ContextStore, step: str, item: ItemId) -> None:
        super().__init__(store)
        self._step = step
        self._item = item
        self._observed: Dict[str, List[float]] = {}

    def count(self, name: str, amount: int = 1, once: Optional[ItemId] = None) -> None:
        """Adds to a counter, once for this item. One call a counter."""
        unit = f"{self._step}/{json.dumps(self._item, ensure_ascii=False)}" if once is None else once
        super().count(name, amount, unit)

    def observe(self, name: str, numbers: Union[float, Iterable[float]], scope: Optional[KeyLike] = None) -> None:
        """Adds observations of this item."""
        if scope is not None:
            super().observe(name, numbers, scope)
        else:
            self._observed.setdefault(name, []).extend(numbers if isinstance(numbers, Iterable) else [numbers])

    def __exit__(self, kind: Any, *error: Any) -> None:
        if kind is None:
            for name, numbers in self._observed.items():
                self._add(_observe_text, name, numbers, (self._step, self._item))
            self._add(_done_text, self._step, self._item)
        super().__exit__(kind, *error)


# --- The agent of this node


class _Starter(NamedTuple):
    """Starts the agent of this node and job, or finds the one that runs."""

    words: Tuple[str, ...]

    def start(self) -> str:
        """The path of its socket."""
        ran = _run([*_command(), "agent", "--detach", "--json", *self.words])
        return str(json.loads(ran.splitlines()[-1])["socket"])


def local(
    *,
    dir: Optional[str] = None,
    socket: Optional[str] = None,
    shared: Optional[str] = None,
    worker: Optional[str] = None,
    strict: bool = True,
    buffered: bool = True,
    timeout: Optional[float] = None,
    linger: float = 60.0,
) -> ContextStore:
    """
    The store of this node: joins its agent, or starts it where there is none, here and whenever it is gone.

    The command ``cairn`` is taken from ``CAIRN_COMMAND``, else found in ``PATH``, in a ``node_modules`` of this directory or one above, or in the checkout
    that this file is part of. Cost: half a second where the agent is started, some milliseconds where ``CAIRN_SOCKET`` names one that runs.

    :param dir: directory of the store, on this node; ``CAIRN_DIR`` by default, else one for the job
    :param socket: path of the socket, in a directory of its own; ``CAIRN_SOCKET`` by default, else one for the job
    :param shared: for checkpoints and for meeting agents of other nodes, on the shared file system; ``CAIRN_SHARED`` by default
    :param linger: seconds after which an agent that was started here ends when nobody uses it
    :raises ContextStoreError: where ``strict``: ``OPTION_INVALID`` where there is no command, or the agent that runs has another ``dir`` or ``shared``; ``TIMEOUT``, and
        what the command says
    """
    given = (("--dir", dir), ("--socket", socket), ("--shared", shared), ("--linger", f"{linger:g}"))
    starter = _Starter(tuple(word for name, value in given if value is not None for word in (name, os.fspath(value))))
    path = socket or os.environ.get("CAIRN_SOCKET")
    if path is None or not _answers(path, store=dir, shared=shared):
        try:
            path = starter.start()
        except ContextStoreError:
            if strict:
                raise
    return ContextStore(path, worker=worker, strict=strict, buffered=buffered, timeout=timeout, _starter=starter)


def merge(output: Union[str, "os.PathLike[str]"], *inputs: Union[str, "os.PathLike[str]"]) -> None:
    """Merges snapshots, or directories of them, into one file, as ``cairn merge`` does. Raises what it says."""
    _run([*_command(), "merge", "--json", os.fspath(output), *[os.fspath(each) for each in inputs]])


def _answers(path: str, **places: Optional[str]) -> bool:
    """Whether an agent is there, and has these places as far as it tells. Where it has others, the command says so."""
    try:
        connection = _Connection(path, None, None, 5.0)
    except (OSError, ContextStoreError):
        return False
    connection.close()
    told = connection.greeting
    return "store" not in told or all(place is None or os.path.abspath(place) == told.get(name) for name, place in places.items())


def _command() -> List[str]:
    """The words that run ``cairn``."""
    given = os.environ.get("CAIRN_COMMAND")
    if given:
        return shlex.split(given)
    found = shutil.which("cairn")
    if found is not None:
        return [found]
    here = os.getcwd()
    above = [here, *_parents(here)]
    scripts = [os.path.join(folder, "node_modules", "cairn-store", "dist", "cli.js") for folder in above]
    scripts.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "dist", "cli.js"))
    for script in scripts:
        if os.path.exists(script):
            return ["node", os.path.normpath(script)]
    raise ContextStoreError(
        "OPTION_INVALID", "The command cairn was not found.", "Install cairn-store with npm, or set CAIRN_COMMAND to what runs it."
    )


def _parents(folder: str) -> Iterator[str]:
    while os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
        yield folder


def _run(words: List[str]) -> str:
    """What a command prints. Raises what it says is wrong."""
    try:
        ran = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ContextStoreError("OPTION_INVALID", f"{words[0]} cannot be run: {error}.", "Set CAIRN_COMMAND to what runs cairn.") from None
    if ran.returncode == 0:
        return ran.stdout.decode()
    said = ran.stderr.decode(errors="replace").strip()
    try:
        told = json.loads(said.splitlines()[-1])["error"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise ContextStoreError("INTERNAL", f"cairn ended with {ran.returncode}: {said}.", "See what it says.") from None
    raise _error(told)


# --- Ends and forks

class _Losses:
    """What stores that are not strict could not do, told once, at the end of the process: nothing was raised."""

    def __init__(self) -> None:
        self.lost = 0
        self.refused = 0
        self.error: Optional[str] = None

    def add(self, lost: int, refused: int, error: Optional[str]) -> None:
        self.lost += lost
        self.refused += refused
        if lost or refused:
            self.error = error

    def tell(self) -> None:
        counts = ((self.lost, "are not known to be on disk"), (self.refused, "were refused"))
        told = ", ".join(f"{count} {what}" for count, what in counts if count)
        if told and sys.stderr is not None:
            why = f" ({self.error})" if self.error else ""
            with contextlib.suppress(OSError, ValueError):
                print(f"cairn: of the writes of this process {told}{why}. `cairn doctor` says where its agent should be.", file=sys.stderr)


_losses = _Losses()
_open_stores: "weakref.WeakSet[ContextStore]" = weakref.WeakSet()
_armed = False


def _flush_at_exit() -> None:
    """Once in each process that uses a store. Processes of ``multiprocessing`` end without what ``atexit`` knows, and forget what was registered before they began."""
    global _armed
    if _armed:
        return
    _armed = True
    atexit.register(_close_all)
    processes = sys.modules.get("multiprocessing.util")
    if processes is not None:
        processes.Finalize(None, _close_all, exitpriority=100)


def _close_all() -> None:
    for store in list(_open_stores):
        store._end()
    _losses.tell()


def _after_fork() -> None:
    global _armed, _losses
    _armed = False
    _losses = _Losses()
    for store in list(_open_stores):
        connection = store._connection
        store._begin()
        # The parent goes on with its own descriptor.
        if connection is not None:
            connection.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
