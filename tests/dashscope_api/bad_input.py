"""Everything that section by section of the create call can be wrong, and the answer to it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.dashscope_api.client import ASYNC, IMAGE_TO_IMAGE
from tests.emulator.client import make_body, make_picture, to_data_uri
from tests.media.images import make_image, make_long_uri, make_uri

INVALID = "InvalidParameter"
JSON = {"Content-Type": "application/json"}
UNCHANGED = object()


@dataclass(frozen=True)
class BadInput:
    """One request that is refused; `words` are in the message, the limit and the value too."""

    sent: str
    words: tuple[str, ...]
    content: Any = field(default_factory=make_body, repr=False)
    headers: dict[str, str | None] = field(default_factory=dict, repr=False)
    method: str = "POST"
    path: str = IMAGE_TO_IMAGE
    status: int = 400
    code: str = INVALID

    async def send(self, http: httpx.AsyncClient) -> httpx.Response:
        """Through a client that carries a good key, unless `headers` say otherwise."""
        chosen = {"Authorization": http.headers["Authorization"], **ASYNC, **JSON, **self.headers}
        headers = {name: value for name, value in chosen.items() if value is not None}
        options = (
            {"content": self.content}
            if isinstance(self.content, bytes)
            else {"json": self.content}
        )
        request = http.build_request(self.method, self.path, headers=headers, **options)
        if chosen["Authorization"] is None:
            del request.headers["Authorization"]
        return await http.send(request)


def list_bad_input() -> list[BadInput]:
    return [
        *_bodies(),
        *_models(),
        *_prompts(),
        *_image_lists(),
        *_image_contents(),
        *_image_addresses(),
        *_sizes(),
        *_numbers(),
        *_flags(),
        *_credentials(),
        *_ways(),
    ]


def _with(where: str, name: str, value: Any) -> dict[str, Any]:
    """A good body but for one field; UNCHANGED leaves it out."""
    body = make_body()
    place = body if where == "" else body[where]
    place[name] = value
    if value is UNCHANGED:
        del place[name]
    return body


def _bodies() -> Iterator[BadInput]:
    yield BadInput("no body", ("not JSON",), b"")
    yield BadInput("a body that is not JSON", ("not JSON", "character 1"), b"{'model': 1}")
    yield BadInput("a JSON array", ("must be a JSON object", "an array"), [])
    yield BadInput("input: a string", ("input", "an object", 'not "x"'), _with("", "input", "x"))
    yield BadInput(
        "parameters: an array",
        ("parameters", "an object", "an array"),
        _with("", "parameters", []),
    )


def _models() -> Iterator[BadInput]:
    known = ("Model not exist.", "wan2.5-i2i-preview")
    yield BadInput("model left out", ("null", *known), _with("", "model", UNCHANGED))
    yield BadInput("model: 7", ("7 is no model", *known), _with("", "model", 7))
    yield BadInput("model: wan9", ("wan9", *known), _with("", "model", "wan9"))


def _prompts() -> Iterator[BadInput]:
    required = ("Field required: input.prompt", "1 to 2000")
    yield BadInput("prompt left out", required, _with("input", "prompt", UNCHANGED))
    yield BadInput("prompt: empty", required, _with("input", "prompt", ""))
    yield BadInput("prompt: white space", required, _with("input", "prompt", " \n"))
    yield BadInput("prompt: 7", ("input.prompt", "a string", "not 7"), _with("input", "prompt", 7))
    yield BadInput(
        "prompt: with U+0000", ("input.prompt", "U+0000"), _with("input", "prompt", "a\0b")
    )
    yield BadInput(
        "negative_prompt: 7",
        ("input.negative_prompt", "a string", "not 7"),
        _with("input", "negative_prompt", 7),
    )


def _images(sent: str, images: Any, *words: str) -> BadInput:
    return BadInput(f"images: {sent}", ("input.images", *words), _with("input", "images", images))


def _image_lists() -> Iterator[BadInput]:
    good = to_data_uri(make_picture())
    yield _images("left out", UNCHANGED, "Field required", "0 images", "1 to 3")
    yield _images("none", [], "Field required", "0 images", "1 to 3")
    yield _images("4", [good] * 4, "4 images", "1 to 3")
    yield _images("a string", good, "an array of strings", "data:image/")
    yield _images("an item that is 7", [7], "[0]", "a string", "a number")
    yield _images("the second is null", [good, None], "[1]", "a string", "null")


def _image_contents() -> Iterator[BadInput]:
    yield _images("a GIF", [to_data_uri(make_image("GIF"), "image/gif")], "[0]", "image/gif")
    yield _images("a GIF that says it is a PNG", [to_data_uri(make_image("GIF"))], "[0]", "GIF")
    yield _images("text in base64", [to_data_uri(b"hello, world" * 9)], "[0]", "image format")
    yield _images("a PNG cut in its header", [to_data_uri(make_image()[:20])], "[0]", "cut off")
    yield _images("broken base64", ["data:image/png;base64,@@@@"], "[0]", "base64")
    yield _images("a data URI without base64", ["data:image/png,abc"], "[0]", "base64")
    yield _images("383*500", [make_uri(383, 500)], "[0]", "width is 383", "384 to 5000")
    yield _images("500*383", [make_uri(500, 383)], "[0]", "height is 383", "384 to 5000")
    yield _images("5001*2000", [make_uri(5001, 2000)], "[0]", "width is 5001", "384 to 5000")
    yield _images("1601*400", [make_uri(1601, 400)], "[0]", "4.0025:1", "1:4 to 4:1")
    yield _images("400*1601", [make_uri(400, 1601)], "[0]", "1:4.0025", "1:4 to 4:1")
    long = make_long_uri(10_485_761)
    yield _images("a data URI of 10,485,761 bytes", [long], "[0]", "10485761", "10485760")


def _image_addresses() -> Iterator[BadInput]:
    link = "https://example.com/"
    yield _images(
        "ftp://", ["ftp://example.com/a.png"], "[0]", 'scheme is "ftp"', "http, https or data"
    )
    yield _images("file://", ["file:///tmp/a.png"], "[0]", "local path")
    yield _images("a path", ["/tmp/a.png"], "[0]", "local path")
    yield _images("an empty string", [""], "[0]", "neither a URL nor a data URI")
    yield _images("bare base64", ["iVBORw0KGgo" * 200], "[0]", "data:image/png;base64,")
    yield _images("a URL without a host", ["https:///a.png"], "[0]", "without a host")
    yield _images("a URL with a password", ["https://a:b@c.example/a"], "[0]", "user name")
    yield _images(
        "a URL with a space", [link + "a b.png"], "[0]", "U+0020 SPACE at character 21", "%20"
    )
    yield _images("a URL of 8,001 characters", [link.ljust(8001, "a")], "[0]", "8001", "8000")
    yield _images("oss:// that nobody uploaded", ["oss://a/b.png"], "[0]", "not a file of yours")


def _parameter(name: str, value: Any, *words: str) -> BadInput:
    shown = f'"{value}"' if isinstance(value, str) else value
    return BadInput(
        f"{name}: {shown}", (f"parameters.{name}", *words), _with("parameters", name, value)
    )


def _sizes() -> Iterator[BadInput]:
    form = 'must be "width*height"'
    yield _parameter("size", "1280", form, "1280")
    yield _parameter("size", "1280,1280", form, "1280,1280")
    yield _parameter("size", "0*1280", form, "0*1280")
    yield _parameter("size", 1280, form, "not 1280")
    yield _parameter("size", "767*768", "589056 pixels", "589824", "1638400")
    yield _parameter("size", "1281*1280", "1639680 pixels", "589824", "1638400")
    yield _parameter("size", "2000*499", "4.00802:1", "1:4 to 4:1")
    yield _parameter("size", "499*2000", "1:4.00802", "1:4 to 4:1")


def _numbers() -> Iterator[BadInput]:
    no_number: Any
    for n in (0, 5, -1, "5"):
        yield _parameter("n", n, "Range of n should be [1, 4]", f"is {n}")
    for no_number in (1.5, "two", True, [1]):
        yield _parameter("n", no_number, "must be a whole number")
    for seed in (-1, 2_147_483_648, "-1"):
        yield _parameter("seed", seed, "[0, 2147483647]", f"is {seed}")
    yield _parameter("seed", 10**40, "[0, 2147483647]")
    for no_number in (1.5, "x", False):
        yield _parameter("seed", no_number, "must be a whole number")


def _flags() -> Iterator[BadInput]:
    no_flags: list[Any] = ["yes", 1, []]
    for name in ("watermark", "prompt_extend"):
        for value in no_flags:
            yield _parameter(name, value, "must be true or false")


def _credentials() -> Iterator[BadInput]:
    def refuse(sent: str, words: tuple[str, ...], headers: dict[str, str | None]) -> BadInput:
        return BadInput(sent, words, headers=headers, status=401, code="InvalidApiKey")

    yield refuse("no key", ("No API-key provided.",), {"Authorization": None})
    yield refuse(
        "a key that nobody has", ("Invalid API-key provided.",), {"Authorization": "Bearer sk-x"}
    )
    yield refuse(
        "a key of ours, mistyped",
        ("Invalid API-key provided.",),
        {"Authorization": "Bearer dg_live_" + "0" * 47},
    )
    other = ("Invalid API-key provided.", "Bearer <key>")
    yield refuse("Basic", ("begins with Basic", *other), {"Authorization": "Basic YTpi"})
    yield refuse("Token", ("begins with Token", *other), {"Authorization": "Token a"})
    yield refuse("Bearer:", ("begins with Bearer:", *other), {"Authorization": "Bearer: a"})
    yield refuse("a key without Bearer", ("no `Bearer`", *other), {"Authorization": "dg_live_x"})
    yield refuse("a key in quotes", ("not a key of",), {"Authorization": 'Bearer "dg_live_x"'})
    yield refuse("Bearer twice", ("twice", *other), {"Authorization": "Bearer Bearer dg_live_x"})
    yield refuse("Bearer alone", ("No API-key provided.",), {"Authorization": "Bearer"})
    yield refuse("an empty header", ("No API-key provided.",), {"Authorization": ""})


def _ways() -> Iterator[BadInput]:
    for value in (None, "disable"):
        yield BadInput(
            f"X-DashScope-Async: {value}" if value else "no X-DashScope-Async",
            ("current user api does not support synchronous calls",),
            headers={"X-DashScope-Async": value},
            status=403,
            code="AccessDenied",
        )
    yield BadInput(
        "Idempotency-Key of 256 characters",
        ("Idempotency-Key", "1 to 255", "256"),
        headers={"Idempotency-Key": "k" * 256},
    )
    yield BadInput(
        "another service's path",
        ("url error, please check url!",),
        path="/services/aigc/video-generation/video-synthesis",
    )
    yield BadInput("GET on the path of create", ("'GET' is not supported",), method="GET")
