"""PyTorch, eager, as fast as its own means make it without another compiler: fused optimizer, channels last."""

from __future__ import annotations

from functools import partial

from benchmarks.contenders import pytorch

epochs = partial(pytorch.epochs, tuned=True)
