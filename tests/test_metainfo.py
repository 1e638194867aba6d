"""The rules of class lists."""

import pytest

from projects.oneformer.metainfo import class_list, read_metainfo


def test_things_are_told_by_their_place_among_the_classes():
    names, things = read_metainfo(
        dict(classes=['sky', 'cat', 'dog'], thing_classes=('dog', 'cat'))
    )
    assert names == ('sky', 'cat', 'dog')
    assert things == [2, 1]


@pytest.mark.parametrize(
    ('metainfo', 'message'),
    [
        (dict(classes=('cat',)), "lacks 'thing_classes'"),
        (dict(thing_classes=[]), "lacks 'classes'"),
        (dict(classes=None, thing_classes=[]), "lacks 'classes'"),
        (
            dict(classes=('cat', 'dog', 'cat'), thing_classes=['cat']),
            r"more than once: \['cat'\]",
        ),
        (
            dict(classes=('cat',), thing_classes=['cat', 'cow']),
            r"\['cow'\] of metainfo are not among",
        ),
        (dict(classes=('cat', ' '), thing_classes=[]), r"the classes \[' '\]"),
        (dict(classes=('cat', 3), thing_classes=[]), r'the classes \[3\]'),
        (dict(classes='cat', thing_classes=[]), r"for one class write \['cat"),
    ],
)
def test_metainfo_that_contradicts_itself_is_refused(metainfo, message):
    with pytest.raises(ValueError, match=message):
        read_metainfo(metainfo)


def test_a_list_that_is_not_given_is_none():
    assert class_list({}, 'classes') is None
    assert class_list(dict(classes=[]), 'classes') == ()
