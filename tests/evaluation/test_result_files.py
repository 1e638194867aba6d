"""Names of result files."""

from projects.oneformer.evaluation import result_files


def test_an_image_is_named_after_its_file():
    sample = dict(img_path='data/val/frankfurt_1.2_leftImg8bit.png')
    name = result_files.image_name(sample)
    assert name == 'frankfurt_1.2_leftImg8bit'


def test_only_names_that_several_images_have_get_an_id():
    meta = dict(repeated_names=('x',))
    for path, number, name in (
        ('a/y.jpg', 3, 'y'),
        ('a/x.jpg', 4, 'x_4'),
        ('b/X.jpg', 'b/X', 'X_b_X'),
    ):
        sample = dict(img_path=path, img_id=number)
        assert result_files.result_name(sample, meta) == name
    assert result_files.result_name(dict(img_path='a/x.jpg'), {}) == 'x'
