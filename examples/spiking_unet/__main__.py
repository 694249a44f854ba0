"""`python -m examples.spiking_unet STAGE`."""

from examples.spiking_unet.first import first_teacher, picture
from examples.spiking_unet.stages import group

if __name__ == "__main__":
    group.add_command(picture)
    group.add_command(first_teacher)
    group()
