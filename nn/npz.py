"""Arrays and a JSON object as an uncompressed `.npz` that any NumPy reads, equal contents giving equal bytes.

One member an array and `metadata.npy`, the UTF-8 bytes of the JSON. Nothing is ever unpickled, and no size that the
file claims is believed before it is compared with what is expected.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn.errors import ArtifactError, SpecError
from nn.schema import JSON

METADATA = "metadata"
MAX_METADATA = 64 * 2**20
NPY_MAGIC = b"\x93NUMPY\x01\x00"


def dumps(metadata: JSON, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The file of these arrays by name, none of them called `metadata`."""
    text = json.dumps(metadata, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    members = {METADATA: np.frombuffer(text.encode(), np.uint8), **arrays}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in members.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
            # A ZipInfo made by hand carries the year 1980 and no clock.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return buffer.getvalue()


class Reader:
    """A file that `dumps` wrote, opened; `kind` is what error messages call it."""

    def __init__(self, archive: zipfile.ZipFile, size: int, kind: str) -> None:
        self._archive, self._size, self._kind = archive, size, kind
        members = archive.infolist()
        names = [member.filename for member in members]
        if len(set(names)) < len(names):
            raise ArtifactError(f"the {kind} has two members of one name")
        if f"{METADATA}.npy" not in names:
            raise ArtifactError(f"not {kind_with_article(kind)} of trainserve: it has no member {METADATA}.npy")
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
                raise ArtifactError(f"a member of the {kind} is compressed; trainserve stores them plain")
        if sum(member.file_size for member in members) > size:
            raise ArtifactError(f"the members of the {kind} claim more bytes than the file has")

    def metadata(self, limit: int = MAX_METADATA) -> JSON:
        size = self._archive.getinfo(f"{METADATA}.npy").file_size
        if size > limit:
            raise ArtifactError(f"expected at most {limit} bytes of metadata; got {size}")
        text = self._member(METADATA, np.dtype(np.uint8), None).tobytes()
        try:
            found = json.loads(text)
            # Python reads half a surrogate pair, which is no text, and would stumble when it has to write it.
            json.dumps(found, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            raise ArtifactError(f"{METADATA}.npy is not JSON in UTF-8") from None
        return found

    def arrays(self, expected: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> dict[str, NDArray[Any]]:
        """The arrays of these shapes and dtypes, by name; anything missing, besides or otherwise is refused."""
        wanted, found = {f"{name}.npy" for name in (METADATA, *expected)}, set(self._archive.namelist())
        if wanted != found:
            raise ArtifactError(
                f"the members are not those of what it describes: missing {sorted(wanted - found)[:5]}, "
                f"not known {sorted(name[:60] for name in found - wanted)[:5]}"
            )
        if sum(math.prod(shape) * dtype.itemsize for shape, dtype in expected.values()) > self._size:
            raise ArtifactError(f"what the {self._kind} describes is larger than the file")
        return {name: self._member(name, dtype, shape) for name, (shape, dtype) in expected.items()}

    def _member(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None) -> NDArray[Any]:
        """The array in a member, its header and size compared with what is expected; no shape: one axis."""
        content = self._archive.read(f"{name}.npy")
        start = len(NPY_MAGIC) + 2 + int.from_bytes(content[len(NPY_MAGIC) : len(NPY_MAGIC) + 2], "little")
        header = content[len(NPY_MAGIC) + 2 : start].decode("latin-1").rstrip()
        n_bytes = max(0, len(content) - start)
        if shape is None:
            shape = (n_bytes // dtype.itemsize,)
        # The header is a Python literal. What a stranger wrote is compared with NumPy's own words and never evaluated.
        expected = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
        if not content.startswith(NPY_MAGIC) or header != expected or n_bytes != math.prod(shape) * dtype.itemsize:
            raise ArtifactError(
                f"{name}.npy: expected .npy 1.0 with the header {expected}; got {header[:100]!a} and {n_bytes} bytes"
            )
        return np.frombuffer(content, dtype, offset=start).reshape(shape)


def kind_with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


@contextmanager
def opened(data: bytes, kind: str) -> Iterator[Reader]:
    """The file in `data`; whatever is wrong with it, there or in the body, becomes an `ArtifactError`."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield Reader(archive, len(data), kind)
    except ArtifactError:
        raise
    except SpecError as error:
        raise ArtifactError(f"the metadata of the {kind} cannot be used: {error}") from None
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, OverflowError, RuntimeError, MemoryError) as error:
        # zipfile raises all of these for files that are cut, patched or made to harm.
        raise ArtifactError(f"not a whole .npz file that trainserve wrote: {error}") from None
