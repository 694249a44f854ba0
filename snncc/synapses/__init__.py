"""Synapses: the one weighted linear map of a projection. One file a kind; `routing` holds the weightless part."""

from snncc.synapses.base import Synapse
from snncc.synapses.conv import Conv
from snncc.synapses.conv_transpose import ConvTranspose
from snncc.synapses.dense import Dense
from snncc.synapses.diagonal import Diagonal
from snncc.synapses.pool import Pool, Window
from snncc.synapses.resample import Resample

KINDS: tuple[type[Synapse], ...] = (Dense, Conv, ConvTranspose, Diagonal, Pool, Window, Resample)

__all__ = ["KINDS", "Conv", "ConvTranspose", "Dense", "Diagonal", "Pool", "Resample", "Synapse", "Window"]
