"""The archive: Avro object container files below one URL, payloads of `tracks` byte for byte, a partition a file.

A file is named by the first and last offset in it. It is written aside, synced and then renamed; only then the position
moves on. A crash between can leave two files that overlap: readers take each coordinate once.
"""

import asyncio
import contextlib
import glob
import io
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fastavro
import fsspec
import msgspec

from processors.runner.failures import Unavailable
from schemas.events import TrackedPayload

#: Nobody writes a file for so long, in seconds.
LEFT_AFTER_S = 3600
#: Bytes that are compressed together.
BLOCK_BYTES = 256_000
SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Tracked",
        "namespace": "headwater",
        "fields": [
            {"name": "partition", "type": "int"},
            {"name": "offset", "type": "long"},
            {"name": "received_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "key", "type": ["null", "bytes"]},
            {"name": "hops", "type": "int"},
            {"name": "bridge", "type": "string"},
            {"name": "body", "type": ["null", "bytes"]},
            {"name": "replay", "type": "bytes", "default": ""},
            {"name": "client", "type": "bytes", "default": ""},
        ],
    }
)


class Archive:
    """Writes and reads archive files below a folder (`file:///...`) or a bucket (any URL that fsspec knows)."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._folder = _folder_of(url) if url.startswith("file:") or "://" not in url else None

    async def write(self, payloads: Sequence[TrackedPayload]) -> None:
        """Keep these payloads: consecutive records of one partition. Returns when durable; raises Unavailable."""
        first, last = payloads[0], payloads[-1]
        name = f"tracks/{first.partition}/{first.offset:020d}-{last.offset:020d}.avro"
        try:
            await asyncio.to_thread(self._write, name, payloads)
        except Exception as error:
            # Whatever it is, a full disk or a bucket's refusal, it is not about the payloads: they are bytes.
            raise Unavailable(f"archive {type(error).__name__}") from error

    def _write(self, name: str, payloads: Sequence[TrackedPayload]) -> None:
        data = _encode(payloads)
        if self._folder is not None:
            _write_durably(self._folder / name, data)
        else:
            with fsspec.open(f"{self._url}/{name}", "wb") as file:
                file.write(data)

    def _files(self, partition: int | str = "*") -> tuple[Any, list[str]]:
        """The file system, and the paths of a partition's files, or of all, in order."""
        if self._folder is not None:
            # Not by fsspec, which takes what is special to it in the folder's own name for a pattern or an escape.
            found = self._folder.glob(f"tracks/{partition}/*.avro")
            return fsspec.filesystem("file"), sorted(map(str, found))
        system, root = fsspec.core.url_to_fs(self._url)
        system.invalidate_cache()
        return system, sorted(system.glob(f"{glob.escape(root)}/tracks/{partition}/*.avro"))

    def read(self) -> Iterator[TrackedPayload]:
        """Every payload once, by partition and offset."""
        for partition in self.partitions():
            yield from self.read_partition(partition)

    def partitions(self) -> list[int]:
        """The partitions that it holds, as origins count them."""
        return sorted({int(path.split("/")[-2]) for path in self._files()[1]})

    def read_partition(self, partition: int, after: int = -1) -> Iterator[TrackedPayload]:
        """The payloads of a partition above this offset, each once, in order."""
        system, paths = self._files(partition)
        for path in paths:
            if int(path.removesuffix(".avro").rsplit("-", 1)[1]) <= after:
                continue
            with system.open(path, "rb") as file:
                row: Any
                for row in fastavro.reader(file):
                    if row["offset"] > after:
                        after = row["offset"]
                        yield TrackedPayload(**row)

    def rewrite(self, changed: Mapping[tuple[int, int], Callable[[bytes], bytes | None]]) -> int:
        """Change the bodies of the payloads at these places (partition, offset), or leave them out where that makes
        None; how many files were written anew. Blocking; each file is whole at any moment."""
        if self._folder is not None:
            _remove_left(self._folder)
        written = 0
        for partition in sorted({partition for partition, _ in changed}):
            offsets = sorted(offset for number, offset in changed if number == partition)
            system, paths = self._files(partition)
            for path in paths:
                first, last = map(int, path.removesuffix(".avro").rsplit("/", 1)[1].split("-"))
                if any(first <= offset <= last for offset in offsets):
                    self._rewrite_file(system, path, changed)
                    written += 1
        return written

    def _rewrite_file(
        self, system: Any, path: str, changed: Mapping[tuple[int, int], Callable[[bytes], bytes | None]]
    ) -> None:
        kept: list[TrackedPayload] = []
        with system.open(path, "rb") as file:
            row: Any
            for row in fastavro.reader(file):
                payload = TrackedPayload(**row)
                change = changed.get((payload.partition, payload.offset))
                body = change(payload.body) if change and payload.body is not None else payload.body
                if change is None or body is not None:
                    client = payload.client if change is None else b""
                    kept.append(msgspec.structs.replace(payload, body=body, client=client))
        if self._folder is not None:
            _write_durably(Path(path), _encode(kept))
        else:
            with system.open(path, "wb") as file:
                file.write(_encode(kept))

    def last(self, partition: int) -> TrackedPayload:
        """The last payload of a partition that it holds. Raises LookupError."""
        system, paths = self._files(partition)
        if not paths:
            raise LookupError(f"the archive has no partition {partition}")
        paths.sort(key=lambda path: path.rsplit("-", 1)[1])
        for path in reversed(paths):  # whoever was erased may have been all of a file
            with system.open(path, "rb") as file:
                found: list[Any] = [*fastavro.reader(file)]
            if found:
                return TrackedPayload(**found[-1])
        raise LookupError(f"the archive has nothing of partition {partition}")


def _folder_of(url: str) -> Path:
    """The folder of a file's URL, or of a path. One that lies where the URL says literally is used where it is: as
    people wrote it, or as we once did, with %20 in the folder's name."""
    path = re.sub("^file:(//[^/]*)?", "", url)
    literal, decoded = Path(path), Path(unquote(path) if path != url else path)
    return literal if literal.exists() and not decoded.exists() else decoded


def _encode(payloads: Sequence[TrackedPayload]) -> bytes:
    rows = [
        {
            "partition": payload.partition,
            "offset": payload.offset,
            "received_at": payload.received_at,
            "key": payload.key,
            "hops": payload.hops,
            "bridge": payload.bridge,
            "body": payload.body,
            "replay": payload.replay,
            "client": payload.client,
        }
        for payload in payloads
    ]
    buffer = io.BytesIO()
    # Snappy in large blocks takes a sixth of deflate's time, for a fifth more bytes; readers of Avro know both.
    fastavro.writer(buffer, SCHEMA, rows, codec="snappy", sync_interval=BLOCK_BYTES)
    return buffer.getvalue()


def _remove_left(folder: Path) -> None:
    """What writers that were killed have left: a file that is being written is younger."""
    for path in folder.glob("tracks/*/*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > LEFT_AFTER_S:
                path.unlink()


def _write_durably(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)  # it holds payloads, and a full disk needs the place
        raise
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):  # they may be new, too
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
