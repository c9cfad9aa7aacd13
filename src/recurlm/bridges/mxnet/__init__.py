"""MXNet 1.x models, read and written without MXNet: parameters, graph, weights, vocabulary."""
