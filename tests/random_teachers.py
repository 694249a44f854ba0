"""Random small teachers for property tests: every operator and geometry that `lower` knows, 1D to 3D."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper


@dataclass
class Builder:
    """An ONNX graph under construction; `shapes` holds (C, *spatial) of every value."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    activation: str = "Relu"

    def constant(self, array: np.ndarray[Any, Any]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, *shape: int) -> str:
        fan = max(1, int(np.prod(shape[1:])))
        return self.constant((self.rng.normal(size=shape) * np.sqrt(2 / fan)).astype(np.float32))

    def node(self, op: str, inputs: list[str], shape: tuple[int, ...], **attrs: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"n_{name}", **attrs))
        self.shapes[name] = shape
        return name

    def conv(
        self, x: str, cout: int, kernel: list[int], stride: list[int], dilation: list[int], pads: list[int], group: int
    ) -> str | None:
        cin, *spatial = self.shapes[x]
        rank = len(spatial)
        out = [
            (n + pads[a] + pads[rank + a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1
            for a, n in enumerate(spatial)
        ]
        if min(out) < 1:
            return None
        w = self.normal(cout, cin // group, *kernel)
        b = self.constant(self.rng.normal(size=cout).astype(np.float32) * np.float32(0.1))
        return self.node(
            "Conv", [x, w, b], (cout, *out), kernel_shape=kernel, strides=stride, dilations=dilation, pads=pads,
            group=group,
        )

    def conv_transpose(
        self, x: str, cout: int, kernel: list[int], stride: list[int], pads: list[int], extra: list[int], group: int
    ) -> str | None:
        cin, *spatial = self.shapes[x]
        rank = len(spatial)
        out = [
            stride[a] * (n - 1) + extra[a] + kernel[a] - pads[a] - pads[rank + a] for a, n in enumerate(spatial)
        ]
        if min(out) < 1:
            return None
        w = self.normal(cin, cout // group, *kernel)
        b = self.constant(self.rng.normal(size=cout).astype(np.float32) * np.float32(0.1))
        return self.node(
            "ConvTranspose", [x, w, b], (cout, *out), kernel_shape=kernel, strides=stride, pads=pads,
            output_padding=extra, group=group,
        )

    def pool(
        self, op: str, x: str, kernel: list[int], stride: list[int], pads: list[int], ceil: int = 0, **attrs: Any
    ) -> str | None:
        channels, *spatial = self.shapes[x]
        rank = len(spatial)
        over = [n + pads[a] + pads[rank + a] - kernel[a] for a, n in enumerate(spatial)]
        if min(over) < 0:
            return None
        out = [-(-n // s) + 1 if ceil else n // s + 1 for n, s in zip(over, stride, strict=True)]
        if any((m - 1) * s >= n + p for m, s, n, p in zip(out, stride, spatial, pads[:rank], strict=True)):
            return None  # a window behind the input: onnx and onnxruntime disagree about it
        overhang = [(n - 1) * s - m for n, s, m in zip(out, stride, over, strict=True)]
        if op == "MaxPool" and any(h + p >= k for h, p, k in zip(overhang, pads[rank:], kernel, strict=True)):
            return None  # refused
        geometry = {"kernel_shape": kernel, "strides": stride, "pads": pads, "ceil_mode": ceil}
        return self.node(op, [x], (channels, *out), **geometry, **attrs)

    def upsample(self, x: str, factor: int) -> str:
        channels, *spatial = self.shapes[x]
        scales = self.constant(np.array([1, 1, *[factor] * len(spatial)], np.float32))
        return self.node(
            "Resize", [x, "", scales], (channels, *(n * factor for n in spatial)), mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )

    def resize(self, x: str, sizes: list[int], **attrs: Any) -> str:
        channels = self.shapes[x][0]
        target = self.constant(np.array([1, channels, *sizes], np.int64))
        return self.node("Resize", [x, "", "", target], (channels, *sizes), **attrs)

    def pad(self, x: str, amounts: list[int], mode: str) -> str:
        """amounts: before each spatial axis, then after."""
        channels, *spatial = self.shapes[x]
        rank = len(spatial)
        pads = self.constant(np.array([0, 0, *amounts[:rank], 0, 0, *amounts[rank:]], np.int64))
        sizes = [n + a + b for n, a, b in zip(spatial, amounts[:rank], amounts[rank:], strict=True)]
        return self.node("Pad", [x, pads], (channels, *sizes), mode=mode)

    def relu(self, x: str) -> str:
        """A ReLU, or what stands for it in this teacher: ReLU6, LeakyRelu, PRelu."""
        shape = self.shapes[x]
        match self.activation:
            case "Clip":
                bounds = [self.constant(np.array(v, np.float32)) for v in (0, 0.7)]
                return self.node("Clip", [x, *bounds], shape)
            case "LeakyRelu":
                return self.node("LeakyRelu", [x], shape, alpha=0.2)
            case "PRelu":
                slope = np.linspace(0.05, 1, shape[0], dtype=np.float32).reshape(-1, *(1,) * (len(shape) - 1))
                return self.node("PRelu", [x, self.constant(slope)], shape)
        return self.node("Relu", [x], shape)

    def model(self, *outputs: str) -> onnx.ModelProto:
        """With the inputs called x..., and those of `outputs` that are none."""

        def info(name: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *self.shapes[name]])

        inputs = [name for name in self.shapes if name.startswith("x")]
        results = [name for name in dict.fromkeys(outputs) if name not in inputs]
        graph = helper.make_graph(
            self.nodes, "teacher", [*map(info, inputs)], [*map(info, results)], self.weights
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@st.composite
def teachers(draw: st.DrawFn) -> onnx.ModelProto:
    """A teacher of two to five layers, with all that `lower` knows before, between and after them."""
    if draw(st.integers(0, 5)) == 0:
        return draw(dense_teachers())
    rank = draw(st.integers(1, 3))
    build = Builder(np.random.default_rng(draw(st.integers(0, 2**16))))
    build.activation = draw(st.sampled_from(["Relu", "Relu", "Relu", "Clip", "LeakyRelu", "PRelu"]))
    size = {1: (6, 14), 2: (5, 9), 3: (4, 6)}[rank]
    build.shapes["x"] = (draw(st.integers(1, 2)), *(draw(st.integers(*size)) for _ in range(rank)))

    def each(low: int, high: int) -> list[int]:
        return [draw(st.integers(low, high)) for _ in range(rank)]

    def conv(x: str) -> str:
        group: int = draw(st.sampled_from([1, 1, 1, build.shapes[x][0]]))
        cout = draw(st.sampled_from([2, 4])) * group
        kernel, stride = each(1, 3), each(1, 2)
        dilation = each(1, 2) if draw(st.booleans()) else [1] * rank
        pads = [draw(st.integers(0, 2)) for _ in range(2 * rank)]
        made = build.conv(x, cout, kernel, stride, dilation, pads, group)
        return made or build.conv(x, cout, [1] * rank, [1] * rank, [1] * rank, [0] * 2 * rank, group) or x

    def slices(x: str) -> str:
        """A part of the channels, and of the first axis if it is long."""
        channels, *spatial = build.shapes[x]
        start = [draw(st.integers(0, channels - 1)), int(spatial[0] > 2)]
        stop = [draw(st.integers(start[0] + 1, channels)), spatial[0]]
        ends = [build.constant(np.array(v, np.int64)) for v in (start, stop, [1, 2])]
        return build.node("Slice", [x, *ends], (stop[0] - start[0], stop[1] - start[1], *spatial[1:]))

    source = "x"
    start = draw(st.sampled_from(["plain", "plain", "sigmoid", "maxpool", "two inputs"]))
    if start == "sigmoid":
        source = build.node("Sigmoid", ["x"], build.shapes["x"])
    elif start == "maxpool":
        source = build.pool("MaxPool", "x", [2] * rank, [1] * rank, [0] * 2 * rank) or "x"
    elif start == "two inputs":
        build.shapes["x2"] = (1, *build.shapes["x"][1:])
        source = build.node("Concat", ["x", "x2"], (build.shapes["x"][0] + 1, *build.shapes["x"][1:]), axis=1)
    x = hidden = build.relu(conv(source))
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from([
            "conv", "maxpool", "avgpool", "avgpool-relay", "upsample", "up-linear", "up-general", "concat", "residual",
            "slice", "up-slice", "shuffle", "branches", "input again", "scale", "twice", "resize", "resize",
            "pad", "depthwise",
        ]))
        channels, *spatial = build.shapes[x]
        ones = [1] * rank
        if kind == "maxpool":
            kernel = each(1, 3)
            pads = [draw(st.integers(0, k - 1)) for k in kernel] * 2
            x = build.pool("MaxPool", x, kernel, each(1, 3), pads, draw(st.integers(0, 1))) or x
        elif kind == "avgpool":
            k = [min(2, n) for n in spatial]
            x = build.relu(conv(build.pool("AveragePool", x, k, k, [0] * 2 * rank) or x))
        elif kind == "avgpool-relay":
            kernel = each(1, 3)
            pads = [draw(st.integers(0, k - 1)) for k in kernel * 2]
            pooled = build.pool("AveragePool", x, kernel, each(1, 3), pads, draw(st.integers(0, 1)),
                                count_include_pad=draw(st.integers(0, 1)))
            x = build.relu(conv(pooled or x))
        elif kind == "resize":
            modes = [{"mode": "linear"}, {"mode": "nearest", "nearest_mode": "floor"}]
            if rank == 2 and max(spatial) < 10:
                modes.append({"mode": "cubic"})
            attrs = draw(st.sampled_from(modes))
            cubic = attrs["mode"] == "cubic"  # other factors than 2 have no small denominators
            how = ["half_pixel", "pytorch_half_pixel", "asymmetric"] + ["align_corners"] * (not cubic)
            attrs["coordinate_transformation_mode"] = draw(st.sampled_from(how))
            x = build.resize(x, [2 * n for n in spatial] if cubic else each(1, {1: 16, 2: 11, 3: 7}[rank]), **attrs)
            x = build.relu(conv(x)) if draw(st.booleans()) else build.relu(x)
        elif kind == "pad":
            mode = draw(st.sampled_from(["reflect", "edge", "wrap", "constant"]))
            x = build.pad(x, [draw(st.integers(0, min(2, n - 1))) for n in spatial * 2], mode)
            x = build.relu(conv(x)) if draw(st.booleans()) else x
        elif kind == "depthwise":
            cout = channels * draw(st.integers(1, 2))
            made = build.conv(x, cout, each(1, 3), each(1, 2), ones, [1] * 2 * rank, channels)
            x = build.relu(made or x)
        elif kind == "upsample" and max(spatial) < 10:
            x = build.relu(conv(build.upsample(x, draw(st.integers(2, 3)))))
        elif kind == "up-linear" and max(spatial) < 10:
            up = build.conv_transpose(x, 3, [2] * rank, [2] * rank, [0] * 2 * rank, [0] * rank, 1)
            assert up is not None
            width = draw(st.sampled_from([1, 3]))
            made = build.conv(up, 4, [width] * rank, ones, ones, [width // 2] * 2 * rank, 1)
            x = build.relu(made or up)
        elif kind == "up-general" and max(spatial) < 10:
            stride = each(1, 2)
            extra = [draw(st.integers(0, s - 1)) for s in stride]
            group = draw(st.sampled_from([1, channels]))
            x = build.relu(build.conv_transpose(x, 2 * group, each(1, 3), stride, [0] * 2 * rank, extra, group) or x)
        elif kind == "concat":
            side = build.relu(build.conv(x, 2, [1] * rank, ones, ones, [0] * 2 * rank, 1) or x)
            x = build.node("Concat", [x, side], (channels + build.shapes[side][0], *spatial), axis=1)
            x = build.relu(conv(x)) if draw(st.booleans()) else (build.pool("MaxPool", x, [2] + [1] * (rank - 1), ones,
                                                                            [0] * 2 * rank) or x)
        elif kind == "residual":
            side = build.conv(x, channels, [3] * rank, ones, ones, [1] * 2 * rank, 1) or x
            x = build.relu(build.node("Add", [side, x], build.shapes[x]))
        elif kind == "slice":
            x = build.relu(conv(slices(x)))
        elif kind == "shuffle" and channels % 2 == 0:
            ways = ["channels", "axes", "pixels"] if rank == 2 else ["channels", "axes"]
            way = draw(st.sampled_from(ways))
            # of one branch: what rearranges a concatenation is refused
            y = build.conv(x, channels, ones, ones, ones, [0] * 2 * rank, 1) or x
            y = build.relu(y) if draw(st.booleans()) else y
            cout, *extent = build.shapes[y]
            if way == "pixels" and cout % 4 == 0:
                mode = draw(st.sampled_from(["CRD", "DCR"]))
                big = (cout // 4, extent[0] * 2, extent[1] * 2)
                y = build.node("DepthToSpace", [y], big, blocksize=2, mode=mode)
            elif way == "channels" and cout % 2 == 0:
                halves = build.constant(np.array([0, 2, cout // 2, *extent], np.int64))
                y = build.node("Reshape", [y, halves], (2, cout // 2, *extent))
                y = build.node("Transpose", [y], (cout // 2, 2, *extent), perm=[0, 2, 1, *range(3, 3 + rank)])
                y = build.node("Reshape", [y, build.constant(np.array([0, cout, *extent], np.int64))], (cout, *extent))
            else:
                y = build.node("Transpose", [y], (cout, *extent[::-1]), perm=[0, 1, *range(2, 2 + rank)[::-1]])
            x = build.relu(conv(y))
        elif kind == "up-slice" and max(spatial) < 10:
            x = build.relu(conv(slices(build.upsample(x, 2))))
        elif kind == "branches":
            sides = [build.conv(x, channels, [1] * rank, ones, ones, [0] * 2 * rank, 1) or x for _ in range(2)]
            x = build.relu(build.node("Sub", [sides[0], build.relu(sides[1])], build.shapes[x]))
        elif kind == "input again" and spatial == list(build.shapes[source][1:]):
            total = channels + build.shapes[source][0]
            x = build.relu(conv(build.node("Concat", [source, x], (total, *spatial), axis=1)))
        elif kind == "scale":
            scale = build.constant(np.linspace(-1, 2, channels, dtype=np.float32).reshape(-1, *ones))
            x = build.relu(conv(build.node("Mul", [x, scale], build.shapes[x])))
        elif kind == "twice":
            x = build.relu(conv(build.node("Concat", [x, build.node("Add", [x, x], build.shapes[x])],
                                           (2 * channels, *spatial), axis=1)))
        else:
            x = build.relu(conv(x))
    channels, *spatial = build.shapes[x]
    head = draw(st.sampled_from(["conv", "global", "dense", "relu", "sigmoid", "two"]))
    if head == "global":
        x = build.node("GlobalAveragePool", [x], (channels, *[1] * rank))
        x = build.node("Flatten", [x], (channels,), axis=1)
    elif head == "dense":
        x = build.node("Flatten", [x], (channels * int(np.prod(spatial)),), axis=1)
    if head in ("global", "dense"):
        x = build.node("Gemm", [x, build.normal(3, build.shapes[x][0]), build.normal(3)], (3,), transB=1)
    elif head == "conv":
        x = build.conv(x, 2, [1] * rank, [1] * rank, [1] * rank, [0] * 2 * rank, 1) or x
    elif head == "sigmoid":
        x = build.node("Sigmoid", [x], build.shapes[x])
    return build.model(x, hidden) if head == "two" else build.model(x)


@st.composite
def dense_teachers(draw: st.DrawFn) -> onnx.ModelProto:
    """Gemm, MatMul and their sums and concatenations; perhaps beside a pooled image."""
    build = Builder(np.random.default_rng(draw(st.integers(0, 2**16))))
    build.shapes["x"] = (draw(st.integers(1, 9)),)

    def layer(x: str, out: int) -> str:
        size = build.shapes[x][0]
        if draw(st.booleans()):
            return build.node("Gemm", [x, build.normal(out, size), build.normal(out)], (out,), transB=1)
        made = build.node("MatMul", [x, build.normal(size, out)], (out,))
        return build.node("Add", [made, build.normal(out)], (out,)) if draw(st.booleans()) else made

    x = build.relu(layer("x", 4))
    if draw(st.booleans()):
        build.shapes["x2"] = (2, 5, 4)
        seen = build.relu(build.conv("x2", 4, [2, 2], [1, 1], [1, 1], [0, 0, 0, 0], 1) or "x2")
        pooled = build.node("Flatten", [build.node("GlobalAveragePool", [seen], (4, 1, 1))], (4,), axis=1)
        if draw(st.booleans()):
            x = build.node("Add", [x, pooled], (4,))
        else:
            x = build.node("Concat", draw(st.permutations([x, pooled])), (8,), axis=1)
    for _ in range(draw(st.integers(1, 3))):
        x = layer(x, draw(st.integers(1, 6)))
        x = build.relu(x) if draw(st.booleans()) else x
    return build.model(build.node("Softmax", [x], build.shapes[x]) if draw(st.booleans()) else x)
