"""Digits that are not MNIST's, drawn by program as people draw, write, scan and print them: does a model read them?

`pictures/` holds the set of seed 1, `python -m benchmarks.drawn_digits` tells how a model reads it, and
`--seed N` draws a set that nobody has looked at yet. No picture of MNIST had a part in the drawing.
"""
