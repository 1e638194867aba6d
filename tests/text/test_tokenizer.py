"""The tokenizer: its ids, its errors, and equality with open_clip's."""

import copy
import gzip
import hashlib
import html.entities
import importlib.util
import json
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import unicodedata
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from mmdet.registry import TASK_UTILS

from projects.oneformer.text import CLIPTokenizer, class_text
from projects.oneformer.text import tokenizer as tokenizer_module

ROOT = Path(__file__).parents[2]

IDS = {
    'The task is semantic': [518, 10549, 533, 29119, 1550],
    'The task is instance': [518, 10549, 533, 34572],
    'The task is panoptic': [518, 10549, 533, 1072, 24755],
    'a semantic photo': [320, 29119, 1550, 1125],
    'an instance photo': [550, 34572, 1125],
    'a panoptic photo': [320, 1072, 24755, 1125],
    'a photo with a window ': [320, 1125, 593, 320, 4879],
    'a photo with a wall-other-merged': [
        *(320, 1125, 593, 320, 2569, 268, 1010, 268, 46492)
    ],
    'a photo with a Crosswalk - Plain': [
        *(320, 1125, 593, 320, 5266, 2374, 268, 10709)
    ],
    'a photo with a toilet, can, commode, crapper, pot, potty, stool, '
    'throne': [
        *(320, 1125, 593, 320, 11071, 267, 753, 267, 610, 6493, 267, 1184),
        *(2440, 267, 5168, 267, 43569, 267, 22314, 267, 15999),
    ],
}

# As each dataset spells its classes, blanks and synonyms included.
CLASSES = {
    'COCO': (
        'person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|'
        'traffic light|fire hydrant|stop sign|parking meter|bench|bird|cat|'
        'dog|horse|sheep|cow|elephant|bear|zebra|giraffe|backpack|umbrella|'
        'handbag|tie|suitcase|frisbee|skis|snowboard|sports ball|kite|'
        'baseball bat|baseball glove|skateboard|surfboard|tennis racket|'
        'bottle|wine glass|cup|fork|knife|spoon|bowl|banana|apple|sandwich|'
        'orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|'
        'potted plant|bed|dining table|toilet|tv|laptop|mouse|remote|keyboard|'
        'cell phone|microwave|oven|toaster|sink|refrigerator|book|clock|vase|'
        'scissors|teddy bear|hair drier|toothbrush|banner|blanket|bridge|'
        'cardboard|counter|curtain|door-stuff|floor-wood|flower|fruit|gravel|'
        'house|light|mirror-stuff|net|pillow|platform|playingfield|railroad|'
        'river|road|roof|sand|sea|shelf|snow|stairs|tent|towel|wall-brick|'
        'wall-stone|wall-tile|wall-wood|water-other|window-blind|window-other|'
        'tree-merged|fence-merged|ceiling-merged|sky-other-merged|'
        'cabinet-merged|table-merged|floor-other-merged|pavement-merged|'
        'mountain-merged|grass-merged|dirt-merged|paper-merged|'
        'food-other-merged|building-other-merged|rock-merged|'
        'wall-other-merged|rug-merged'
    ),
    'ADE20K': (
        'wall|building|sky|floor|tree|ceiling|road, route|bed|window |grass|'
        'cabinet|sidewalk, pavement|person|earth, ground|door|table|'
        'mountain, mount|plant|curtain|chair|car|water|painting, picture|sofa|'
        'shelf|house|sea|mirror|rug|field|armchair|seat|fence|desk|'
        'rock, stone|wardrobe, closet, press|lamp|tub|rail|cushion|'
        'base, pedestal, stand|box|column, pillar|signboard, sign|'
        'chest of drawers, chest, bureau, dresser|counter|sand|sink|'
        'skyscraper|fireplace|refrigerator, icebox|grandstand, covered stand|'
        'path|stairs|runway|case, display case, showcase, vitrine|'
        'pool table, billiard table, snooker table|pillow|screen door, screen|'
        'stairway, staircase|river|bridge, span|bookcase|blind, screen|'
        'coffee table|'
        'toilet, can, commode, crapper, pot, potty, stool, throne|flower|book|'
        'hill|bench|countertop|stove|palm, palm tree|kitchen island|computer|'
        'swivel chair|boat|bar|arcade machine|'
        'hovel, hut, hutch, shack, shanty|bus|towel|light|truck|tower|'
        'chandelier|awning, sunshade, sunblind|street lamp|booth|tv|plane|'
        'dirt track|clothes|pole|land, ground, soil|'
        'bannister, banister, balustrade, balusters, handrail|'
        'escalator, moving staircase, moving stairway|'
        'ottoman, pouf, pouffe, puff, hassock|bottle|'
        'buffet, counter, sideboard|'
        'poster, posting, placard, notice, bill, card|stage|van|ship|fountain|'
        'conveyer belt, conveyor belt, conveyer, conveyor, transporter|canopy|'
        'washer, automatic washer, washing machine|plaything, toy|pool|stool|'
        'barrel, cask|basket, handbasket|falls|tent|bag|minibike, motorbike|'
        'cradle|oven|ball|food, solid food|step, stair|tank, storage tank|'
        'trade name|microwave|pot|animal|bicycle|lake|dishwasher|screen|'
        'blanket, cover|sculpture|hood, exhaust hood|sconce|vase|'
        'traffic light|tray|trash can|fan|pier|crt screen|plate|monitor|'
        'bulletin board|shower|radiator|glass, drinking glass|clock|flag'
    ),
    'CITYSCAPES': (
        'road|sidewalk|building|wall|fence|pole|traffic light|traffic sign|'
        'vegetation|terrain|sky|person|rider|car|truck|bus|train|motorcycle|'
        'bicycle'
    ),
    'MAPILLARY': (
        'Bird|Ground Animal|Curb|Fence|Guard Rail|Barrier|Wall|Bike Lane|'
        'Crosswalk - Plain|Curb Cut|Parking|Pedestrian Area|Rail Track|Road|'
        'Service Lane|Sidewalk|Bridge|Building|Tunnel|Person|Bicyclist|'
        'Motorcyclist|Other Rider|Lane Marking - Crosswalk|'
        'Lane Marking - General|Mountain|Sand|Sky|Snow|Terrain|Vegetation|'
        'Water|Banner|Bench|Bike Rack|Billboard|Catch Basin|CCTV Camera|'
        'Fire Hydrant|Junction Box|Mailbox|Manhole|Phone Booth|Pothole|'
        'Street Light|Pole|Traffic Sign Frame|Utility Pole|Traffic Light|'
        'Traffic Sign (Back)|Traffic Sign (Front)|Trash Can|Bicycle|Boat|Bus|'
        'Car|Caravan|Motorcycle|On Rails|Other Vehicle|Trailer|Truck|'
        'Wheeled Slow|Car Mount|Ego Vehicle'
    ),
}
CLASS_TEXTS = [
    class_text(name) for names in CLASSES.values() for name in names.split('|')
]

CONTRACTIONS = [
    f'{word}{quote}{end}{after}'
    for word in ('it', 'IT', '7', '', ' ')
    for quote in ("'", '\u2019', '\u2018', '`', "''", "' ", '&#39;')
    for end in ('s', 't', 're', 've', 'm', 'll', 'd', 'S', 'LL', '\u017f', 'x')
    for after in ('', 'o', ' 1', '!')
]
# A '<' keeps ftfy from unescaping, which leaves that to the tokenizer.
ENTITIES = [
    template.format(name)
    for name in sorted(html.entities.html5)[::4]
    for template in (
        *('a&{} b', 'x &amp;{}', 'x&amp;amp;{}y'),
        *('<b>&{}', '<&amp;{}', '< &amp;amp;{}'),
    )
] + [
    f'{ampersand}#{code};'
    for ampersand in ('&', '&amp;', '<&', '&AMP;')
    for code in ('0', '28', 'x1c', '133', 'x80', '60', 'xD800', '1114112')
]
EMOJI = [
    '\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family',
    '\U0001f3f3\ufe0f\u200d\U0001f308',
    '\U0001f44d\U0001f3fdok\U0001f44d\U0001f3ff',
    '1\ufe0f\u20e3#\ufe0f\u20e3',
    '\U0001f1eb\U0001f1f7\U0001f1ef\U0001f1f5',
    '\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f',
    '\u2764\ufe0f\u2764\ufe0e',
]
SCRIPTS = [
    '\u4eca\u65e5\u306f\u4e16\u754c\u3001\u5143\u6c17\u3067\u3059\u304b\u3002',
    '\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab',
    '\u0645\u0631\u062d\u0628\u0627 \u0627\u0644\u0639\u0627\u0644\u0645',
    '\u202eabc\u202c \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd',
    '\u0928\u092e\u0938\u094d\u0924\u0947 \u0967\u0968\u0969',
    '\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e52\u0e53',
    'Stra\u00dfe STRASSE \u0130stanbul I\u0307 \u03a3\u03a6\u03a3',
    'e\u0301\u0302\u0323\u0315 Z\u0351\u036b\u0343a\u0363 \u1e9b\u0323',
    '\uff26\uff55\uff4c\uff4c \uff11\uff12 \ufb01\ufb02 \u2160\u00bd\u2075',
]
MOJIBAKE = [
    text.encode().decode(wrong, errors='replace')
    for text in [
        *SCRIPTS,
        *EMOJI,
        'sch\u00f6n \u2014 \u201cna\u00efve\u201d\u2026',
    ]
    for wrong in ('latin-1', 'cp1252', 'cp437', 'cp1251', 'mac_roman')
]
SPECIALS = [
    f'{before}{special}{after}'
    for before in ('', 'a ', 'x', '!', '<|')
    for special in (
        '<|startoftext|>',
        '<|EndOfText|>',
        '&lt;|startoftext|&gt;',
        '<|\u017ftartoftext|>',
        '<|startoftext',
        '<| endoftext |>',
        '<|startoftext|><|endoftext|>',
        '</w>',
    )
    for after in ('', ' b', 'y', '!', '|>')
]
OVER_LONG = [
    'a' * 3000,
    'abcdefgh' * 500,
    'word ' * 400,
    '!' * 400,
    '1234567890' * 40,
    '\u4e16\u754c' * 300,
    '\U0001f600' * 200,
]
BLANKS = ['', ' ', '\t\n\r\f\v', '\u00a0\u2003\u3000', '\u2028\u2029\x85']
BLANKS += ['a' + blank + 'b' for blank in BLANKS]


def characters_of_every_category():
    """Put up to 40 characters of each Unicode category in three places."""
    members = defaultdict(list)
    for code in range(sys.maxunicode + 1):
        members[unicodedata.category(chr(code))].append(chr(code))
    for chars in members.values():
        for char in chars[:: len(chars) // 40 + 1]:
            yield from (char, f'a{char}b', f"1{char} '{char}S")


def random_texts(seed=0, number=4000):
    """Mix characters of many blocks with the pieces that have rules."""
    rng = random.Random(seed)
    blocks = [(0x20, 0x7F), (0, 0x20), (0x7F, 0x250), (0x300, 0x370)]
    blocks += [(0x370, 0x600), (0x600, 0xE00), (0x2000, 0x2C00)]
    blocks += [(0x3000, 0xA000), (0xD800, 0xE000), (0xF900, 0x10000)]
    blocks += [(0x1F000, 0x1FB00), (0, 0x110000)]
    pieces = [*SPECIALS, *CONTRACTIONS, *EMOJI, *MOJIBAKE, '&', '\u00e2\u20ac']
    for _ in range(number):
        yield ''.join(
            rng.choice(pieces)
            if rng.random() < 0.2
            else chr(rng.randrange(*rng.choice(blocks)))
            for _ in range(rng.randint(1, 24))
        )


NASTY = {
    'class texts': CLASS_TEXTS,
    'contractions': CONTRACTIONS,
    'entities': ENTITIES,
    'emoji': EMOJI,
    'scripts': SCRIPTS,
    'mojibake': MOJIBAKE,
    'special tokens': SPECIALS,
    'over-long': OVER_LONG,
    'blanks': BLANKS,
    'every category': characters_of_every_category,
    'random': random_texts,
}


@pytest.fixture(scope='module')
def tokenizer():
    return CLIPTokenizer()


@pytest.fixture(scope='module')
def oracle():
    """open_clip's tokenizer, its special tokens named as in OpenAI CLIP."""
    package = importlib.util.find_spec('open_clip')
    if package is None:
        pytest.skip('open_clip_torch, the oracle, is not installed')
    # This one file, because importing the package takes many seconds.
    file = Path(package.submodule_search_locations[0], 'tokenizer.py')
    spec = importlib.util.spec_from_file_location('open_clip_tokenizer', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    oracle = module.SimpleTokenizer()
    pattern, flags = oracle.pat.pattern, oracle.pat.flags
    for name in ('startoftext', 'endoftext'):
        theirs, ours = f'<{name.replace("of", "_of_")}>', f'<|{name}|>'
        oracle.encoder[ours] = oracle.encoder.pop(theirs)
        del oracle.cache[theirs]
        oracle.cache[ours] = ours
        pattern = pattern.replace(theirs, rf'<\|{name}\|>')
    oracle.pat = module.re.compile(pattern, flags)
    return oracle


@pytest.fixture(scope='module')
def fresh_interpreter():
    """What a process that imports only the text package reports."""
    program = """
import json, sys, types
from concurrent.futures import ThreadPoolExecutor

# The parent package registers everything; here the text package is alone.
parent = types.ModuleType('projects.oneformer')
parent.__path__ = ['projects/oneformer']
sys.modules['projects.oneformer'] = parent

from projects.oneformer.text import CLIPTokenizer, tokenizer
built = CLIPTokenizer()
names = ('open_clip', 'transformers', 'ftfy', 'regex')
imported = [name for name in names if name in sys.modules]
loaded = tokenizer._load_vocabulary.cache_info().currsize
with ThreadPoolExecutor(8) as threads:
    texts = ['The task is panoptic', 'a panoptic photo'] * 16
    ids = list(threads.map(built.encode, texts))
used = [name for name in names if name in sys.modules]
print(json.dumps(dict(imported=imported, loaded=loaded, ids=ids, used=used)))
"""
    done = subprocess.run(
        [sys.executable, '-c', program],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize('text', IDS)
def test_a_text_is_start_words_end_and_zeros(tokenizer, text):
    ids = [49406, *IDS[text], 49407]
    ids += [0] * (77 - len(ids))
    assert tokenizer(text).tolist() == ids
    assert tokenizer.encode(text) == IDS[text]


def test_a_text_gives_a_row_and_a_list_gives_a_matrix(tokenizer):
    row, matrix = tokenizer('wall'), tokenizer(['wall', 'building'])
    assert row.shape == (77,)
    assert matrix.shape == (2, 77)
    assert row.dtype == matrix.dtype == torch.int64
    assert torch.equal(matrix[0], row)
    assert torch.equal(matrix[1], tokenizer('building'))


def test_a_tuple_is_a_list_and_may_be_empty(tokenizer):
    assert torch.equal(tokenizer(('sky', 'sea')), tokenizer(['sky', 'sea']))
    assert tokenizer([]).shape == (0, 77)
    assert tokenizer([]).dtype == torch.int64


@pytest.mark.parametrize('text', ['', '  ', '\n\t', '\u3000', '&nbsp;'])
def test_a_blank_text_is_start_and_end_alone(tokenizer, text):
    assert tokenizer.encode(text) == []
    assert tokenizer(text).tolist() == [49406, 49407] + [0] * 75


def test_the_mark_of_padding_is_also_the_exclamation_mark(tokenizer):
    # Inside a run of marks; alone it is the mark that ends a word.
    assert tokenizer.encode('!') == [256]
    assert tokenizer_module._load_vocabulary().byte_ids[ord('!')] == 0


def test_75_words_fit_and_a_longer_text_still_ends_with_the_end(tokenizer):
    fits, cut = tokenizer('1' * 75), tokenizer('1' * 76)
    assert fits[1:76].unique().numel() == 1
    assert torch.equal(fits, cut)
    assert cut[0] == 49406
    assert cut[76] == 49407


def test_the_context_length_sets_the_number_of_ids():
    tokenizer = CLIPTokenizer(context_length=5)
    assert tokenizer.context_length == 5
    assert tokenizer('a semantic photo').tolist() == [
        *(49406, 320, 29119, 1550, 49407)
    ]
    assert CLIPTokenizer(2)('wall').tolist() == [49406, 49407]


def test_the_facts_of_the_vocabulary_are_attributes(tokenizer):
    assert tokenizer.vocab_size == 49408
    assert tokenizer.start_id == 49406
    assert tokenizer.end_id == 49407
    assert tokenizer.context_length == 77


def test_every_id_below_the_special_ones_has_one_token():
    byte_ids, merge_ids = tokenizer_module._load_vocabulary()
    assert sorted(byte_ids.values()) == list(range(256))
    assert sorted(merge_ids.values()) == list(range(512, 49406))
    assert all(max(pair) < merged for pair, merged in merge_ids.items())


def test_the_special_tokens_are_recognised_in_a_text(tokenizer):
    text = 'wall<|startoftext|> <|ENDOFTEXT|>&lt;|endoftext|&gt;'
    assert tokenizer.encode(text) == [2569, 49406, 49407, 49407]


def test_a_part_of_a_special_token_is_text(tokenizer):
    ids = tokenizer.encode('<|startoftext <start_of_text>')
    assert not {49406, 49407} & set(ids)


@pytest.mark.parametrize(
    'texts',
    [
        ('a wall', 'A WALL', '  a \t\n wall ', 'a\u3000wall'),
        ('rock & sand', 'rock &amp; sand', 'rock &amp;amp; sand'),
        ('<rock & sand', '<rock &amp; sand', '<rock &amp;amp; sand'),
        ('caf\u00e9', 'cafe\u0301', 'caf\u00c3\u00a9', 'CAF&Eacute;'),
        ("it's", 'IT\u2019S', "it 's"),
        ('1 2 3', '123', '1\uff123'),
    ],
)
def test_spellings_of_one_text_have_the_same_ids(tokenizer, texts):
    first, *others = map(tokenizer.encode, texts)
    assert first
    assert all(other == first for other in others)


@pytest.mark.parametrize('kind', NASTY)
def test_ids_equal_those_of_open_clip(tokenizer, oracle, kind):
    texts = NASTY[kind]() if callable(NASTY[kind]) else NASTY[kind]
    different = [
        ascii(text)
        for text in texts
        if tokenizer.encode(text) != oracle.encode(text)
    ]
    assert not different


def test_rows_equal_those_of_open_clip(tokenizer, oracle):
    texts = [*IDS, *SPECIALS, *OVER_LONG, *BLANKS, *SCRIPTS]
    assert torch.equal(tokenizer(texts), oracle(texts))


def test_class_texts_keep_their_ids(tokenizer):
    ids = tokenizer(CLASS_TEXTS)
    assert ids.shape == (367, 77)
    digest = hashlib.sha256(ids.numpy().astype('<i8').tobytes()).hexdigest()
    assert digest == (
        'ca1311a0882e30948d4fba1c0faea8ae2749123824e73cc2a95cb2475b7e7f9a'
    )


def test_the_vocabulary_file_is_the_documented_one():
    file = tokenizer_module._MERGES_FILE
    content = file.read_bytes()
    assert content[4:8] == bytes(4), 'gzip time stamp'
    digest = hashlib.sha256(gzip.decompress(content)).hexdigest()
    assert digest in (file.parent / 'README.md').read_text()


def test_a_cut_vocabulary_file_is_reported(monkeypatch, tmp_path):
    file = tmp_path / 'merges.txt.gz'
    file.write_bytes(gzip.compress(b'i n\nt h\n'))
    monkeypatch.setattr(tokenizer_module, '_MERGES_FILE', file)
    with pytest.raises(ValueError, match='Expected 48894 merges in .* got 2'):
        tokenizer_module._load_vocabulary.__wrapped__()


@pytest.mark.parametrize('texts', [None, 3, b'wall', {'wall'}, {'wall': 1}])
def test_an_input_that_is_no_text_is_refused(tokenizer, texts):
    with pytest.raises(TypeError, match='Expected a str, or a list'):
        tokenizer(texts)


@pytest.mark.parametrize('text', [None, 3, b'wall', ['wall']])
def test_a_list_with_something_else_than_text_is_refused(tokenizer, text):
    with pytest.raises(TypeError, match='Expected every text to be a str'):
        tokenizer(['sky', text])
    with pytest.raises(TypeError, match='Expected every text to be a str'):
        tokenizer.encode(text)


@pytest.mark.parametrize('length', [None, '77', 77.0, True])
def test_a_context_length_that_is_no_int_is_refused(length):
    with pytest.raises(TypeError, match='Expected context_length as an int'):
        CLIPTokenizer(context_length=length)


@pytest.mark.parametrize('length', [1, 0, -77])
def test_a_context_length_without_room_for_two_ids_is_refused(length):
    with pytest.raises(ValueError, match=f'2 or more.* got {length}:'):
        CLIPTokenizer(context_length=length)


def test_configs_find_the_tokenizer_in_the_registry():
    assert TASK_UTILS.module_dict['CLIPTokenizer'] is CLIPTokenizer


def test_changing_a_result_does_not_change_the_next(tokenizer):
    tokenizer.encode('a panoptic photo').clear()
    tokenizer('a panoptic photo').zero_()
    assert tokenizer.encode('a panoptic photo') == IDS['a panoptic photo']


@pytest.mark.parametrize(
    'duplicate', [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_of_a_used_tokenizer_is_equal_and_small(duplicate):
    tokenizer = CLIPTokenizer(12)
    ids = tokenizer('a semantic photo')
    assert torch.equal(duplicate(tokenizer)('a semantic photo'), ids)
    assert len(pickle.dumps(tokenizer)) < 200


@pytest.mark.skipif(
    'fork' not in multiprocessing.get_all_start_methods(),
    reason='the system has no fork',
)
def test_forked_workers_give_the_same_ids(tokenizer):
    texts = list(IDS)
    with multiprocessing.get_context('fork').Pool(2) as workers:
        assert workers.map(tokenizer.encode, texts) == list(IDS.values())


def test_importing_and_building_loads_nothing(fresh_interpreter):
    assert fresh_interpreter['imported'] == []
    assert fresh_interpreter['loaded'] == 0


def test_the_first_texts_may_come_from_many_threads(fresh_interpreter):
    pair = [IDS['The task is panoptic'], IDS['a panoptic photo']]
    assert fresh_interpreter['ids'] == pair * 16


def test_tokenizing_needs_neither_open_clip_nor_transformers(
    fresh_interpreter,
):
    assert fresh_interpreter['used'] == ['ftfy', 'regex']
