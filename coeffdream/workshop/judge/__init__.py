"""A second opinion on what the embedded base paints, by a classifier that no training and no score uses."""
