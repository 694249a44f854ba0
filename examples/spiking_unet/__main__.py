"""`python -m examples.spiking_unet STAGE`."""

from examples.spiking_unet.first import picture, tiny
from examples.spiking_unet.stages import group

if __name__ == "__main__":
    group.add_command(picture)
    group.add_command(tiny)
    group()
