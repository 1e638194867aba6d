"""Random changes of a drawn set: values, structure, PNGs, names, links."""

import json
from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from tests.png_files import png_of_rows

from .drawn import CLASSES, KINDS, WIDTH, DrawnSet, as_stored, encoded

Rng = np.random.Generator
VALUES = (
    *(None, True, False, 0, 1, 2, -1, 7, 10, 255, 256, 2**24, 2**31, 2**64),
    *(10**40, 0.0, 1.0, 10.0, 48.0, 0.5, -3.5, 1e9, 1e300),
    *(float('nan'), float('inf'), -float('inf'), '', ' ', '0', '1', '10'),
    *('48', '1.0', 'true', 'no', 'cat', 'sky', '0.jpg', '../0.jpg', './1.jpg'),
    *('/', '.', '0.png', 'images/0.jpg', 'a\0b', '\ud800', '\udcff', 'ü 猫'),
    *('x' * 300, [], {}, [0], [[]], [None], {'id': 1}, [1, 2, 3, 4]),
    *([[1, 1, 9, 1, 9, 9]], [[1, 1, 9, 1, 9, 9, 1]], [[-90, 1, 9, 1, 9, 99]]),
    *(
        [[1e30, 1, 9, 1, 9, 9]],
        [[1, 1, 1, 1, 1, 1]],
        'x',
        b'\xff'.decode('latin'),
    ),
    *(dict(size=[32, 48], counts=[1536]), dict(size=[32, 48], counts='o0')),
    *(dict(size=[32, 48], counts=[0, 1536]), dict(size=[48, 32], counts=[1])),
    dict(size=[32, 48], counts='0' * 50),
)
KEYS = ('id', 'image_id', 'segments_info', 'iscrowd', 'score', 'bbox', 'x')
ENDINGS = ('.JPG', '.jpeg', '.JPEG', '.png', '.PNG', '.tif', '.webp', '.txt')


def change(seed: int, kind: str) -> tuple[DrawnSet, list[str]]:
    """Return a set with one to three changes, and what they are."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    drawn, told = DrawnSet(kind), []
    groups = [group for group in GROUPS if group[2] in (None, kind)] + [
        group for group in GROUPS if group[2] == 'json' and kind != 'semantic'
    ]
    groups += [
        group for group in GROUPS if group[2] == 'png' and kind != 'instance'
    ]
    weights = np.array([weight for _, weight, _ in groups], float)
    for _ in range(int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))):
        index = int(rng.choice(len(groups), p=weights / weights.sum()))
        told.append(groups[index][0](drawn, rng))
    return drawn, told


def pick(rng: Rng, choices):
    """Return one of several."""
    return choices[int(rng.integers(len(choices)))]


# ------------------------------------------------------------------- JSON


def places(node, path: tuple = ()) -> list[tuple]:
    """Return the paths of all values below one, its own among them."""
    found = [path]
    items: list = []
    if isinstance(node, dict):
        items = list(node.items())
    elif isinstance(node, list):
        items = list(enumerate(node[:12]))
    for key, value in items:
        found += places(value, (*path, key))
    return found


def at(node, path: tuple):
    """Return the value at a path."""
    for key in path:
        node = node[key]
    return node


def place_of(drawn: DrawnSet, rng: Rng) -> tuple:
    """Return a path, each key of the layout as likely as any other."""
    by_name: dict = {}
    drawn.content = drawn.content or {'images': []}
    for path in places(drawn.content)[1:]:
        name = tuple('*' if isinstance(key, int) else key for key in path)
        by_name.setdefault(name, []).append(path)
    return pick(rng, by_name[pick(rng, sorted(by_name, key=str))])


def put_value(drawn: DrawnSet, rng: Rng) -> str:
    path = place_of(drawn, rng)
    value = pick(rng, VALUES)
    at(drawn.content, path[:-1])[path[-1]] = value
    return f'put {value!r} to {path}'


def copy_value(drawn: DrawnSet, rng: Rng) -> str:
    source, path = place_of(drawn, rng), place_of(drawn, rng)
    value = json.loads(json.dumps(at(drawn.content, source)))
    at(drawn.content, path[:-1])[path[-1]] = value
    return f'copy {source} to {path}'


def retype_value(drawn: DrawnSet, rng: Rng) -> str:
    """Write a value in another type."""
    path = place_of(drawn, rng)
    value = at(drawn.content, path)
    forms: tuple[Callable, ...] = (str, float, lambda v: [v], repr, bool)
    try:
        value = pick(rng, forms)(value)
    except (TypeError, ValueError, OverflowError):
        value = [value]
    at(drawn.content, path[:-1])[path[-1]] = value
    return f'write {path} as {value!r}'


def nudge_value(drawn: DrawnSet, rng: Rng) -> str:
    """Change a number a little."""
    path = place_of(drawn, rng)
    value = at(drawn.content, path)
    if isinstance(value, int | float):
        value = value + pick(rng, (-1, 1, 0.5, -0.5, 100))
        at(drawn.content, path[:-1])[path[-1]] = value
    return f'set {path} to {value!r}'


def drop_value(drawn: DrawnSet, rng: Rng) -> str:
    path = place_of(drawn, rng)
    del at(drawn.content, path[:-1])[path[-1]]
    return f'drop {path}'


def add_value(drawn: DrawnSet, rng: Rng) -> str:
    path = place_of(drawn, rng)
    node, value = at(drawn.content, path), pick(rng, VALUES)
    if isinstance(node, dict):
        key = pick(rng, KEYS)
        node[key] = value
        return f'add {key!r} {value!r} to {path}'
    if isinstance(node, list):
        node.append(json.loads(json.dumps(pick(rng, node))) if node else value)
        return f'repeat an entry of {path}'
    return 'add nothing'


def shuffle_list(drawn: DrawnSet, rng: Rng) -> str:
    path = place_of(drawn, rng)
    node = at(drawn.content, path)
    if isinstance(node, list):
        rng.shuffle(node)
    return f'shuffle {path}'


def change_encoding(drawn: DrawnSet, rng: Rng) -> str:
    text = json.dumps(drawn.content, ensure_ascii=False, indent=1)
    ways = ('utf-8-sig', 'utf-16', 'utf-32', 'latin-1', 'utf-16-le')
    way = pick(rng, ways)
    drawn.json = text.encode(way, 'replace')
    return f'write the JSON in {way}'


def spoil_json(drawn: DrawnSet, rng: Rng) -> str:
    text = json.dumps(drawn.content).encode()
    spot = int(rng.integers(len(text)))
    ways = dict(
        cut=text[:spot],
        empty=b'',
        byte=text[:spot] + bytes([rng.integers(256)]) + text[spot + 1 :],
        twice=text + text,
        deep=b'[' * 100000 + b']' * 100000,
        list=b'[]',
        nothing=b'null',
        number=b'1' * 5000,
        repeated=b'{"images": [], ' + text[1:],
        comment=b'// a set\n' + text,
    )
    way = pick(rng, list(ways))
    drawn.json = ways[way]
    return f'spoil the JSON: {way} at {spot}'


# ----------------------------------------------------------------- pixels


def draw_block(drawn: DrawnSet, rng: Rng) -> str:
    """Give a block of pixels another id or label."""
    name = pick(rng, list(drawn.pixels))
    values = drawn.pixels[name]
    top, left = (int(rng.integers(side)) for side in values.shape)
    bottom, right = (top + int(rng.integers(40)), left + int(rng.integers(60)))
    number = pick(
        rng, (0, 1, 2, 3, 4, 7, 9, 254, 255, 256, 300, 65535, 1000, 70000)
    )
    if drawn.kind == 'semantic':
        number = min(number, 65535)
    values[top:bottom, left:right] = number
    drawn.files[name] = encoded(as_stored(drawn.kind, values))
    return f'draw {number} to {top}:{bottom}, {left}:{right} of {name}'


def replace_values(drawn: DrawnSet, rng: Rng) -> str:
    """Replace values in all PNGs."""
    tables = dict(
        one_from_one=lambda v: np.where(v == 255, 0, v + 1),
        only_ignored=lambda v: np.full_like(v, 255),
        foreground_ignored=lambda v: np.where(v >= 2, 255, 0),
        many=lambda v: v * 90,
        zero=np.zeros_like,
        noise=lambda v: rng.integers(0, 4, v.shape),
    )
    way = pick(rng, list(tables))
    for name, values in drawn.pixels.items():
        values[:] = tables[way](values)
        drawn.files[name] = encoded(as_stored(drawn.kind, values))
    return f'replace all values: {way}'


def store_png(drawn: DrawnSet, rng: Rng) -> str:
    """Store a PNG, or all of them, in another way."""
    way = pick(rng, list(WAYS))
    names = list(drawn.pixels)
    if rng.random() < 0.7:
        names = [pick(rng, names)]
    for name in names:
        pixels = as_stored(drawn.kind, drawn.pixels[name])
        try:
            drawn.files[name] = WAYS[way](pixels, rng)
        except (OSError, ValueError, TypeError):
            return f'store nothing as {way}'
    return f'store {names} as {way}'


def palette_of(pixels: np.ndarray, **options) -> bytes:
    """Store labels as indices, and ids as colours, of a palette."""
    if pixels.ndim == 2:
        image = Image.fromarray(pixels)
        image.putpalette(list(range(256)) * 3)
    else:
        colors = np.unique(pixels.reshape(-1, 3), axis=0)
        where = (pixels[:, :, None] == colors).all(-1).argmax(-1)
        image = Image.fromarray(where.astype(np.uint8))
        image.putpalette(colors.ravel().tolist())
    return encoded(image, **options)


def transparent(pixels: np.ndarray) -> bytes:
    color = tuple(int(v) for v in np.atleast_1d(pixels[20, 20]))
    return encoded(pixels, transparency=color if len(color) > 1 else color[0])


def few_bits(pixels: np.ndarray, rng: Rng) -> bytes:
    """Store labels in grey with 1, 2 or 4 bits, by hand."""
    bits = pick(rng, (1, 2, 4))
    if pixels.ndim != 2:
        raise ValueError('ids need three channels')
    low = pixels % 2**bits
    rows = []
    per = 8 // bits
    for row in low:
        packed = np.zeros(WIDTH // per, int)
        for i in range(per):
            packed = packed << bits | row[i::per]
        rows.append(packed.astype(np.uint8).tobytes())
    return png_of_rows(rows, WIDTH, bits)


def through_jpeg(pixels: np.ndarray) -> bytes:
    return encoded(np.asarray(Image.open(BytesIO(encoded(pixels, 'JPEG')))))


def deep(pixels: np.ndarray) -> bytes:
    if pixels.ndim == 2:
        return encoded(pixels.astype(np.uint16))
    import cv2

    wide = pixels[..., ::-1].astype(np.uint16) * 257
    return cv2.imencode('.png', wide)[1].tobytes()


def exif(pixels: np.ndarray, rng: Rng, form: str = 'PNG') -> bytes:
    tags = Image.Exif()
    tags[0x0112] = int(rng.integers(0, 10))
    return encoded(pixels, form, exif=tags)


def cut(data: bytes, rng: Rng) -> bytes:
    return data[: int(rng.integers(len(data)))]


def flip_byte(data: bytes, rng: Rng) -> bytes:
    spot = int(rng.integers(len(data)))
    return (
        data[:spot]
        + bytes([data[spot] ^ 1 << rng.integers(8)])
        + data[spot + 1 :]
    )


def convert(pixels: np.ndarray, mode: str) -> bytes:
    return encoded(Image.fromarray(pixels).convert(mode))


WAYS: dict[str, Callable] = {
    'palette': lambda p, r: palette_of(p),
    'palette with a transparent index': lambda p, r: palette_of(
        p, transparency=0
    ),
    'palette with few bits': lambda p, r: palette_of(p, bits=4),
    'transparent colour': lambda p, r: transparent(p),
    'few bits': few_bits,
    'one bit': lambda p, r: convert(p, '1'),
    'grey': lambda p, r: convert(p, 'L'),
    'grey with alpha': lambda p, r: convert(p, 'LA'),
    'RGB': lambda p, r: convert(p, 'RGB'),
    'RGBA': lambda p, r: convert(p, 'RGBA'),
    '16 bits': lambda p, r: deep(p),
    'JPEG': lambda p, r: encoded(p, 'JPEG'),
    'through JPEG': lambda p, r: through_jpeg(p),
    'WebP': lambda p, r: encoded(p, 'WEBP'),
    'GIF': lambda p, r: encoded(p, 'GIF'),
    'BMP': lambda p, r: encoded(p, 'BMP'),
    'TIFF': lambda p, r: encoded(p, 'TIFF'),
    'turned': lambda p, r: encoded(np.rot90(p)),
    'half as large': lambda p, r: encoded(p[::2, ::2]),
    'one row': lambda p, r: encoded(p[:1]),
    'orientation': exif,
    'cut': lambda p, r: cut(encoded(p), r),
    'a bit flipped': lambda p, r: flip_byte(encoded(p), r),
    'empty': lambda p, r: b'',
    'text': lambda p, r: b'no image',
    'swapped channels': lambda p, r: encoded(
        np.ascontiguousarray(p[..., ::-1])
    ),
    'scaled smoothly': lambda p, r: encoded(
        Image.fromarray(p).resize((24, 16), 2).resize((48, 32), 2)
    ),
    'two frames': lambda p, r: encoded(
        p, save_all=True, append_images=[Image.fromarray(p * 0)]
    ),
}


def change_image(drawn: DrawnSet, rng: Rng) -> str:
    """Store an image in another way."""
    name = pick(rng, drawn.images() or ['images/0.jpg'])
    data = drawn.files.get(name)
    if not data:
        return 'change no image'
    try:
        pixels = np.asarray(Image.open(BytesIO(data)).convert('RGB'))
    except OSError:
        return 'change no image'
    way = pick(rng, list(IMAGE_WAYS))
    drawn.files[name] = IMAGE_WAYS[way](pixels, rng)
    return f'store {name} as {way}'


IMAGE_WAYS: dict[str, Callable] = {
    'grey': lambda p, r: encoded(Image.fromarray(p).convert('L'), 'JPEG'),
    'CMYK': lambda p, r: encoded(Image.fromarray(p).convert('CMYK'), 'JPEG'),
    'palette': lambda p, r: convert(p, 'P'),
    'RGBA': lambda p, r: convert(p, 'RGBA'),
    'grey with alpha': lambda p, r: convert(p, 'LA'),
    'one bit': lambda p, r: convert(p, '1'),
    'orientation': lambda p, r: exif(p, r, 'JPEG'),
    'turned': lambda p, r: encoded(np.rot90(p), 'JPEG'),
    'half as large': lambda p, r: encoded(p[::2, ::2], 'JPEG'),
    'one column': lambda p, r: encoded(p[:, :1], 'PNG'),
    'cut': lambda p, r: cut(encoded(p, 'JPEG'), r),
    'a bit flipped': lambda p, r: flip_byte(encoded(p, 'JPEG'), r),
    'empty': lambda p, r: b'',
    'text': lambda p, r: b'no image',
}


# ------------------------------------------------------------ files, links


def file_of(drawn: DrawnSet, rng: Rng) -> str:
    return pick(rng, list(drawn.files) or ['images/0.jpg'])


def move(drawn: DrawnSet, name: str, other: str) -> None:
    """Rename a file, and what knows of its pixels."""
    if name in drawn.files:
        drawn.files[other] = drawn.files.pop(name)
    if name in drawn.pixels:
        drawn.pixels[other] = drawn.pixels.pop(name)


def rename_file(drawn: DrawnSet, rng: Rng) -> str:
    name = file_of(drawn, rng)
    folder, _, base = name.partition('/')
    stem, _, ending = base.rpartition('.')
    bases = (
        *(f'.{base}', f'._{base}', f'sub/{base}', f'{stem}\udcff.{ending}'),
        *(f' {base}', f'{stem}', f'{stem}.{ending}.{ending}', f'{stem}_x.png'),
        *(f'ü{base}', f'{stem}\n.{ending}', f'{stem}.{ending.upper()}'),
        *(stem + end for end in ENDINGS),
    )
    other = f'{folder}/{pick(rng, bases)}'
    move(drawn, name, other)
    if rng.random() < 0.5 and drawn.content is not None:
        for path in places(drawn.content):
            if path[-1:] == ('file_name',) and (
                at(drawn.content, path) == base
            ):
                entry = at(drawn.content, path[:-1])
                entry['file_name'] = other.partition('/')[2]
    return f'rename {name!r} to {other!r}'


def rename_all(drawn: DrawnSet, rng: Rng) -> str:
    """Give all files of a folder another ending."""
    folder = pick(rng, ('images', 'maps'))
    ending = pick(rng, ENDINGS)
    for name in list(drawn.files):
        if name.startswith(f'{folder}/'):
            move(drawn, name, name.rpartition('.')[0] + ending)
    if drawn.content is not None and rng.random() < 0.7:
        part = 'images' if folder == 'images' else 'annotations'
        entries = drawn.content.get(part)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and isinstance(
                entry.get('file_name'), str
            ):
                stem = entry['file_name'].rpartition('.')[0]
                entry['file_name'] = stem + ending
    return f'give the files of {folder} the ending {ending}'


def copy_file(drawn: DrawnSet, rng: Rng) -> str:
    name, other = file_of(drawn, rng), file_of(drawn, rng)
    stem = other.rpartition('.')[0]
    target = pick(rng, (other, *(stem + end for end in ENDINGS)))
    drawn.files[target] = drawn.files.get(name)
    return f'copy {name} to {target}'


def remove_file(drawn: DrawnSet, rng: Rng) -> str:
    name = file_of(drawn, rng)
    drawn.files.pop(name, None)
    return f'remove {name}'


def link_file(drawn: DrawnSet, rng: Rng) -> str:
    """Put a link in the place of a file."""
    name = file_of(drawn, rng)
    data = drawn.files.pop(name, None)
    way = pick(rng, ('away', 'to nothing', 'to itself', 'to a folder'))
    if way == 'away' and data is not None:
        drawn.files[f'store/{name}'] = data
    targets = {
        'away': f'../store/{name}',
        'to nothing': '../nothing',
        'to itself': name.rpartition('/')[2],
        'to a folder': '..',
    }
    drawn.links[name] = targets[way]
    return f'link {name} {way}'


def link_folder(drawn: DrawnSet, rng: Rng) -> str:
    """Move a folder, and put a link in its place."""
    folder = pick(rng, ('images', 'maps'))
    for name in list(drawn.files):
        if name.startswith(f'{folder}/'):
            move(drawn, name, f'store/{name}')
    drawn.links[folder] = f'store/{folder}'
    return f'link the folder {folder}'


def link_part(drawn: DrawnSet, rng: Rng) -> str:
    """Put a folder that is a link into both folders."""
    name = pick(rng, ('part', 'loop'))
    for folder in ('images', 'maps'):
        if name == 'loop':
            drawn.links[f'{folder}/loop'] = '.'
            continue
        for path in list(drawn.files):
            if path.startswith(f'{folder}/0'):
                move(drawn, path, f'store/{path}')
        drawn.links[f'{folder}/part'] = f'../store/{folder}'
    entries = (
        (drawn.content or {}).get('images'),
        (drawn.content or {}).get('annotations'),
    )
    for entry in entries[0] if isinstance(entries[0], list) else ():
        if isinstance(entry, dict) and entry.get('file_name') == '0.jpg':
            entry['file_name'] = f'{name}/0.jpg'
    for entry in entries[1] if isinstance(entries[1], list) else ():
        if isinstance(entry, dict) and entry.get('file_name') == '0.png':
            entry['file_name'] = f'{name}/0.png'
    return f'link a folder inside of the folders: {name}'


def put_folder(drawn: DrawnSet, rng: Rng) -> str:
    name = file_of(drawn, rng)
    drawn.files[name] = None
    return f'put a folder to {name}'


def put_pipe(drawn: DrawnSet, rng: Rng) -> str:
    name = pick(rng, drawn.maps() or ['set.json'])
    drawn.files.pop(name, None)
    drawn.pipes.append(name)
    return f'put a pipe to {name}'


# --------------------------------------------------------------- settings


def change_classes(drawn: DrawnSet, rng: Rng) -> str:
    meta = drawn.options['metainfo']
    classes = list(CLASSES)
    rng.shuffle(classes)
    classes = classes[: int(rng.integers(0, 5))]
    extra = ('cow', 'cat', '', 'ü', 'x' * 400, 'a {} b')
    if rng.random() < 0.3:
        classes.append(pick(rng, extra))
    meta['classes'] = tuple(classes)
    things = [name for name in classes if rng.random() < 0.5]
    if rng.random() < 0.1:
        things.append('cow')
    if rng.random() < 0.7:
        meta['thing_classes'] = tuple(things)
    if rng.random() < 0.1:
        del meta['classes']
    return f'set metainfo to {meta}'


def many_classes(drawn: DrawnSet, rng: Rng) -> str:
    """Have more than 255 classes."""
    names = [*CLASSES, *(f'c{i}' for i in range(300))]
    if drawn.content is None:
        drawn.options['metainfo'] = dict(
            classes=tuple(names), thing_classes=('cat', 'c290')
        )
        for name, values in drawn.pixels.items():
            table = {2: 200, 3: int(pick(rng, (255, 290, 303)))}
            for old, new in table.items():
                values[values == old] = new
            values[:3] = pick(rng, (65535, 255))
            drawn.files[name] = encoded(as_stored('semantic', values))
        return 'have 304 classes'
    categories = drawn.content.get('categories')
    if isinstance(categories, list):
        categories[:0] = [
            dict(id=1000 + i, name=f'c{i}', isthing=1) for i in range(300)
        ]
    return 'have 304 categories'


def change_settings(drawn: DrawnSet, rng: Rng) -> str:
    name, value = pick(rng, SETTINGS[drawn.kind])
    drawn.options[name] = value
    return f'set {name} to {value!r}'


FOR_ALL = (
    ('missing_classes', 'ignore'),
    ('missing_classes', 'background'),
    ('void', 'ignore'),
    ('void', 'background'),
    ('filter_cfg', dict(filter_empty_gt=True)),
    ('data_prefix', dict(img='images', seg='maps')),
    ('data_prefix', dict(img='./images/', seg='nowhere/')),
)
SETTINGS = dict(
    panoptic=FOR_ALL,
    instance=FOR_ALL,
    semantic=(
        *FOR_ALL,
        ('reduce_zero_label', True),
        ('ignore_index', 0),
        ('ignore_index', 3),
        ('ignore_index', 65535),
        ('png_classes', CLASSES),
        ('png_classes', CLASSES[::-1]),
        ('png_classes', ('cat', 'cow', 'road', 'tree', 'sky')),
        ('png_classes', 'cat'),
        ('img_suffix', '.jpg'),
        ('img_suffix', '.png'),
        ('seg_map_suffix', '.PNG'),
        ('seg_map_suffix', '_x.png'),
        ('seg_map_suffix', '.tif'),
    ),
)

# Function, weight, and the kind of set it is for: of one name, all that have
# a JSON or all that have PNGs, or any.
GROUPS: tuple[tuple[Callable, float, str | None], ...] = (
    (put_value, 6, 'json'),
    (copy_value, 3, 'json'),
    (retype_value, 3, 'json'),
    (nudge_value, 3, 'json'),
    (drop_value, 3, 'json'),
    (add_value, 3, 'json'),
    (shuffle_list, 1, 'json'),
    (change_encoding, 1, 'json'),
    (spoil_json, 1, 'json'),
    (draw_block, 4, 'png'),
    (replace_values, 1, 'png'),
    (store_png, 6, 'png'),
    (change_image, 2, None),
    (rename_file, 2, None),
    (rename_all, 1, None),
    (copy_file, 1, None),
    (remove_file, 1, None),
    (link_file, 2, None),
    (link_folder, 1, None),
    (link_part, 1, None),
    (put_folder, 0.5, None),
    (put_pipe, 0.5, None),
    (change_classes, 2, None),
    (many_classes, 0.5, None),
    (change_settings, 2, None),
)
