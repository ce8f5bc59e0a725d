"""Whether a store holds a key, asked as anybody asks."""

from app.media.store import PictureMissing, PictureStore


async def is_stored(store: PictureStore, key: str) -> bool:
    try:
        await store.get(key)
    except PictureMissing:
        return False
    return True
