"""Train the 3D teacher: a strided U-Net on whole volumes padded to 48x64x48."""

import torch
from torch import Tensor, nn

from examples.hippocampus.train_common import Options, Recipe, train, training_options

# bf16: a step is about three times faster where the CPU has AMX; switch it off elsewhere
RECIPE = Recipe(
    dims=3,
    input_shape=(1, 1, 48, 64, 48),
    batch_size=4,
    learning_rate=4e-3,
    max_shift=0.12,
    max_scale=0.1,
    bf16=True,
)


def unit(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3x3 convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1), nn.BatchNorm3d(outputs), nn.ReLU()
    )


class UNet3D(nn.Module):
    """U-Net 8-16-32: strided convolutions down, nearest upsampling up, skips by concatenation."""

    def __init__(self, channels: tuple[int, int, int] = (8, 16, 32)) -> None:
        super().__init__()
        c0, c1, c2 = channels
        self.stem = unit(1, c0)
        self.down1 = unit(c0, c1, stride=2)
        self.encoder1 = unit(c1, c1)
        self.down2 = unit(c1, c2, stride=2)
        self.bottom = unit(c2, c2)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.decoder1 = unit(c2 + c1, c1)
        self.decoder0 = unit(c1 + c0, c0)
        self.head = nn.Conv3d(c0, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits; the exporter puts the sigmoid behind them."""
        skip0 = self.stem(image)
        skip1 = self.encoder1(self.down1(skip0))
        bottom = self.bottom(self.down2(skip1))
        x = self.decoder1(torch.cat([self.up(bottom), skip1], 1))
        x = self.decoder0(torch.cat([self.up(x), skip0], 1))
        return self.head(x)


@training_options(default_out="build/teacher_3d.onnx", default_epochs=60)
def main(options: Options) -> None:
    """Train the 3D teacher and export it to ONNX."""
    torch.manual_seed(options.seed)
    train(UNet3D(), RECIPE, options)


if __name__ == "__main__":
    main()
