"""A gallery, a store and a hand for each test of keeping."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.media.store import PictureStore, open_store
from tests.jobs.keeping.gallery import Gallery, Hand, keeping_hand
from tests.jobs.scene import Scene
from tests.media.wire import serve


@pytest.fixture
async def gallery() -> AsyncIterator[Gallery]:
    gallery = Gallery()
    async with serve(gallery.answer) as wire:
        gallery.wire = wire
        yield gallery


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> PictureStore:
    return open_store(folder.as_uri())


@pytest.fixture
async def hand(scene: Scene, store: PictureStore, gallery: Gallery) -> AsyncIterator[Hand]:
    async with keeping_hand(scene, store, gallery.wire.host) as hand:
        yield hand
