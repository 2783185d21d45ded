"""Adverts signed with the operator's certificate, and what `show` reports about such a file."""

from __future__ import annotations

import datetime as dt
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image
from typer.testing import CliRunner

from inpaint_server.cli import app
from inpaint_server.client import Client
from inpaint_server.errors import SettingsError
from inpaint_server.settings import Settings
from inpaint_server.wire.signing import signer
from testing.plain_server import PlainServer

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def _name(common: str) -> x509.Name:
    names = {NameOID.ORGANIZATION_NAME: "Tea and Company", NameOID.COMMON_NAME: common}
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in names.items()])


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _certificate(key: Key, root: ec.EllipticCurvePrivateKey, common: str, *, authority: bool) -> bytes:
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(_name(common))
        .issuer_name(_name("root"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(_usage(authority=authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
    )
    if not authority:
        built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return built.sign(root, hashes.SHA256()).public_bytes(Encoding.PEM)


def credentials(folder: Path, key: Key | None = None) -> Settings:
    """A signer's chain and key in the folder, and the settings that name them."""
    root, key = ec.generate_private_key(ec.SECP256R1()), key or ec.generate_private_key(ec.SECP256R1())
    chain = [_certificate(key, root, "adverts", authority=False), _certificate(root, root, "root", authority=True)]
    (folder / "chain.pem").write_bytes(b"".join(chain))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Settings(sign_certificate=folder / "chain.pem", sign_key=folder / "key.pem")


def _show(file: Path) -> str:
    result = CliRunner().invoke(app, ["show", str(file)])
    assert result.exit_code == 0, result.output
    return result.stdout


def _forged(data: bytes) -> bytes:
    """The file with another prompt in its note, otherwise valid."""
    changed = data.replace(b"a quiet sea", b"a noisy sea")
    if not data.startswith(b"\x89PNG"):
        return changed
    kind = changed.index(b"tEXt")
    end = kind + 4 + struct.unpack(">I", changed[kind - 4 : kind])[0]
    return changed[:end] + struct.pack(">I", zlib.crc32(changed[kind:end])) + changed[end + 4 :]


@pytest.mark.parametrize(("form", "suffix"), [("png", ".png"), ("jpeg", ".jpg"), ("webp", ".webp")])
def test_signed_advert_names_signer_and_changes(tmp_path: Path, form: str, suffix: str):
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(photo)
    signed_file, plain = tmp_path / f"signed{suffix}", tmp_path / f"plain{suffix}"
    fields = {"background_prompt": "a quiet sea", "foreground_prompt": "sand", "steps": 1, "seed": 11}
    with PlainServer(provenance="full", sign=signer(credentials(tmp_path))) as server, Client(server.url) as client:
        client.advert(photo, output_format=form, **fields).pictures[0].save(signed_file)  # pyright: ignore[reportArgumentType]
    with PlainServer() as server, Client(server.url) as client:
        client.advert(photo, output_format=form, **fields).pictures[0].save(plain)  # pyright: ignore[reportArgumentType]
    lines = _show(signed_file).splitlines()
    assert "signed by Tea and Company, unchanged since" in lines
    assert "background_prompt: a quiet sea" in lines, "the note is part of what is signed"
    assert "signed" not in _show(plain)
    assert np.array_equal(np.asarray(Image.open(signed_file)), np.asarray(Image.open(plain))), "the picture is the same"
    signed_file.write_bytes(_forged(signed_file.read_bytes()))
    lines = _show(signed_file).splitlines()
    assert "background_prompt: a noisy sea" in lines
    expected = "signed by Tea and Company, but do not trust what it says: assertion.dataHash.mismatch"
    assert expected in lines


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param(ed25519.Ed25519PrivateKey.generate(), id="Ed25519"),
        pytest.param(rsa.generate_private_key(public_exponent=65537, key_size=2048), id="RSA"),
    ],
)
def test_supported_key_types_sign(tmp_path: Path, key: Key):
    assert signer(credentials(tmp_path, key)) is not None


def test_no_signer_without_settings():
    assert signer(Settings()) is None


@pytest.mark.parametrize(
    ("chain", "key", "sentence"),
    [
        ("chain.pem", None, "Set both"),
        (None, "key.pem", "Set both"),
        ("absent.pem", "key.pem", "absent.pem cannot be read"),
        ("key.pem", "key.pem", "the signer's own certificate first"),
        ("chain.pem", "chain.pem", "a private key in PEM"),
        ("chain.pem", "other.pem", "belongs to the key"),
    ],
)
def test_unusable_signing_settings_named(tmp_path: Path, chain: str | None, key: str | None, sentence: str):
    credentials(tmp_path)
    other = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "other.pem").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    named = Settings(
        sign_certificate=None if chain is None else tmp_path / chain, sign_key=None if key is None else tmp_path / key
    )
    with pytest.raises(SettingsError) as refused:
        signer(named)
    assert sentence in refused.value.message


def test_missing_library_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    named = credentials(tmp_path)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(SettingsError, match="extra `sign`"):
        signer(named)
