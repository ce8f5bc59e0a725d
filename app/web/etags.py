"""Entity tags: whether a client has what it asks for already. Source: RFC 9110, 13.1.2."""


def make_etag(digest: str) -> str:
    return f'"{digest}"'


def has_current(if_none_match: str | None, etag: str) -> bool:
    """Whether the tags of the header, or its `*`, stand for this one."""
    tags = {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}
    return etag in tags or "*" in tags
