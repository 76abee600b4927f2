"""The image that tests run: that of this machine's Python, or with `--image` the one that is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import image as images
from tests.support.containers import require_namespaces

if TYPE_CHECKING:
    from tests.support.image import Image


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image to start containers of, with the settings of deploy/Containerfile.

    Without `--image`, its files are those of this machine and this checkout.
    """
    require_namespaces()
    make = images.built if pytestconfig.getoption("image") else images.on_this_machine
    return make(tmp_path_factory.mktemp("image"))


@pytest.fixture
def built(pytestconfig: pytest.Config, image: Image) -> Image:
    """The image as it is built."""
    if not pytestconfig.getoption("image"):
        pytest.skip("building the image takes minutes: make image-test")
    return image
