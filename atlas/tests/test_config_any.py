"""Settings of any environment: either they work, or one error names what is wrong and gives no secret away."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest import mock

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from alkyone.databases import NOON
from alkyone.properties import examples
from atlas.config import MOST, Settings, get_settings
from atlas.errors import ConfigurationError

MARK = "hunter2-Swordfish"
NAMES = [*Settings.model_fields, "HF_REPO_ID"]
SECRETS = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]

# What an environment can hold: bytes without NUL, of which Python makes lone surrogates where they are no text.
anything = st.binary(max_size=20).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
likely = st.sampled_from([
    "", " ", "0", "1", "-1", "3.5", "1e400", "nan", "9" * 30, "true", "no", "[]", "{}", "null", '["en"]', '["DE"]',
    "[10]", '["a", {"key": "b", "project": "p"}]', '[{"key": 1}]', '[[["', "~", "~nobody-by-this-name/x", "/", "./x",
    "prod", "dev", "local", "gcs", "s3", "huggingface", "owned", "folder", "youtube-transcript-api", "me/data",
    "http://h", "https://h:99999999/", "postgresql://me@h/x", "DEBUG", "json", "['a'", "whsec_QUJDRA==", "0" * 64,
    "painter",
])  # fmt: skip
secret = st.sampled_from([
    MARK, f" {MARK}", f"postgresql://me:{MARK}@h/x", f"postgres://{MARK}", f"mysql://a:{MARK}@h", f"http://h/{MARK}",
    f'["{MARK}"]', f'[{{"key": "{MARK}", "project": 5}}]', f'["{MARK}', f'{{"key": "{MARK}"}}', f"whsec_{MARK}",
    f'["slack://{MARK}", 1]',
])  # fmt: skip
environments = st.dictionaries(st.sampled_from(NAMES), likely | anything, max_size=8)
secrets = st.dictionaries(st.sampled_from(SECRETS), secret | likely, max_size=5)


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Stand in a folder without a file of settings."""
    folder = tmp_path_factory.mktemp("nowhere")
    with contextlib.chdir(folder):
        yield folder


def read() -> Settings | ConfigurationError:
    """Read the settings and use what is derived from them."""
    try:
        settings = get_settings()
    except ConfigurationError as exc:
        return exc
    assert settings.home.is_absolute()
    assert settings.vault_path.is_absolute()
    assert settings.cache_path.is_absolute()
    assert (settings.vault_retention_days or 1) >= 1
    assert min(settings.daily_quota.values()) >= 0
    for name, value in settings.model_dump().items():  # PostgreSQL is never told of subscribers
        assert not isinstance(value, int) or value <= MOST or name.endswith("_SUBSCRIBERS")
    for name in ("JANITOR_RETENTION_DAYS", "JANITOR_EVENT_RETENTION_DAYS", "VAULT_RETENTION_DAYS"):
        assert NOON - timedelta(days=getattr(settings, name) or 0) < NOON + timedelta(seconds=1)
    if settings.YOUTUBE_API_KEY_POOL_JSON not in (None, SecretStr("[]")):
        assert all(len(key.fingerprint) == 12 for key in settings.api_keys)
    return settings


def keeps_secrets(found: Settings | ConfigurationError) -> bool:
    if isinstance(found, ConfigurationError):
        return MARK not in "".join(traceback.format_exception(found))
    return MARK not in repr(found) + str(found) + str(found.model_dump())


@example(plain={"PLEIADES_HOME": "~nobody-by-this-name/x"}, secret={})
@example(plain={"PLEIADES_SECRETS_DIR": "~nobody-by-this-name/x"}, secret={})
@example(plain={"JANITOR_RETENTION_DAYS": "9" * 30}, secret={})
@given(plain=environments, secret=secrets)
@examples(150)
def test_any_environment_is_settings_or_one_error_that_names_what_is_wrong(
    nowhere: Path, plain: dict[str, str], secret: dict[str, str]
) -> None:
    with mock.patch.dict(os.environ, plain | secret, clear=True):
        found = read()

    assert keeps_secrets(found)
    if isinstance(found, ConfigurationError):
        assert any(name in str(found) for name in Settings.model_fields)
        assert len(str(found).splitlines()) == 1


lines = st.tuples(st.sampled_from([*NAMES, "export ENV", "#", ""]), st.sampled_from(["=", " = ", ":", ""]), likely)
files = st.lists(lines).map(lambda found: "\n".join(map("".join, found)).encode()) | st.binary(max_size=60)


@given(content=files, secret=secrets)
@examples(60)
def test_any_file_is_settings_or_one_error_that_names_what_is_wrong(
    nowhere: Path, content: bytes, secret: dict[str, str]
) -> None:
    written = "".join(f"\n{name}='{value}'" for name, value in secret.items())
    (nowhere / ".env").write_bytes(content + written.encode())
    try:
        with mock.patch.dict(os.environ, clear=True):
            found = read()
    finally:
        (nowhere / ".env").unlink()

    assert keeps_secrets(found)
    if isinstance(found, ConfigurationError):
        assert any(name in str(found) for name in [*Settings.model_fields, ".env"])
        assert len(str(found).splitlines()) == 1


keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
entries = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | keys | st.just(MARK),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["key", "project"]) | keys, inner),
    max_leaves=8,
)


@given(pool=entries)
def test_any_json_is_a_key_pool_or_refused_without_repeating_it(nowhere: Path, pool: object) -> None:
    given_ = {"YOUTUBE_API_KEY_POOL_JSON": orjson.dumps(pool).decode(), "COMPLIANCE_MODE": "false"}
    with mock.patch.dict(os.environ, given_, clear=True):
        found = read()

    assert keeps_secrets(found)
    if isinstance(found, ConfigurationError):
        assert "YOUTUBE_API_KEY_POOL_JSON" in str(found)
    elif pool:
        assert isinstance(pool, list)
        assert len(found.api_keys) == len(pool)
    else:
        assert pool in ([], None)  # "null" is no value, as an empty variable is none
