"""Benchmarks: two-option questions about pictures that no training set has seen.

table       which there are: one entry each, from which the plan has their stage runs
spatialvqa  the paper's: how its questions are chosen, and the file that holds questions
variants    the same questions in another order of options and in the mirror, and a datasheet
lookup      answers without looking: the majority, and the names alone
"""
