"""No cookies: what a server sets is neither kept nor sent to it again."""

from http.cookiejar import CookieJar, DefaultCookiePolicy


def refuse_cookies() -> CookieJar:
    """A jar for a client that takes none of any host."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))
