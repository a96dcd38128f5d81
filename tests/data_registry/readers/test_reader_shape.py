"""Every reader of scenes is called alike, so that a data set can name it."""

import inspect
from importlib import import_module

import pytest

from data_registry.readers.reader import Reader


@pytest.mark.parametrize("name", ["imagenet3d", "kitti", "omni3d", "openimages"])
def test_every_reader_has_the_same_shape(name):
    ours = inspect.signature(import_module(f"data_registry.readers.{name}").scenes)
    shape = inspect.signature(Reader.__call__)
    assert list(ours.parameters) == [key for key in shape.parameters if key != "self"]
    assert ours.return_annotation == shape.return_annotation
