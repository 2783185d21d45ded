"""Content Credentials: a finished picture's file signed with the operator's certificate, and such a signature read.

C2PA, Content Credentials technical specification 2.x (https://spec.c2pa.org). The library, `c2pa-python`, comes with
the extra `sign`; nothing of it is imported where no picture is signed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

from inpaint_server import __version__
from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.domain.request import OutputFormat, Task
from inpaint_server.errors import SettingsError
from inpaint_server.imaging.codec import encode
from inpaint_server.settings import Settings

Sign = Callable[[bytes, OutputFormat, Task], bytes]
"""A file of a format and what it shows in; the same file signed out."""

_SOURCES: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_UNKNOWN_ISSUER: Final = "signingCredential.untrusted"
_MARK: Final = b"c2pa"
_QUIET: Final = json.dumps({"builder": {"thumbnail": {"enabled": False}}})
"""A thumbnail would be half as large as the picture."""


def signer(settings: Settings) -> Sign | None:
    """A signer for the settings' certificate; None where they name none.

    Raises:
        SettingsError: certificate or key cannot be used, or the library is not installed.
    """
    certificate, key = settings.sign_certificate, settings.sign_key
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise SettingsError(
            "Set both INPAINT_SIGN_CERTIFICATE and INPAINT_SIGN_KEY, or neither.",
            field="INPAINT_SIGN_KEY" if key is None else "INPAINT_SIGN_CERTIFICATE",
        )
    try:
        import c2pa
    except ImportError:
        raise SettingsError(
            "Install inpaint-server with the extra `sign`, or unset INPAINT_SIGN_CERTIFICATE.",
            field="INPAINT_SIGN_CERTIFICATE",
        ) from None
    chain, secret = _file(certificate, "INPAINT_SIGN_CERTIFICATE"), _file(key, "INPAINT_SIGN_KEY")
    algorithm = _algorithm(secret)
    context = c2pa.Context.from_json(_QUIET)

    def sign(data: bytes, form: OutputFormat, task: Task) -> bytes:
        signed = io.BytesIO()
        credentials = c2pa.C2paSignerInfo(alg=algorithm, sign_cert=chain, private_key=secret, ta_url=None)
        with (
            c2pa.Signer.from_info(credentials) as one_signer,
            c2pa.Builder(json.dumps(_manifest(task)), context=context) as builder,
        ):
            builder.sign(one_signer, f"image/{form}", io.BytesIO(data), signed)
        return signed.getvalue()

    _try_out(sign)
    return sign


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A file's signature.

    Attributes:
        by: Whom the certificate names; whether its issuer is trusted is not checked.
        faults: What is wrong with it, by the codes of C2PA; none: the file is as it was when it was signed. None where
            the library is not installed.
    """

    by: str
    faults: tuple[str, ...] | None


def signature(data: bytes) -> Signature | None:
    """The signature of a PNG, JPEG or WebP file; None where it has none."""
    if _MARK not in data:
        return None
    try:
        import c2pa
    except ImportError:
        return Signature(by="somebody", faults=None)
    try:
        reader = c2pa.Reader.try_create(_media_type(data), io.BytesIO(data))
        if reader is None:
            return None
        with reader:
            report = json.loads(reader.json())
    except c2pa.C2paError as error:
        return Signature(by="somebody", faults=(str(error),))
    signed: dict[str, str] = report["manifests"][report["active_manifest"]].get("signature_info", {})
    failures: list[dict[str, str]] = report["validation_results"]["activeManifest"]["failure"]
    return Signature(
        by=signed.get("issuer") or signed.get("common_name") or "somebody",
        faults=tuple(one["code"] for one in failures if one["code"] != _UNKNOWN_ISSUER),
    )


def _media_type(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as image:
        return Image.MIME[image.format or ""]


def _manifest(task: Task) -> dict[str, Any]:
    """The software and the kind of source, by the IPTC's digital source types; the file's note describes the rest."""
    kind = "trainedAlgorithmicMedia" if task == "background" else "compositeWithTrainedAlgorithmicMedia"
    created = {"action": "c2pa.created", "digitalSourceType": _SOURCES + kind}
    return {
        "claim_generator_info": [{"name": "inpaint-server", "version": __version__}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }


def _file(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"Set {variable} to a file: {path} cannot be read ({error.strerror}).", field=variable
        ) from None


def _algorithm(secret: bytes) -> str:
    """What a key of this kind signs with (C2PA 2.x, section 13.2)."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    field = "INPAINT_SIGN_KEY"
    try:
        key = load_pem_private_key(secret, None)
    except (TypeError, ValueError):
        raise SettingsError(f"Set {field} to a private key in PEM without a password.", field=field) from None
    match key:
        case ec.EllipticCurvePrivateKey(key_size=256 | 384 | 521 as bits):
            return {256: "es256", 384: "es384", 521: "es512"}[bits]
        case rsa.RSAPrivateKey():
            return "ps256"
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
        case _:
            raise SettingsError(f"Set {field} to an elliptic-curve, Ed25519 or RSA key.", field=field)


def _try_out(sign: Sign) -> None:
    """Fail before the first caller does, not with it."""
    import c2pa
    import numpy as np

    grey: UInt8Array = np.full((8, 8, 3), 128, np.uint8)
    try:
        sign(encode(grey, "png"), "png", "background")
    except c2pa.C2paError as error:
        raise SettingsError(
            "Set INPAINT_SIGN_CERTIFICATE to a chain in PEM, the signer's own certificate first, that belongs to the "
            f"key and may sign Content Credentials ({str(error).rstrip('.')}).",
            field="INPAINT_SIGN_CERTIFICATE",
        ) from None
