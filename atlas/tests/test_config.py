from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from alkyone.fixtures import SetEnvironment
from atlas import settings
from atlas.config import ApiKey, Settings, get_settings
from atlas.errors import ConfigurationError

SECRET = "AIzaSySecretSecretSecret"
ASSIGNMENT = re.compile(r"^([A-Z0-9_]+)=(.*)$", re.MULTILINE)


@pytest.fixture
def example(request: pytest.FixtureRequest) -> Path:
    return request.config.rootpath / ".env.example"


def test_the_example_names_exactly_the_settings_with_their_defaults(
    example: Path, settings_env: SetEnvironment
) -> None:
    names = [name for name, _ in ASSIGNMENT.findall(example.read_text())]
    assert sorted(names) == sorted(Settings.model_fields)
    assert Settings(_env_file=example) == Settings(_env_file=None)


def test_the_example_says_what_each_setting_is(example: Path) -> None:
    text = example.read_text().casefold()
    for name, field in Settings.model_fields.items():
        assert f"# {field.description}.\n{name}=".casefold() in text


def test_without_any_setting_it_works_on_this_machine_alone(settings_env: SetEnvironment, tmp_path: Path) -> None:
    assert settings.DATABASE_URL is None
    assert settings.VAULT_PROVIDER == "local"
    assert settings.home == (tmp_path / "home").resolve()
    assert settings.vault_path == settings.home / "vault"


def test_the_environment_wins_over_the_file(settings_env: SetEnvironment) -> None:
    Path(".env").write_text("JANITOR_RETENTION_DAYS=3\nQUOTA_SEARCH_PER_DAY=5\nSOMETHING_ELSE=x\n")
    settings_env(JANITOR_RETENTION_DAYS="9")
    assert (settings.JANITOR_RETENTION_DAYS, settings.QUOTA_SEARCH_PER_DAY) == (9, 5)


def test_settings_do_not_change(settings_env: SetEnvironment) -> None:
    with pytest.raises(ValueError, match="frozen"):
        get_settings().ENV = "prod"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        pytest.param({"ENV": "production"}, r"ENV: input should be 'dev', 'test' or 'prod'", id="unknown environment"),
        pytest.param({"VAULT_PROVIDER": "dropbox"}, r"VAULT_PROVIDER: .*'local'", id="unknown provider"),
        pytest.param({"DATABASE_URL": "localhost"}, r"DATABASE_URL: .*postgresql://user", id="no address"),
        pytest.param(
            {"DATABASE_URL": f"postgresql+asyncpg://me:{SECRET}@h/x"}, "DATABASE_URL: not an address", id="SQLAlchemy's"
        ),
        pytest.param({"DATABASE_URL": "mysql://a:b@c/d"}, r"DATABASE_URL: .*postgresql://user", id="another database"),
        pytest.param({"YOUTUBE_API_KEY_POOL_JSON": f"[{SECRET}"}, "KEY_POOL_JSON must be a JSON list", id="no JSON"),
        pytest.param({"YOUTUBE_API_KEY_POOL_JSON": f'"{SECRET}"'}, "it is not a list", id="a lone key"),
        pytest.param({"YOUTUBE_API_KEY_POOL_JSON": '["a", 1]'}, "entry 2 has no key", id="a number for a key"),
        pytest.param({"YOUTUBE_API_KEY_POOL_JSON": f'["{SECRET}", " "]'}, "entry 2 has no key", id="an empty key"),
        pytest.param({"YOUTUBE_API_KEY_POOL_JSON": '[{"project": "p"}]'}, "entry 1 has no key", id="a lone project"),
        pytest.param(
            {"YOUTUBE_API_KEY_POOL_JSON": f'[{{"key": "{SECRET}", "project": 7}}]'},
            "project",
            id="a number for a project",
        ),
        pytest.param({"YOUTUBE_API_ENDPOINT": "youtube"}, r"YOUTUBE_API_ENDPOINT: .*https?://", id="no endpoint"),
        pytest.param({"QUOTA_SEARCH_PER_DAY": "-1"}, "QUOTA_SEARCH_PER_DAY: .*0", id="negative quota"),
        pytest.param({"JANITOR_RETENTION_DAYS": "week"}, "JANITOR_RETENTION_DAYS: .*integer", id="no number"),
        pytest.param({"COMPLIANCE_MODE": "perhaps"}, "COMPLIANCE_MODE: .*boolean", id="no truth value"),
        pytest.param({"GATE_MIN_DURATION_SECONDS": "1m"}, "GATE_MIN_DURATION_SECONDS: .*seconds", id="no seconds"),
        pytest.param(
            {"GATE_MIN_DURATION_SECONDS": "61", "GATE_MAX_DURATION_SECONDS": "60"},
            "GATE_MIN_DURATION_SECONDS is more than GATE_MAX_DURATION_SECONDS",
            id="no duration passes",
        ),
        pytest.param(
            {"GATE_MIN_SUBSCRIBERS": "2", "GATE_MAX_SUBSCRIBERS": "1"},
            "GATE_MIN_SUBSCRIBERS is more than GATE_MAX_SUBSCRIBERS",
            id="no channel passes",
        ),
        pytest.param({"GATE_LANGUAGES": "en"}, "GATE_LANGUAGES: it is not valid JSON", id="a language, no list"),
        pytest.param({"GATE_LANGUAGES": '["english"]'}, r'GATE_LANGUAGES: .*\["en"', id="no language"),
        pytest.param({"GATE_REGIONS": '["Germany"]'}, r'GATE_REGIONS: .*ISO 3166-1 .*"DE"', id="no country"),
        pytest.param({"GATE_CATEGORIES": '["music"]'}, r"GATE_CATEGORIES: .*\[10, 24\]", id="no category"),
        pytest.param(
            {"GATE_CATEGORIES": "[10, 24]", "GATE_DENIED_CATEGORIES": "[24]"},
            "GATE_CATEGORIES and GATE_DENIED_CATEGORIES both hold 24",
            id="allowed and denied",
        ),
        pytest.param({"GATE_MIN_RATE": "nan"}, "GATE_MIN_RATE: .*finite", id="no rate"),
        pytest.param({"GATE_DENIED_WORDS": '["?!"]'}, "GATE_DENIED_WORDS: a word has a letter", id="no word"),
        pytest.param({"VIDEO_STAGES": "painter"}, "VIDEO_STAGES: it is not valid JSON", id="a list that is not JSON"),
        pytest.param({"VIDEO_STAGES": '["dancer"]'}, "VIDEO_STAGES: .*'painter'", id="unknown stage"),
        pytest.param({"FRAME_SOURCE": "local"}, "FRAME_FOLDER is not set: .*VIDEO/0.jpg", id="own frames from nowhere"),
        pytest.param({"FRAME_WIDTH": "100"}, "FRAME_WIDTH: .*320", id="frames too small"),
        pytest.param({"YOUTUBE_IMAGE_ENDPOINT": "i"}, "YOUTUBE_IMAGE_ENDPOINT: .*http", id="no picture endpoint"),
        pytest.param({"ENV": "prod"}, "DATABASE_URL is not set.*VAULT_PROVIDER is local", id="prod without either"),
        pytest.param(
            {"VAULT_PROVIDER": "huggingface"},
            r"HF_DATASET_ID is not set: .*owner/name.*; HF_TOKEN is not set: .*token",
            id="the Hub without repository and token",
        ),
        pytest.param({"VAULT_PROVIDER": "gcs"}, "GCS_BUCKET_NAME is not set: .*gcs", id="GCS without a bucket"),
        pytest.param({"VAULT_PROVIDER": "s3"}, "S3_BUCKET is not set: .*s3", id="S3 without a bucket"),
        pytest.param(
            {"ENV": "prod", "VAULT_PROVIDER": "s3"}, "DATABASE_URL is not set.*S3_BUCKET is not set", id="prod with S3"
        ),
        pytest.param(
            {"TRANSCRIPT_SOURCE": "folder"}, "TRANSCRIPT_FOLDER is not set: .*folder", id="files of no folder"
        ),
        pytest.param(
            {"TRANSCRIPT_SOURCE": "owned", "YOUTUBE_OAUTH_CLIENT_ID": "id"},
            "KEY_POOL_JSON is not set.*CLIENT_SECRET is not set: .*REFRESH_TOKEN is not set: .*force-ssl",
            id="own captions without a permission",
        ),
        pytest.param(
            {"TRANSCRIPT_SOURCE": "youtube-transcript-api"},
            "TRANSCRIPT_SOURCE is youtube-transcript-api: compliance mode refuses .*COMPLIANCE_MODE to false",
            id="a library that compliance mode refuses",
        ),
        pytest.param({"TRANSCRIPTS_PER_MINUTE": "0"}, "TRANSCRIPTS_PER_MINUTE: .*1", id="no pace"),
        pytest.param({"YOUTUBE_OAUTH_TOKEN_ENDPOINT": "x"}, r"TOKEN_ENDPOINT: .*https?://", id="no token endpoint"),
        pytest.param({"HF_DATASET_ID": "just-a-name"}, "HF_DATASET_ID: .*owner/name", id="a dataset without an owner"),
        pytest.param({"S3_ENDPOINT_URL": "minio:9000"}, r"S3_ENDPOINT_URL: .*https?://", id="no address of a store"),
        pytest.param({"VAULT_CACHE_MB": "-1"}, "VAULT_CACHE_MB: .*0", id="less than no cache"),
        pytest.param({"VAULT_RETENTION_DAYS": "0"}, "VAULT_RETENTION_DAYS: .*1", id="a vault that keeps nothing"),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_what_to_do(
    variables: dict[str, str], says: str, settings_env: SetEnvironment
) -> None:
    settings_env(**variables)
    with pytest.raises(ConfigurationError, match=says) as caught:
        _ = settings.ENV
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    assert caught.value.__cause__ is None


def test_several_wrong_settings_are_told_together(settings_env: SetEnvironment) -> None:
    settings_env(ENV="x", QUOTA_STATS_PER_DAY="x")
    with pytest.raises(ConfigurationError, match=r"ENV: .*; QUOTA_STATS_PER_DAY: "):
        _ = settings.ENV


def test_a_file_that_is_no_text_is_told(settings_env: SetEnvironment) -> None:
    Path(".env").write_bytes(b"ENV=\xff\xfe\n")
    with pytest.raises(ConfigurationError, match=r"\.env cannot be read"):
        _ = settings.ENV


def test_secrets_do_not_show(settings_env: SetEnvironment) -> None:
    settings_env(
        YOUTUBE_API_KEY_POOL_JSON=f'["{SECRET}"]',
        DATABASE_URL=f"postgresql://me:{SECRET}@localhost/x",
        DISCORD_WEBHOOK_OPS=f"https://discord.example/{SECRET}",
        NOTIFY_URLS=f'["slack://{SECRET}"]',
    )
    assert settings.DATABASE_URL is not None
    for shown in (repr(settings), str(settings), repr(settings.api_keys), str(settings.model_dump())):
        assert SECRET not in shown
    assert SECRET.encode() not in settings.model_dump_json().encode()


def test_only_the_first_key_is_used_in_compliance_mode(settings_env: SetEnvironment) -> None:
    pool = '["a", {"key": "b", "project": "p"}, {"key": " c "}]'
    settings_env(YOUTUBE_API_KEY_POOL_JSON=pool)
    assert settings.api_keys == (ApiKey(SecretStr("a"), "default"),)
    settings_env(COMPLIANCE_MODE="false")
    assert settings.api_keys == (
        ApiKey(SecretStr("a"), "default"),
        ApiKey(SecretStr("b"), "p"),
        ApiKey(SecretStr("c"), "default"),
    )


def test_the_older_name_of_the_dataset_is_understood(settings_env: SetEnvironment) -> None:
    settings_env(HF_REPO_ID="me/old")
    assert settings.HF_DATASET_ID == "me/old"
    settings_env(HF_DATASET_ID="me/new")
    assert settings.HF_DATASET_ID == "me/new"


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"VAULT_PROVIDER": "gcs", "GCS_BUCKET_NAME": "b"}, id="gcs"),
        pytest.param({"VAULT_PROVIDER": "s3", "S3_BUCKET": "b"}, id="s3"),
        pytest.param({"VAULT_PROVIDER": "huggingface", "HF_DATASET_ID": "me/d", "HF_TOKEN": "t"}, id="huggingface"),
    ],
)
def test_prod_takes_a_remote_vault(variables: dict[str, str], settings_env: SetEnvironment) -> None:
    settings_env(ENV="prod", DATABASE_URL="postgresql://me@host/x", **variables)
    assert variables["VAULT_PROVIDER"] == settings.VAULT_PROVIDER


@pytest.mark.parametrize(
    ("variables", "days"),
    [
        pytest.param({}, 30, id="compliant"),
        pytest.param({"VAULT_RETENTION_DAYS": "7"}, 7, id="compliant, and less"),
        pytest.param({"VAULT_RETENTION_DAYS": "90"}, 30, id="compliant, whatever is asked"),
        pytest.param({"COMPLIANCE_MODE": "false"}, None, id="for ever"),
        pytest.param({"COMPLIANCE_MODE": "false", "VAULT_RETENTION_DAYS": "90"}, 90, id="as the operator says"),
    ],
)
def test_samples_stay_in_the_vault_as_long_as_allowed(
    variables: dict[str, str], days: int | None, settings_env: SetEnvironment
) -> None:
    settings_env(**variables)
    assert settings.vault_retention_days == days


@pytest.mark.parametrize("pool", [None, "", "[]"])
def test_no_key_is_told_when_one_is_needed_and_not_before(pool: str | None, settings_env: SetEnvironment) -> None:
    settings_env(YOUTUBE_API_KEY_POOL_JSON=pool)
    assert settings.ENV == "dev"
    with pytest.raises(ConfigurationError, match="YOUTUBE_API_KEY_POOL_JSON is not set"):
        _ = settings.api_keys


def test_a_file_named_like_a_setting_holds_its_value(settings_env: SetEnvironment, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "DATABASE_URL").write_text(f"postgresql://me:{SECRET}@db/pleiades\n")
    (secrets / "hf_token").write_text("from the file")
    (secrets / "YOUTUBE_API_KEY_POOL_JSON").write_text('["from the file"]')
    (secrets / "somebody-elses").write_text("no setting of ours")
    Path(".env").write_text('YOUTUBE_API_KEY_POOL_JSON=["from .env"]\n')
    settings_env(PLEIADES_SECRETS_DIR=str(secrets), HF_TOKEN="from the environment")
    assert SecretStr(f"postgresql://me:{SECRET}@db/pleiades") == settings.DATABASE_URL
    assert SecretStr("from the environment") == settings.HF_TOKEN
    assert settings.api_keys == (ApiKey(SecretStr("from .env"), "default"),)


def test_a_folder_of_secrets_that_was_asked_for_must_be_there(settings_env: SetEnvironment, tmp_path: Path) -> None:
    settings_env(PLEIADES_SECRETS_DIR=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match=r"PLEIADES_SECRETS_DIR: there is no folder .*nowhere"):
        get_settings()


def test_a_secret_that_may_not_be_read_is_named(settings_env: SetEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user is not the one whose file it is: that must not look like a secret that is not set."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.chdir(folder)
        (Path(folder) / "HF_TOKEN").write_text(SECRET)
        (Path(folder) / "HF_TOKEN").chmod(0)
        settings_env(PLEIADES_SECRETS_DIR=folder)
        with (
            nobody(),
            pytest.raises(ConfigurationError, match=r"HF_TOKEN: its file .* \(PermissionError\)") as refused,
        ):
            get_settings()
        monkeypatch.undo()
    assert SECRET not in str(refused.value)


@contextmanager
def nobody() -> Iterator[None]:
    """Be an account that may read no other's files."""
    ours = os.geteuid()
    if ours == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(ours)
