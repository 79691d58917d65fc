"""A model as ONNX: the whole way from raw samples to answers in one graph, in the dtype of its network.

The graph takes `inputs`, `(N, …)`: intensities in [0, 1] of pictures, rows of numbers, or rows of a table as float64 in
which a category is its number in the column's list and NaN a missing cell. It gives `probabilities` or `values`, what
`Model.predict` gives. Only operators are used that onnxruntime computes in float64 as well as in float32.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn.activations import GELU_CUBIC, GELU_SCALE, LEAK
from nn.convolution import AveragePool2D, Conv2D, GlobalAveragePool2D, MaxPool2D
from nn.features import Column, Features, NumberFeatures, PixelFeatures
from nn.layers import Dense, Dropout, DType, Elementwise, Flatten, Shape, is_picture
from nn.model import Model
from nn.normalization import BatchNorm
from nn.spec import ActivationName
from nn.version import __version__
from service.errors import InvalidInput, ServiceError
from service.exports.source import NEEDED, Source

try:
    from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
except ImportError:
    raise ServiceError(NEEDED) from None

OPSET, IR_VERSION = 17, 8  # onnxruntime has had them since 2022
MAX_BYTES = 2**31 - 2**20  # a protobuf message ends at 2 GiB; a little of it is for what is not weights
FLOAT64: DType = np.dtype(np.float64)


def dumps(model: Model, source: Source) -> bytes:
    """The ONNX file of a model; equal models give equal bytes. Raises `InvalidInput` where it would be too large."""
    size = sum(array.nbytes for array in model.network.arrays.values())
    if size > MAX_BYTES:
        raise InvalidInput(
            f"an ONNX file holds at most 2 GiB, and the weights of this model take {size:,} bytes: "
            "export it to safetensors"
        )
    model = model.frozen()
    network, features = model.network, model.metadata.features
    graph = _Graph(network.dtype)
    x = _encode(graph, features, "inputs")
    if is_picture(network.input_shape):
        graph.place = "pictures"
        x = graph.add("Reshape", x, graph.whole([0, *network.input_shape]))
        x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    for index, layer in network.layers.items():
        graph.place = f"layers.{index}"
        x = _WRITERS[type(layer)](graph, layer, x)
    graph.place = "output"
    x = _ACTIVATIONS[network.output](graph, x)
    name = "probabilities" if model.metadata.task.labels else "values"
    graph.nodes.append(helper.make_node("Identity", [x], [name], name))
    answers = helper.make_tensor_value_info(name, _kind(network.dtype), ["N", model.n_outputs])
    samples = _samples(features, network.dtype)
    made = helper.make_model(
        helper.make_graph(graph.nodes, source.model, [samples], [answers], graph.constants),
        producer_name="trainserve",
        producer_version=__version__,
        model_version=source.version,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    told = source.told(model.metadata)
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}
    helper.set_model_props(made, text)
    return bytes(made.SerializeToString(deterministic=True))


class _Graph:
    """Nodes and constants in the order in which they come, named after the `place` in the model that they belong to.

    What adds to it takes and gives the names of tensors.
    """

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype
        self.place = "inputs"
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{self.place}.{operator}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def constant(self, array: NDArray[Any]) -> str:
        name = f"{self.place}.constant.{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def number(self, value: float) -> str:
        return self.constant(np.array(value, self.dtype))

    def whole(self, values: Sequence[int] | NDArray[np.intp]) -> str:
        return self.constant(np.array(values, np.int64))


def _kind(dtype: DType) -> int:
    return int(helper.np_dtype_to_tensor_dtype(dtype))


def _samples(features: Features, dtype: DType) -> ValueInfoProto:
    """What the graph takes, and in words what that means."""
    n_numbers = features.n_inputs
    if isinstance(features, PixelFeatures):
        meaning = f"pictures {features.height} × {features.width}, row by row: intensities in [0, 1], bright on black"
    elif isinstance(features, NumberFeatures):
        meaning = "rows of numbers"
    else:
        dtype, n_numbers = FLOAT64, len(features.columns)
        meaning = "table rows, NaN where a cell is missing: " + ", ".join(map(_column, features.columns))
    return helper.make_tensor_value_info("inputs", _kind(dtype), ["N", n_numbers], meaning)


def _column(column: Column) -> str:
    words = ", ".join(f"{number} = {word}" for number, word in enumerate(column.categories))
    return f"{column.name} ({words})" if words else column.name


def _encode(graph: _Graph, features: Features, x: str) -> str:
    """What `features.encode` does."""
    if isinstance(features, PixelFeatures):
        return graph.add("Add", x, graph.number(features.offset)) if features.offset else x
    if isinstance(features, NumberFeatures):
        return x
    # One column of a table is one input of the network or, of categories, several: each input has a source, and is
    # either a number of its own or a yes for one code.
    columns = features.columns
    source = np.repeat(np.arange(len(columns)), [column.n_inputs for column in columns])
    code = np.concatenate([np.arange(column.n_inputs, dtype=np.float64) for column in columns])
    seen = np.concatenate([np.array(column.seen or [True] * column.n_inputs) for column in columns])
    is_category = np.array([bool(columns[index].categories) for index in source])
    mean, deviation = (np.array([getattr(columns[i], name) for i in source]) for name in ("mean", "deviation"))
    fill = graph.constant(np.array([column.fill for column in columns]))
    filled = graph.add("Where", graph.add("IsNaN", x), fill, x)
    cells = graph.add("Gather", filled, graph.whole(source), axis=1)
    distances = graph.add("Sub", cells, graph.constant(mean))
    numbers = graph.add("Div", distances, graph.constant(deviation))
    hits = graph.add("And", graph.add("Equal", cells, graph.constant(code)), graph.constant(seen))
    words = graph.add("Cast", hits, to=_kind(FLOAT64))
    encoded = graph.add("Where", graph.constant(is_category), words, numbers)
    return graph.add("Cast", encoded, to=_kind(graph.dtype))


def _dense(graph: _Graph, layer: Dense, x: str) -> str:
    return graph.add("Gemm", x, graph.constant(layer.weight), graph.constant(layer.bias))


def _conv2d(graph: _Graph, layer: Conv2D, x: str) -> str:
    kernel, stride = layer.spec.kernel_size, layer.spec.stride
    height, width, _ = layer.input_shape
    out_height, out_width, filters = layer.output_shape
    bottom = max(0, (out_height - 1) * stride + kernel - height - layer.top)
    right = max(0, (out_width - 1) * stride + kernel - width - layer.left)
    weight = layer.weight.transpose(0, 3, 1, 2)
    if graph.dtype != FLOAT64:
        pads = [layer.top, layer.left, bottom, right]
        inputs = x, graph.constant(weight), graph.constant(layer.bias)
        return graph.add("Conv", *inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)
    padded = graph.add("Pad", x, graph.whole([0, 0, layer.top, layer.left, 0, 0, bottom, right]))
    sides = height + layer.top + bottom, width + layer.left + right
    fields = _fields(graph, padded, sides, kernel, stride, layer.output_shape)
    kernels = graph.constant(weight.reshape(*weight.shape[:2], -1))
    sums = graph.add("Einsum", fields, kernels, equation="ncpk,fck->nfp")
    sums = graph.add("Add", sums, graph.constant(layer.bias[:, np.newaxis]))
    return graph.add("Reshape", sums, graph.whole([0, filters, out_height, out_width]))


def _fields(graph: _Graph, x: str, sides: tuple[int, int], kernel: int, stride: int, output_shape: Shape) -> str:
    """The square fields of pictures, `(N, channels, out_height · out_width, kernel · kernel)`.

    For float64, in which onnxruntime has neither convolution nor mean pooling.
    """
    height, width = sides
    rows, columns = (stride * np.arange(n)[:, np.newaxis] + np.arange(kernel) for n in output_shape[:2])
    places = rows[:, np.newaxis, :, np.newaxis] * width + columns[np.newaxis, :, np.newaxis, :]
    flat = graph.add("Reshape", x, graph.whole([0, 0, height * width]))
    return graph.add("Gather", flat, graph.whole(places.reshape(-1, kernel * kernel)), axis=2)


def _max_pool2d(graph: _Graph, layer: MaxPool2D, x: str) -> str:
    size = layer.spec.pool_size
    return graph.add("MaxPool", x, kernel_shape=[size] * 2, strides=[layer.spec.stride or size] * 2)


def _average_pool2d(graph: _Graph, layer: AveragePool2D, x: str) -> str:
    size = layer.spec.pool_size
    stride = layer.spec.stride or size
    if graph.dtype != FLOAT64:
        return graph.add("AveragePool", x, kernel_shape=[size] * 2, strides=[stride] * 2)
    height, width, channels = layer.input_shape
    fields = _fields(graph, x, (height, width), size, stride, layer.output_shape)
    means = graph.add("ReduceMean", fields, axes=[3], keepdims=0)
    return graph.add("Reshape", means, graph.whole([0, channels, *layer.output_shape[:2]]))


def _global_average_pool2d(graph: _Graph, layer: GlobalAveragePool2D, x: str) -> str:
    return graph.add("ReduceMean", x, axes=[2, 3], keepdims=0)


def _flatten(graph: _Graph, layer: Flatten, x: str) -> str:
    return graph.add("Flatten", graph.add("Transpose", x, perm=[0, 2, 3, 1]))


def _batch_norm(graph: _Graph, layer: BatchNorm, x: str) -> str:
    factor, summand = (graph.constant(numbers.reshape(layer.aligned)) for numbers in layer.factors())
    return graph.add("Add", graph.add("Mul", x, factor), summand)


def _elementwise(graph: _Graph, layer: Elementwise, x: str) -> str:
    return _ACTIVATIONS[layer.spec.type](graph, x)


_WRITERS: dict[type, Callable[[_Graph, Any, str], str]] = {
    Dense: _dense,
    Conv2D: _conv2d,
    MaxPool2D: _max_pool2d,
    AveragePool2D: _average_pool2d,
    GlobalAveragePool2D: _global_average_pool2d,
    Flatten: _flatten,
    BatchNorm: _batch_norm,
    Elementwise: _elementwise,
    Dropout: lambda graph, layer, x: x,
}


def _leaky_relu(graph: _Graph, x: str) -> str:
    return graph.add("Max", x, graph.add("Mul", x, graph.number(LEAK)))


def _elu(graph: _Graph, x: str) -> str:
    below = graph.add("Exp", graph.add("Min", x, graph.number(0)))
    return graph.add("Max", x, graph.add("Sub", below, graph.number(1)))


def _gelu(graph: _Graph, x: str) -> str:
    inner = graph.add("Mul", graph.add("Mul", x, x), graph.number(GELU_SCALE * GELU_CUBIC))
    inner = graph.add("Mul", graph.add("Add", inner, graph.number(GELU_SCALE)), x)
    share = graph.add("Add", graph.add("Tanh", inner), graph.number(1))
    return graph.add("Mul", graph.add("Mul", share, x), graph.number(0.5))


def _softplus(graph: _Graph, x: str) -> str:
    rest = graph.add("Exp", graph.add("Neg", graph.add("Abs", x)))
    rest = graph.add("Log", graph.add("Add", rest, graph.number(1)))
    return graph.add("Add", graph.add("Max", x, graph.number(0)), rest)


_ACTIVATIONS: dict[ActivationName, Callable[[_Graph, str], str]] = {
    "relu": lambda graph, x: graph.add("Relu", x),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "softplus": _softplus,
    "tanh": lambda graph, x: graph.add("Tanh", x),
    "sigmoid": lambda graph, x: graph.add("Sigmoid", x),
    "softmax": lambda graph, x: graph.add("Softmax", x, axis=1),
    "identity": lambda graph, x: x,
}
