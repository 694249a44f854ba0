"""Train the 2D teacher: a plain U-Net on axial slices of 48x64 pixels."""

import torch
from torch import Tensor, nn

from examples.hippocampus.train_common import Options, Recipe, train, training_options

RECIPE = Recipe(
    dims=2, input_shape=(1, 1, 48, 64), batch_size=32, learning_rate=4e-3, max_shift=0.12, max_scale=0.1
)


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two times 3x3 convolution (with bias), batch normalisation, ReLU."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet2D(nn.Module):
    """U-Net 16-32-64: max pooling down, linear transposed convolution up, skips by concatenation."""

    def __init__(self, channels: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        c0, c1, c2 = channels
        self.encoder0 = double_conv(1, c0)
        self.encoder1 = double_conv(c0, c1)
        self.bottom = double_conv(c1, c2)
        self.pool = nn.MaxPool2d(2)
        self.up1 = nn.ConvTranspose2d(c2, c1, 2, stride=2)
        self.decoder1 = double_conv(2 * c1, c1)
        self.up0 = nn.ConvTranspose2d(c1, c0, 2, stride=2)
        self.decoder0 = double_conv(2 * c0, c0)
        self.head = nn.Conv2d(c0, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits; the exporter puts the sigmoid behind them."""
        skip0 = self.encoder0(image)
        skip1 = self.encoder1(self.pool(skip0))
        bottom = self.bottom(self.pool(skip1))
        x = self.decoder1(torch.cat([self.up1(bottom), skip1], 1))
        x = self.decoder0(torch.cat([self.up0(x), skip0], 1))
        return self.head(x)


@training_options(default_out="build/teacher_2d.onnx", default_epochs=10)
def main(options: Options) -> None:
    """Train the 2D teacher and export it to ONNX."""
    torch.manual_seed(options.seed)
    train(UNet2D(), RECIPE, options)


if __name__ == "__main__":
    main()
