"""A page that segments images, and its HTTP interface.

``page`` needs gradio (the extra ``web``); the other modules need it not:

- ``limits``: what a visitor may upload, and reading it;
- ``served_model``: a model under the name that the page shows;
- ``scaling``: results in another size;
- ``viewer``: the drawings as HTML that names the segment under the pointer;
- ``downloads``: files of a result;
- ``json_errors``: refused uploads in JSON;
- ``page``: the page itself, and its endpoints.
"""
