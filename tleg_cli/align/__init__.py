"""Alignment of the blocks of a network: the same function with other weights, chosen so that equal places hold similar weights."""
