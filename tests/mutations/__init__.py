"""Small data sets, changed at random, and the property that holds for them.

What the validator finds no error in is loaded, trained on and evaluated; what
data sets, pipelines or metrics refuse the validator reports before. Nothing
ends otherwise than in an error that names a file. To check more of them:

    python tests/mutations --kind panoptic --count 10000

:mod:`drawn` draws the sets, :mod:`changes` changes them, :mod:`agreement`
checks the property.
"""
