"""SpikeReg (arXiv 2605.25144): registration of 3D brain images by a spiking U-Net."""
