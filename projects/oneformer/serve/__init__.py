"""A page that segments images, and its HTTP interface.

These modules need gradio (the extra ``web``):

- ``page``: the page itself, its components and its server;
- ``actions``: what a visitor's actions compute;
- ``endpoints``: what programs ask for over HTTP;
- ``visitor_errors``: errors that a visitor can correct;
- ``gradio``: gradio as it is imported here.

The others do without it:

- ``limits``: what a visitor may upload, and reading it;
- ``served_model``: a model under the name that the page shows;
- ``scaling``: results in another size;
- ``viewer``: the drawings as HTML that names the segment under the pointer;
- ``downloads``: files of a result;
- ``many``: many images, or the frames of a video;
- ``json_errors``: refused uploads in JSON.
"""
