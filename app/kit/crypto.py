"""The deployment's secrets: sealing values at rest, signing links, peppering key digests.

Sealing is AES-256-GCM (NIST SP 800-38D) with row and column as associated data; each use has a
key of its own, derived by HKDF-SHA256 (RFC 5869). Several secrets may be given, newest first:
the newest seals and signs, all of them open and verify, which is how a secret is rotated.
"""

import hashlib
import hmac
import os
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MINIMUM_SECRET_LENGTH = 32
LEAST_DISTINCT_CHARACTERS = 10
"""32 random hexadecimal digits have fewer once in ten thousand times."""
_PLACEHOLDER = re.compile(
    r"change[-_ ]?(?:me|this)|placeholder|your[-_ ]?secret|replace[-_ ]?me", re.I
)
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12


class SecretTooShort(ValueError):
    """A secret below the minimum length protects nothing."""


def is_guessable(secret: str) -> bool:
    """Whether a secret is one that people write when they do not make one."""
    return len(set(secret)) < LEAST_DISTINCT_CHARACTERS or _PLACEHOLDER.search(secret) is not None


class CannotOpen(ValueError):
    """A sealed value that none of the secrets opens, or that was moved or altered."""


class Vault:
    """Every use of the deployment's secrets; its repr shows none of them."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        if not secrets or any(len(secret) < MINIMUM_SECRET_LENGTH for secret in secrets):
            raise SecretTooShort(
                f"each secret needs at least {MINIMUM_SECRET_LENGTH} characters; make one with "
                "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
            )
        self._sealing = [_derive(secret, b"seal") for secret in secrets]
        self._signing = [_derive(secret, b"sign") for secret in secrets]
        self._peppers = [_derive(secret, b"pepper") for secret in secrets]
        self.fingerprints = tuple(_derive(secret, b"fingerprint").hex()[:16] for secret in secrets)
        """What tells a secret from another, newest first, and leads back to none of them."""

    def seal(self, plaintext: str, place: str) -> bytes:
        """Encrypt for one place (row and column); opens nowhere else."""
        key = self._sealing[0]
        nonce = os.urandom(_NONCE_BYTES)
        return (
            _key_id(key) + nonce + AESGCM(key).encrypt(nonce, plaintext.encode(), place.encode())
        )

    def open(self, sealed: bytes, place: str) -> str:
        """Decrypt what `seal` made for that place; raises CannotOpen."""
        key_id, rest = sealed[:_KEY_ID_BYTES], sealed[_KEY_ID_BYTES:]
        for key in self._sealing:
            if _key_id(key) != key_id:
                continue
            try:
                plain = AESGCM(key).decrypt(
                    rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], place.encode()
                )
            except InvalidTag:
                break
            return plain.decode()
        raise CannotOpen(
            f"the value sealed for {place} does not open: DASHGATE_SECRET_KEY must still hold "
            "the secret it was sealed with"
        )

    def sign(self, text: str) -> str:
        """HMAC-SHA256 of the text by the newest secret, 32 hex digits."""
        return _signature(self._signing[0], text)

    def verifies(self, text: str, signature: str) -> bool:
        """Whether any of the secrets signed that text."""
        return any(
            hmac.compare_digest(_signature(key, text).encode(), signature.encode())
            for key in self._signing
        )

    def digests(self, credential: str) -> tuple[bytes, ...]:
        """HMAC-SHA256 digests of a credential, one a secret, newest first."""
        return tuple(
            hmac.digest(pepper, credential.encode(), hashlib.sha256) for pepper in self._peppers
        )


def _derive(secret: str, use: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"dashgate/" + use).derive(secret.encode())


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:_KEY_ID_BYTES]


def _signature(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), hashlib.sha256).hex()[:32]
