"""Multi-threshold Spiking-UNet (Li, Zhang, Xiong, Sun, 2024): segmentation and denoising."""
