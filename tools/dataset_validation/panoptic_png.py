"""The ids of a panoptic PNG, in whichever way it stores them."""

from typing import NamedTuple

import numpy as np
from _annotations import Png
from _package import segment_ids

decode_ids = segment_ids.decode_ids


class Reading(NamedTuple):
    """The ids of a PNG.

    Attributes:
        ids (np.ndarray | None): Segment ids, int64 (H, W), if they can be
            had.
        kind (str, optional): Kind of the finding, if it is not as it should.
        message (str): What is wrong with it.
    """

    ids: np.ndarray | None
    kind: str | None = None
    message: str = ''


def read_ids(png: Png, expected: set) -> Reading:
    """Return the segment ids of a PNG, in whichever way it stores them.

    Args:
        png (Png): The PNG.
        expected (set): Ids that the JSON lists: of several ways to read the
            PNG, the one that shows some of them is taken.
    """
    ways = readings(png)
    hits = {
        name: len(expected.intersection(np.unique(ids).tolist()))
        for name, ids in ways.items()
    }
    first = next(iter(ways))
    best = max(hits, key=hits.get)
    usual = (png.kind, png.bits) == ('RGB', 8)
    if usual and (best == first or not expected):
        return Reading(ways[first])
    if (
        png.kind == 'palette'
        and expected
        and hits['its colours'] > max(0, hits['its values'])
    ):
        message = (
            'is read here by its colours; tools that read palette indices '
            'get other ids'
        )
        return Reading(ways['its colours'], 'png-palette', message)
    message = (
        f'is {png}, expected RGB with 8 bits, where red + 256 green + 65536 '
        'blue is the segment id'
    )
    clear = list(hits.values()).count(hits[best]) == 1
    if not hits[best] or not clear:
        return Reading(None, 'png-mode', message)
    return Reading(ways[best], 'png-mode', f'{message}; {best} are the ids')


def readings(png: Png) -> dict[str, np.ndarray]:
    """Return the ids, int64 (H, W), for each way to read the PNG."""
    values = png.values
    if png.kind == 'palette':
        return {
            'its colours': decode_ids(png.colors),
            'its values': values.astype(np.int64),
        }
    if values.ndim == 2:
        return {'its values': values.astype(np.int64)}
    if png.kind == 'grey-alpha':
        return {'its grey values': values[..., 0].astype(np.int64)}
    rgb, note = np.ascontiguousarray(values[..., :3]), ''
    if png.bits == 16:
        rgb, note = _to_8_bits(rgb)
    return {
        f'its colours{note}': decode_ids(rgb),
        f'its colours in the order blue, green, red{note}': decode_ids(
            np.ascontiguousarray(rgb[..., ::-1])
        ),
    }


def _to_8_bits(values: np.ndarray) -> tuple[np.ndarray, str]:
    """Undo the two usual ways to widen 8 bits to 16."""
    if (values % 257 == 0).all():
        return (values // 257).astype(np.uint8), ' divided by 257'
    if values.max() > 255:  # not widened, so no ids
        return np.zeros(values.shape, np.uint8), ''
    return values.astype(np.uint8), ''
