"""What a file in another format tells of the version that it was made from."""

from __future__ import annotations

from dataclasses import dataclass

from nn.model import Metadata
from nn.version import __version__
from service.domain import JSONObject
from service.registry import info

NEEDED = (
    "ONNX and safetensors need the extra `export`: pip install 'trainserve[export]'; "
    "in a checkout: .venv/bin/pip install onnx safetensors"
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A version of a model, with the digest of its artifact."""

    model: str
    version: int
    sha256: str

    def told(self, metadata: Metadata) -> JSONObject:
        """The version, and what the API tells of its metadata. Equal versions give equal text."""
        own = {"model": self.model, "version": self.version, "sha256": self.sha256, "trainserve": __version__}
        return own | info(metadata)
