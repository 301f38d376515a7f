"""Figures of speed, each a ratio of two things measured in one run. One script a figure."""
