"""The keeping of one picture: download, verify, store, byte for byte."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from app.kit.faultpoints import faultpoint
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

STORE_TROUBLE = "store_unavailable"
NOT_FETCHED = "picture_not_fetched"
NOT_WHOLE = "picture_not_whole"
NOT_KEPT = "picture_not_kept"
PICTURE_TROUBLES = (NOT_FETCHED, NOT_WHOLE, NOT_KEPT)
"""Codes of trouble that is one picture's, not everybody's."""


@dataclass(frozen=True, slots=True)
class WaitingPicture:
    """A picture that is still upstream; its URL is a credential and shows in no log."""

    index: int
    url: str
    expires_at: datetime
    twins: tuple[int, ...] = ()
    """Other places of the same result with the same URL."""

    @property
    def places(self) -> tuple[int, ...]:
        return (self.index, *self.twins)

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
    """It can be had no longer: the upstream has said so after its time, or its grace is over."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class NotYet:
    """The picture could not be kept this time; it is tried again, also after its time."""

    index: int
    code: str
    reason: str
    is_gone: bool = False
    """The upstream itself says that it is not there: after its time that is its last word."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """What keeping needs: the way to the result hosts, and the store."""

    downloads: Downloads
    hosts: ResultHosts
    store: PictureStore


async def collect_picture(shelf: Shelf, picture: WaitingPicture) -> Kept | NotYet:
    """Keep a picture. Its key is the hash of its content, so doing it twice does no harm."""
    try:
        return await _collect(shelf, picture)
    except StoreUnavailable as error:
        code, reason = STORE_TROUBLE, str(error)
    except PictureGone as error:
        return NotYet(picture.index, NOT_FETCHED, str(error), is_gone=True)
    except (DownloadFailed, HostNotAllowed) as error:
        code, reason = NOT_FETCHED, str(error)
    except (CorruptImage, UnreadableImage) as error:
        code, reason = NOT_WHOLE, str(error)
    return NotYet(picture.index, code, reason)


async def _collect(shelf: Shelf, picture: WaitingPicture) -> Kept:
    faultpoint("keep.before_download")
    download = await download_picture(picture.url, client=shelf.downloads, allowed=shelf.hosts)
    facts = await asyncio.to_thread(verify_picture, download.content, download.announced_bytes)
    store_key = content_key("pictures", facts.sha256)
    faultpoint("keep.before_put")
    await shelf.store.put(store_key, download.content)
    faultpoint("keep.after_put")
    return Kept(picture.index, store_key, facts)
