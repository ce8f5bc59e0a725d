"""The keeping of one picture: download, verify, store, byte for byte."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.media.fetch import (
    DownloadFailed,
    Downloads,
    HostNotAllowed,
    PictureGone,
    ResultHosts,
    download_picture,
)
from app.media.inspect import CorruptImage, ImageFacts, UnreadableImage, verify_picture
from app.media.store import PictureStore, StoreUnavailable, content_key

HOPE = timedelta(hours=1)
"""How long a picture is still asked for after its time, unless the upstream says it is gone."""


@dataclass(frozen=True, slots=True)
class WaitingPicture:
    """A picture that is still upstream; its URL is a credential and shows in no log."""

    index: int
    url: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"WaitingPicture(index={self.index}, expires_at={self.expires_at})"


@dataclass(frozen=True, slots=True)
class Kept:
    """The picture is ours: stored, synced and verified."""

    index: int
    store_key: str
    facts: ImageFacts


@dataclass(frozen=True, slots=True)
class Lost:
    """The upstream has the picture no longer, and its time is over."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class NotYet:
    """The picture could not be kept this time; it is tried again while the upstream has it."""

    index: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Shelf:
    """What keeping needs: the way to the result hosts, and the store."""

    downloads: Downloads
    hosts: ResultHosts
    store: PictureStore


async def collect_picture(
    shelf: Shelf, picture: WaitingPicture, *, now: datetime
) -> Kept | Lost | NotYet:
    """Keep a picture. Its key is the hash of its content, so doing it twice does no harm."""
    try:
        return await _collect(shelf, picture)
    except StoreUnavailable as error:
        return NotYet(picture.index, "store_unavailable", str(error))
    except PictureGone as error:
        code, reason, hope = "picture_not_fetched", str(error), timedelta(0)
    except (DownloadFailed, HostNotAllowed) as error:
        code, reason, hope = "picture_not_fetched", str(error), HOPE
    except (CorruptImage, UnreadableImage) as error:
        code, reason, hope = "picture_not_whole", str(error), HOPE
    if now >= picture.expires_at + hope:
        return Lost(picture.index, reason)
    return NotYet(picture.index, code, reason)


async def _collect(shelf: Shelf, picture: WaitingPicture) -> Kept:
    download = await download_picture(picture.url, client=shelf.downloads, allowed=shelf.hosts)
    facts = await asyncio.to_thread(verify_picture, download.content, download.announced_bytes)
    store_key = content_key("pictures", facts.sha256)
    await shelf.store.put(store_key, download.content)
    return Kept(picture.index, store_key, facts)
