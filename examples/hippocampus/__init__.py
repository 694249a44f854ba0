"""Two ordinary teachers: 2D and 3D segmentation of the hippocampus."""
