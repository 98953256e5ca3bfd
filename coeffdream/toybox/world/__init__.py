"""The drawn world: individuals, scenes, and the captions that name them. numpy and PIL only."""

from coeffdream.toybox.world.grammar import describe, read_caption
from coeffdream.toybox.world.individual import HELD_OUT, Individual, sample_individual
from coeffdream.toybox.world.scene import Scene, compose, render, sample_scene, silhouette
from coeffdream.toybox.world.wish import Wish

__all__ = [
    "HELD_OUT",
    "Individual",
    "Scene",
    "Wish",
    "compose",
    "describe",
    "read_caption",
    "render",
    "sample_individual",
    "sample_scene",
    "silhouette",
]
