"""Files made to harm or to mislead: each is written into a folder, and none may get in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

X = "float[1,1,8,8] x"
HEAD = '<ir_version: 10, opset_import: ["": 20, "evil": 1]>'
Model = onnx.ModelProto


def graph(body: str, image: str = X, rank: int = 4, **weights: Any) -> Model:
    """A model of opset 20 with the output y, whose dimensions are open."""
    dims = ",".join("abcd"[:rank])
    model = parser.parse_model(f"{HEAD} teacher ({image}) => (float[{dims}] y) {{ {body} }}")
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items())
    return model


def conv(shape: tuple[int, ...] = (4, 1, 3, 3), image: str = X, **attributes: Any) -> Model:
    model = graph("y = Conv (x, w)", image, w=np.ones(shape, np.float32))
    model.graph.node[0].attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return model


def edited(change: Callable[[Model], object], model: Model | None = None) -> Model:
    model = model or conv()
    change(model)
    return model


def external(folder: Path, location: str, **place: int) -> Model:
    """Weights in another file. Around `folder` lie a secret, a link to it of each kind, and a good file."""
    secret = folder.parent / "secret"
    secret.mkdir(exist_ok=True)
    for file in (secret / "w.bin", folder / "good.bin"):
        file.write_bytes(np.ones(36, np.float32).tobytes())
    (folder / "link.bin").symlink_to(secret / "w.bin")
    (folder / "folder").symlink_to(secret)
    os.link(secret / "w.bin", folder / "hard.bin")
    model = conv()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location.format(secret=secret), **place}.items():
        tensor.external_data.add(key=key, value=str(value))
    return model


def nested(depth: int) -> bytes:
    """Ifs in Ifs, put together by hand: protobuf does not write what is too deep for it to read."""

    def field(number: int, content: bytes) -> bytes:
        size, text = len(content), bytearray([number << 3 | 2])
        while size > 127:
            text.append(size & 127 | 128)
            size >>= 7
        text.append(size)
        return bytes(text) + content

    inner: bytes = graph("y = Relu (x)").graph.SerializeToString()
    for _ in range(depth):
        branch = onnx.AttributeProto(name="then_branch", type="GRAPH").SerializeToString() + field(6, inner)
        node = onnx.NodeProto(op_type="If", input=["c"], output=["y"]).SerializeToString() + field(5, branch)
        inner = onnx.GraphProto(name="g").SerializeToString() + field(1, node)
    rest: bytes = onnx.ModelProto(ir_version=10).SerializeToString()
    return field(7, inner) + rest


def functions(*texts: str, call: str) -> Model:
    model = graph(f"y = evil.{call} (x)")
    head = '<domain: "evil", opset_import: ["": 20, "evil": 1]>'
    model.functions.extend(parser.parse_function(f"{head} {text}") for text in texts)
    return model


def bomb() -> Model:
    """31 functions, each of which calls the one before twice: 2^30 nodes in 2 kB."""
    bodies = ["f0 (a) => (b) { b = Relu (a) }"]
    bodies += [f"f{k} (a) => (b) {{ t = evil.f{k - 1} (a)  b = evil.f{k - 1} (t) }}" for k in range(1, 31)]
    return functions(*bodies, call="f30")


def constant(body: str, **weights: Any) -> Model:
    """A network with a constant c that `body` computes."""
    lines = "k = Cast <to = 1> (c)  r = ReduceMax <keepdims = 0> (k)  s = Relu (x)  y = Add (s, r)"
    return graph(f"{body}  {lines}", **weights)


def doubling(line: str, times: int, last: str = "", **weights: Any) -> Model:
    lines = "  ".join(line.format(new=f"d{k + 1}", old=f"d{k}") for k in range(times))
    return graph(f"d0 = Relu (x)  {lines}  y = Relu (d{times}) {last}", **weights)


def whole(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


def initializer(model: Model) -> onnx.TensorProto:
    tensor: onnx.TensorProto = model.graph.initializer[0]
    return tensor


RAW: dict[str, bytes] = {
    "truncated": conv().SerializeToString()[: len(conv().SerializeToString()) * 6 // 10],
    "empty file": b"",
    "10 nested ifs": nested(10),
    "1000 nested ifs": nested(1000),
    "random bytes": np.random.default_rng(0).bytes(400),
}
EXTERNAL: dict[str, Callable[[Path], Model]] = {
    "parent folder": lambda f: external(f, "../secret/w.bin"),
    "absolute path": lambda f: external(f, "{secret}/w.bin"),
    "symbolic link": lambda f: external(f, "link.bin"),
    "hard link": lambda f: external(f, "hard.bin"),
    "link to a folder": lambda f: external(f, "folder/w.bin"),
    "file missing": lambda f: external(f, "nowhere.bin"),
    "offset beyond the end": lambda f: external(f, "good.bin", offset=1000, length=144),
    "negative length": lambda f: external(f, "good.bin", offset=0, length=-5),
    "length of 10^15": lambda f: external(f, "good.bin", offset=0, length=10**15),
    "more bytes than the weight has": lambda f: edited(
        lambda m: initializer(m).dims.__setitem__(0, 1), external(f, "good.bin")
    ),
    "device": lambda f: external(f, "/dev/zero"),
}
MODELS: dict[str, Callable[[], Model]] = {
    "cycle": lambda: graph("a = Add (x, b)  b = Relu (a)  y = Identity (b)"),
    "not sorted": lambda: graph("y = Relu (c)  c = Sigmoid (x)"),
    "weight missing": lambda: edited(lambda m: m.graph.ClearField("initializer")),
    "NaN weights": lambda: graph("y = Conv (x, w)", w=np.full((4, 1, 3, 3), np.nan, np.float32)),
    "weights beyond 2^60": lambda: graph("y = Conv (x, w)", w=np.full((4, 1, 3, 3), 1e30, np.float32)),
    "opset 999": lambda: edited(lambda m: setattr(m.opset_import[0], "version", 999)),
    "opset 0": lambda: edited(lambda m: setattr(m.opset_import[0], "version", 0)),
    "IR version 99": lambda: edited(lambda m: setattr(m, "ir_version", 99)),
    "unknown operator": lambda: graph("y = Bogus (x)"),
    "operator on text": lambda: graph('a = Resize (k, k)  y = RegexFullMatch <pattern = ".*"> (a)', k=whole(1, 2, 3)),
    "flag of 2^40": lambda: graph(
        "r = Flatten (x)  y = Gemm <transB = 1099511627776> (r, w)", rank=2, w=np.ones((64, 3), np.float32)
    ),
    "division by zero": lambda: graph("r = Relu (x)  y = Div (r, k)", k=np.zeros(1, np.float32)),
    "unknown domain": lambda: graph("y = evil.Bogus (x)"),
    "domain not imported": lambda: graph("y = worse.Bogus (x)"),
    "too few bytes": lambda: edited(lambda m: initializer(m).dims.__setitem__(0, 1000)),
    "negative dimension": lambda: edited(lambda m: initializer(m).dims.__setitem__(0, -4)),
    "2^80 elements": lambda: edited(lambda m: initializer(m).dims.__setitem__(slice(0, 2), [2**40, 2**40])),
    "empty input": lambda: conv(image="float[0,1,8,8] x"),
    "no output channels": lambda: conv((0, 1, 3, 3)),
    "stride 0": lambda: conv(strides=[0, 0]),
    "negative pads": lambda: conv(pads=[-9, 0, 0, 0]),
    "three groups of one channel": lambda: conv(group=3),
    "attribute of another type": lambda: conv(dilations=[1.5, 2.0]),
    "other channels": lambda: conv((4, 3, 3, 3)),
    "made twice": lambda: graph("y = Relu (x)  y = Sigmoid (x)"),
    "two weights of one name": lambda: edited(lambda m: m.graph.initializer.append(initializer(m))),
    "output never made": lambda: graph("z = Relu (x)"),
    "output shape is a lie": lambda: edited(
        lambda m: m.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [7, 7]))
    ),
    "output listed twice": lambda: edited(lambda m: m.graph.output.append(m.graph.output[0])),
    "function that calls itself": lambda: functions("f (a) => (b) { b = evil.f (a) }", call="f"),
    "function bomb": bomb,
    "attribute of a function": lambda: edited(
        lambda m: m.graph.node[0].attribute.append(onnx.AttributeProto(name="group", type="INT", ref_attr_name="g"))
    ),
    "escape sequence in a name": lambda: edited(lambda m: setattr(m.graph.node[0], "name", "\x1b[2J\nall is well")),
    "name of a megabyte": lambda: edited(lambda m: setattr(m.graph.node[0], "name", "n" * 2**20)),
    "reshape to fewer elements": lambda: graph("r = Relu (x)  y = Reshape (r, s)", rank=2, s=whole(1, 4)),
    "kernel larger than the image": lambda: conv((4, 1, 3, 30)),
    # constants that would fill the memory, or keep the processor busy for hours
    "constant of 10^11 elements": lambda: constant("c = ConstantOfShape (s)", s=whole(10**6, 10**5)),
    "tile": lambda: constant("c = Tile (k1, s)", k1=whole(1, 2, 3), s=whole(10**9)),
    "expand": lambda: constant("c = Expand (k1, s)", k1=whole(1), s=whole(10**6, 10**6)),
    "range": lambda: constant("c = Range (a, b, d)", a=np.int64(0), b=np.int64(10**12), d=np.int64(1)),
    "one-hot": lambda: constant("c = OneHot (k1, s, v)", k1=whole(*range(9)), s=np.int64(10**9), v=whole(0, 1)),
    "many constants of 100 MB": lambda: constant(
        "  ".join(f"c{k} = ConstantOfShape (s)  m{k} = ReduceMax <keepdims = 0> (c{k})" for k in range(40))
        + f" c = Sum ({', '.join(f'm{k}' for k in range(40))})",
        s=whole(5000, 5000),
    ),
    "doubling shapes": lambda: constant(
        "  ".join(f"c{k + 1} = Concat <axis = 0> (c{k}, c{k})" for k in range(34)) + "  c = Identity (c34)",
        c0=whole(1),
    ),
    "nonzero": lambda: constant(
        "o = ConstantOfShape (s)  n = Not (e)  c = NonZero (o)", s=whole(256, 256, 256), e=np.array(True)
    ),
    "convolution of constants": lambda: constant(
        "c = Conv (k1, w)", k1=np.ones((1, 1, 500, 500), np.float32), w=np.ones((1, 1, 100, 100), np.float32)
    ),
    "product of large constants": lambda: constant("o = ConstantOfShape (s)  c = MatMul (o, o)", s=whole(4000, 4000)),
    "sums of everything with everything": lambda: constant('c = Einsum <equation = "a,b,c,d,e->"> (w, w, w, w, w)',
                                                           w=np.ones(1000, np.float32)),
    "4000 additions of constants": lambda: constant(
        "  ".join(f"c{k + 1} = Add (c{k}, c0)" for k in range(4000)) + "  c = Identity (c4000)", c0=whole(1)
    ),
    # networks that would
    "image of 10^9 pixels": lambda: conv(image="float[1,1,30000,40000] x"),
    "axis of 10^9": lambda: conv(image="float[1,1,1000000000,3] x"),
    "10^8 channels": lambda: graph("r = Relu (x)  y = Relu (r)", "float[1,100000000,1,1] x"),
    "pads of 10^10": lambda: conv(pads=[10**10, 0, 10**10, 0]),
    "pads of 10^8": lambda: graph("r = Relu (x)  y = Pad (r, q)", q=whole(0, 0, 10**8, 0, 0, 0, 0, 0)),
    "stride of 10^8": lambda: graph(
        "y = ConvTranspose <strides = [100000000, 1]> (x, w)", w=np.ones((1, 1, 3, 3), np.float32)
    ),
    "kernel of 10^5": lambda: conv(kernel_shape=[10**5, 10**5]),
    "pooling windows of 4000": lambda: graph(
        "r = Relu (x)  y = MaxPool <kernel_shape = [4000, 4000]> (r)", "float[1,1,5500,5500] x"
    ),
    "resize by 10^9": lambda: graph("r = Relu (x)  y = Resize (r, , s)", s=np.array([1, 1, 1e9, 1], np.float32)),
    "resize by infinity": lambda: graph("y = Resize (x, , s)", s=np.array([1, 1, np.inf, 1], np.float32)),
}
UNSUPPORTED: dict[str, Callable[[], Model]] = {  # valid, but not for this compiler
    "2^30 branches into one sum": lambda: doubling("{new} = Add ({old}, {old})", 30),
    "2^17 branches into one concatenation": lambda: doubling("{new} = Concat <axis = 1> ({old}, {old})", 17),
    "nothing spikes": lambda: graph("y = Sigmoid (x)"),
}


def write(name: str, folder: Path) -> Path:
    """Put the file of that name into `folder`."""
    file = folder / "teacher.onnx"
    if name in RAW:
        file.write_bytes(RAW[name])
    elif name in EXTERNAL:
        file.write_bytes(EXTERNAL[name](folder).SerializeToString())
    else:
        file.write_bytes({**MODELS, **UNSUPPORTED}[name]().SerializeToString())
    return file
