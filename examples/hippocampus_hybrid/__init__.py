"""Hybrid segmentation of the hippocampus (Yue et al., 2023): convert with few steps, then fine-tune the spikes."""
