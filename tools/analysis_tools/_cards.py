"""What cards can do at most, by the data sheets of their makers."""

from typing import NamedTuple


class Card(NamedTuple):
    """Peaks of one card, without sparsity.

    Attributes:
        name (str): As PyTorch reports it, or a part of it.
        float32 (float): TFLOP/s without tensor cores.
        half (float): TFLOP/s of tensor cores in bfloat16, or float16 where
            the card has no bfloat16, accumulated in float32.
        bandwidth (float): GB/s of the memory.
        memory (int): GB.
    """

    name: str
    float32: float
    half: float
    bandwidth: float
    memory: int


# Whole names before their parts: the first that fits is taken.
CARDS = {
    'h200': Card('H200', 66.9, 989.4, 4800, 141),
    'h100': Card('H100', 66.9, 989.4, 3350, 80),
    'a100': Card('A100', 19.5, 312.0, 2039, 80),
    'l40s': Card('L40S', 91.6, 362.0, 864, 48),
    'a6000': Card('A6000', 38.7, 154.8, 768, 48),
    '4090': Card('4090', 82.6, 165.2, 1008, 24),
    '3090': Card('3090', 35.6, 71.0, 936, 24),
    'v100': Card('V100', 15.7, 125.0, 900, 32),
    't4': Card('T4', 8.1, 65.0, 320, 16),
}


def find_card(device_name: str) -> Card | None:
    """Return the card whose name is part of what PyTorch reports."""
    for card in CARDS.values():
        if card.name in device_name:
            return card
    return None
