"""Makes the *.onnx files here: small Keras models as Keras itself (PyTorch back end) and tf2onnx export them.

KERAS_BACKEND=torch python keras_exports.py        (keras 3.15, torch 2.13)
KERAS_BACKEND=tensorflow python keras_exports.py   (keras 3.15, tensorflow-cpu 2.21, tf2onnx 1.17)
"""

from typing import Any

import keras
import numpy as np
import onnx
from keras import layers


def block(x: Any, channels: int, strides: int = 1) -> Any:
    x = layers.Conv2D(channels, 3, strides, padding="same")(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def unet() -> Any:
    """Strided 'same' convolutions pad asymmetrically; the skip joins along the last axis."""
    x = keras.Input((16, 12, 1))
    a = block(x, 4)
    b = block(block(a, 6, strides=2), 6)
    up = layers.UpSampling2D(2)(b)
    c = block(layers.Concatenate()([layers.Conv2DTranspose(4, 2, 2)(b), up, a]), 4)
    return keras.Model(x, layers.Conv2D(2, 1)(layers.MaxPooling2D(2)(c)))


def classifier() -> Any:
    """Flatten of a channels-last map, ReLU6, and the mean over all positions."""
    x = keras.Input((8, 8, 3))
    a = layers.ReLU(max_value=6.0)(layers.Conv2D(5, 3, padding="same", strides=2)(x))
    flat = layers.Dense(6, activation="relu")(layers.Flatten()(a))
    mean = layers.GlobalAveragePooling2D()(block(layers.AveragePooling2D(2)(a), 6))
    return keras.Model(x, layers.Dense(4, activation="softmax")(layers.Add()([flat, mean])))


def main() -> None:
    for name, make in {"unet": unet, "classifier": classifier}.items():
        keras.utils.set_random_seed(0)
        model = make()
        rng = np.random.default_rng(0)
        model.set_weights([w + rng.uniform(0.1, 0.4, w.shape).astype(w.dtype) * (w.ndim == 1)
                           for w in model.get_weights()])
        model(np.zeros((1, *model.input_shape[1:]), np.float32))
        file = f"{'keras' if keras.backend.backend() == 'torch' else 'tf2onnx'}_{name}.onnx"
        model.export(file, format="onnx", verbose=False)
        proto = onnx.load(file)
        for node in proto.graph.node:  # stack traces hold paths of this machine
            del node.metadata_props[:]
            node.ClearField("doc_string")
        onnx.save(proto, file)


if __name__ == "__main__":
    main()
