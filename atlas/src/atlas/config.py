"""Everything a deployment may change, read from the environment, then from ``.env``, then from files of secrets."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    HttpUrl,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from atlas.errors import ConfigurationError

DEFAULT_PROJECT = "default"

COMPLIANT_RETENTION_DAYS = 30
"""How long statistics fetched with an API key may be kept (YouTube API Services, Developer Policies, III.E.4)."""

SECRETS_DIR = Path("/run/secrets")
"""Where Docker and Podman put the secrets of a container."""

A_CENTURY = 36_500
"""Days; longer ones leave the calendar."""

MOST = 10**9
"""No count that can be set is larger: PostgreSQL's integers hold it."""

_RANGES = (
    ("GATE_MIN_DURATION_SECONDS", "GATE_MAX_DURATION_SECONDS"),
    ("GATE_MIN_SUBSCRIBERS", "GATE_MAX_SUBSCRIBERS"),
)
_REQUIRED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "VAULT_PROVIDER": {
        "huggingface": ("HF_DATASET_ID", "HF_TOKEN"),
        "gcs": ("GCS_BUCKET_NAME",),
        "s3": ("S3_BUCKET",),
    },
    "FRAME_SOURCE": {"local": ("FRAME_FOLDER",)},
    "TRANSCRIPT_SOURCE": {
        "folder": ("TRANSCRIPT_FOLDER",),
        "owned": (
            "YOUTUBE_API_KEY_POOL_JSON",
            "YOUTUBE_OAUTH_CLIENT_ID",
            "YOUTUBE_OAUTH_CLIENT_SECRET",
            "YOUTUBE_OAUTH_REFRESH_TOKEN",
        ),
    },
}
Stage = Literal["painter", "scribe"]


def _has_a_word(text: str) -> str:
    if not any(unicodedata.category(character)[0] in "LNS" for character in text):
        raise ValueError("a word has a letter, a digit or a symbol")
    return text


def _can_be_found(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("no path holds a NUL")
    try:
        path.expanduser()
    except RuntimeError:
        raise ValueError("nobody knows the home that ~ stands for") from None
    return path


Location = Annotated[Path, AfterValidator(_can_be_found)]
"""A path, which may begin with a home: ``~`` or ``~user``."""
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
"""A BCP 47 tag; it stands for every tag that begins with it."""
Region = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2}$", to_upper=True)]
Category = Annotated[int, Field(ge=1)]
Word = Annotated[str, AfterValidator(_has_a_word)]


def fingerprint_of(secret: SecretStr) -> str:
    """Name a secret without giving it away: twelve hex digits of its SHA-256."""
    return hashlib.sha256(secret.get_secret_value().encode()).hexdigest()[:12]


class ApiKey(NamedTuple):
    """An API key and the Google project whose quota it draws on."""

    secret: SecretStr
    project: str

    @property
    def fingerprint(self) -> str:
        """Name the key without giving it away."""
        return fingerprint_of(self.secret)


class Settings(BaseSettings):
    """Everything a deployment may change; names match .env.example."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    ENV: Literal["dev", "test", "prod"] = Field(
        default="dev", description="prod refuses the embedded database and the local vault"
    )
    PLEIADES_HOME: Location = Field(
        default=Path("~/.pleiades"),
        validate_default=True,
        description="where the embedded database and the local vault live",
    )

    PLEIADES_SECRETS_DIR: Path = Field(
        default=SECRETS_DIR,
        description="folder whose files are named like settings and hold their values, where neither the environment "
        "nor .env has them; set by the environment alone",
    )

    DATABASE_URL: SecretStr | None = Field(
        default=None,
        description="PostgreSQL 15+ with pgvector 0.8+, postgresql://user:password@host:5432/name; "
        "unset: an embedded server",
    )
    DATABASE_WRITER_URL: SecretStr | None = Field(
        default=None,
        description="the same database as the agents may have it: "
        "atlas setup --roles makes its role, with its password",
    )
    DATABASE_READER_URL: SecretStr | None = Field(
        default=None,
        description="the same database for whoever only looks: atlas setup --roles makes its role, with its password",
    )
    PLEIADES_PG_BIN: Location | None = Field(
        default=None, description="folder of PostgreSQL programs for the embedded server; unset: the wheel's"
    )
    VAULT_PROVIDER: Literal["local", "huggingface", "gcs", "s3"] = Field(
        default="local", description="where archived data goes: local, huggingface, gcs or s3"
    )
    LOCAL_VAULT_PATH: Location | None = Field(
        default=None, description="the local vault's folder; unset: PLEIADES_HOME/vault"
    )
    HF_DATASET_ID: str | None = Field(
        default=None,
        validation_alias=AliasChoices("HF_DATASET_ID", "HF_REPO_ID"),
        description="the Hugging Face dataset repository of the vault, owner/name; HF_REPO_ID is its older name",
        pattern=r"^[\w.-]+/[\w.-]+$",
    )
    HF_TOKEN: SecretStr | None = Field(default=None, description="a Hugging Face token that may write to HF_DATASET_ID")
    GCS_BUCKET_NAME: str | None = Field(
        default=None, description="the Google Cloud Storage bucket of the vault, without gs://"
    )
    GOOGLE_APPLICATION_CREDENTIALS: Location | None = Field(
        default=None,
        description="file with the credentials for Google Cloud; unset: those that the machine has, as gcloud sets up",
    )
    S3_BUCKET: str | None = Field(
        default=None,
        description="the S3 bucket of the vault, without s3://; credentials are found as the AWS tools find them",
    )
    S3_ENDPOINT_URL: str | None = Field(
        default=None,
        description="http:// or https:// address of another store that speaks S3 (MinIO, R2, …); unset: AWS",
        pattern=r"^https?://",
    )
    VAULT_CACHE_DIR: Location | None = Field(
        default=None,
        description="folder for what was read from a remote vault; unset: PLEIADES_HOME/cache",
    )
    VAULT_CACHE_MB: int = Field(
        default=1024,
        ge=0,
        le=MOST,
        description="megabytes that the folder may hold; 0: keep nothing, read it anew each time",
    )
    VAULT_RETENTION_DAYS: int | None = Field(
        default=None,
        ge=1,
        le=A_CENTURY,
        description="days a sample stays in the vault; unset: for ever, and in compliance mode never more than 30",
    )

    YOUTUBE_API_KEY_POOL_JSON: SecretStr | None = Field(
        default=None, description='a JSON list of API keys, or of {"key": …, "project": …}'
    )
    YOUTUBE_API_ENDPOINT: str = Field(
        default="https://youtube.googleapis.com",
        description="root address of the YouTube Data API, http:// or https://",
        pattern=r"^https?://",
    )
    YOUTUBE_OAUTH_CLIENT_ID: SecretStr | None = Field(
        default=None,
        description="an OAuth client of the first API key's project, for TRANSCRIPT_SOURCE=owned",
    )
    YOUTUBE_OAUTH_CLIENT_SECRET: SecretStr | None = Field(default=None, description="the OAuth client's secret")
    YOUTUBE_OAUTH_REFRESH_TOKEN: SecretStr | None = Field(
        default=None, description="what the channels' owner granted the OAuth client, with the scope youtube.force-ssl"
    )
    YOUTUBE_OAUTH_TOKEN_ENDPOINT: str = Field(
        default="https://oauth2.googleapis.com/token",
        description="where access tokens are given out, http:// or https://",
        pattern=r"^https?://",
    )
    YOUTUBE_IMAGE_ENDPOINT: str | None = Field(
        default=None,
        description="root address of the thumbnails; unset: YouTube's, or where the API is when that is not at Google",
        pattern=r"^https?://",
    )
    COMPLIANCE_MODE: bool = Field(default=True, description="use the first key only, as YouTube's terms ask")
    HYDRA_ENABLED: bool = Field(default=True, description="move to another key when one is disabled")

    # Daily defaults of a project: YouTube Data API, "Quota costs", as of November 2026.
    QUOTA_SEARCH_PER_DAY: int = Field(
        default=100, ge=0, le=MOST, description="calls of search.list per project and Pacific day"
    )
    QUOTA_STATS_PER_DAY: int = Field(
        default=10_000, ge=0, le=MOST, description="calls of videos.batchGetStats per project and Pacific day"
    )
    QUOTA_GENERAL_PER_DAY: int = Field(
        default=10_000, ge=0, le=MOST, description="units for everything else per project and Pacific day"
    )

    GATE_MIN_DURATION_SECONDS: int | None = Field(
        default=None, ge=0, le=MOST, description="the Hunter keeps no video shorter than this many seconds; unset: any"
    )
    GATE_MAX_DURATION_SECONDS: int | None = Field(
        default=None, ge=0, le=MOST, description="the Hunter keeps no video longer than this many seconds; unset: any"
    )
    GATE_ACCEPT_LIVE: bool = Field(
        default=False,
        description="let live and upcoming videos pass the rules on duration; "
        "false: those refuse them, whose duration nobody knows yet",
    )
    GATE_LANGUAGES: tuple[Language, ...] = Field(
        default=(), description='languages to keep, as a JSON list such as ["en", "pt-BR"]; empty: any'
    )
    GATE_REGIONS: tuple[Region, ...] = Field(
        default=(),
        description='countries whose channels to keep, as a JSON list of ISO 3166-1 codes such as ["DE", "AT"]; '
        "empty: any",
    )
    GATE_CATEGORIES: tuple[Category, ...] = Field(
        default=(), description="categories to keep, as a JSON list of YouTube's numbers such as [10, 24]; empty: any"
    )
    GATE_DENIED_CATEGORIES: tuple[Category, ...] = Field(
        default=(), description="categories to refuse, as a JSON list of YouTube's numbers such as [20]"
    )
    GATE_MIN_RATE: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="the Hunter keeps no video with fewer views an hour since its publication; unset: any",
    )
    GATE_DENIED_WORDS: tuple[Word, ...] = Field(
        default=(),
        description='words and phrases that no title or tag may hold, as a JSON list such as ["asmr", "free gems"]',
    )
    GATE_MIN_SUBSCRIBERS: int | None = Field(
        default=None,
        ge=0,
        description="the Hunter keeps no video of a channel with fewer subscribers; unset: any",
    )
    GATE_MAX_SUBSCRIBERS: int | None = Field(
        default=None,
        ge=0,
        description="the Hunter keeps no video of a channel with more subscribers; unset: any",
    )
    HUNTER_FEEDS: int = Field(
        default=100, ge=0, le=MOST, description="channel feeds (RSS, free) that a Hunter's run may look at; 0: none"
    )
    HUNTER_WALK_SHARE: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of the polls that back catalogues may take while new uploads wait to be read; 0: no walks",
    )
    HUNTER_NEW_TERMS: int = Field(
        default=10, ge=0, le=MOST, description="search terms that a Hunter's run may take up from tags; 0: none"
    )

    VIDEO_STAGES: tuple[Stage, ...] = Field(
        default=("painter", "scribe"),
        description='stages a new video goes through, as a JSON list such as ["painter"] or []; '
        "a video stays hot until they end",
    )
    TRANSCRIPT_SOURCE: Literal["none", "folder", "owned", "youtube-transcript-api"] = Field(
        default="none",
        description="where the Scribe finds what is said: nowhere, in your own files, by YouTube's API for your own "
        "channels, or by youtube-transcript-api, which compliance mode refuses",
    )
    TRANSCRIPT_FOLDER: Location | None = Field(
        default=None, description="folder of caption files, VIDEO_ID.LANGUAGE.vtt and such; also json3, srt and xml"
    )
    TRANSCRIPTS_PER_MINUTE: int = Field(
        default=12, ge=1, le=600, description="videos that youtube-transcript-api is asked about in a minute"
    )
    FRAME_SOURCE: Literal["youtube", "local", "none"] = Field(
        default="youtube",
        description="the pictures that the Painter keeps of a video: those YouTube publishes, your own, or none",
    )
    FRAME_WIDTH: int = Field(
        default=480,
        ge=320,
        le=1280,
        description="pixels; the widest of YouTube's pictures to keep, which come in 320, 480, 640 and 1280",
    )
    FRAME_FOLDER: Location | None = Field(
        default=None,
        description="folder of your own frames for FRAME_SOURCE=local, as VIDEO/0.jpg or VIDEO_0.jpg; PNG, WebP too",
    )
    TRACKER_SCHEDULE: Literal["adaptive", "tiers"] = Field(
        default="adaptive",
        description="when the Tracker looks next: adaptive (where views happen) or tiers (by age)",
    )
    EMBEDDER: Literal["auto", "perceptual", "clip", "none"] = Field(
        default="auto",
        description="what describes frames: perceptual (built in), clip (extra vision), none; "
        "auto: clip where CLIP_MODEL is set",
    )
    CLIP_MODEL: str | None = Field(
        default=None,
        description="CLIP ViT-B/32 as ONNX on the Hugging Face Hub, owner/name or owner/name@revision, "
        "as Xenova/clip-vit-base-patch32",
        pattern=r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$",
    )
    CLIP_SHA256: str | None = Field(
        default=None, description="what the model file's SHA-256 must be; unset: not checked", pattern=r"^[0-9a-f]{64}$"
    )
    MAX_VECTORS: int = Field(
        default=40_000,
        ge=1_000,
        le=MOST,
        description="vectors of frames that stay in SQL, 2.6 KB each; the oldest make room",
    )
    JANITOR_ENABLED: bool = Field(default=True, description="false: the Janitor does nothing")
    JANITOR_RETENTION_DAYS: int = Field(
        default=7, ge=1, le=A_CENTURY, description="days a sample or a video stays in SQL"
    )
    JANITOR_EVENT_RETENTION_DAYS: int = Field(default=3, ge=1, le=A_CENTURY, description="days an event stays in SQL")
    JANITOR_SAFETY_CHECK: bool = Field(
        default=True,
        description="delete a video only when its metadata was read back from the vault and its stages ended",
    )
    JANITOR_SQL_BUDGET_MB: int = Field(
        default=512, ge=64, le=MOST, description="megabytes; above this database size closed days are archived early"
    )

    EVENT_BUS_ENABLED: bool = Field(
        default=True, description="false: what is emitted is dropped; what is recorded with a change stays"
    )
    EVENT_BUS_WEBHOOK_URL: SecretStr | None = Field(
        default=None, description="http:// or https:// address that events are posted to"
    )
    EVENT_BUS_WEBHOOK_TYPES: tuple[str, ...] = Field(
        default=("*",), description='event types to post, as a JSON list such as ["video.*", "key.disabled"]'
    )
    EVENT_BUS_WEBHOOK_SECRET: SecretStr | None = Field(
        default=None, description="what posts are signed with, any text or whsec_ and base64; unset: not signed"
    )

    DISCORD_WEBHOOK_ALERTS: SecretStr | None = Field(
        default=None, description="Discord webhook for alerts, and for what has no channel of its own"
    )
    DISCORD_WEBHOOK_HUNT: SecretStr | None = Field(default=None, description="Discord webhook for discoveries")
    DISCORD_WEBHOOK_SURVEILLANCE: SecretStr | None = Field(
        default=None, description="Discord webhook for tracked videos"
    )
    DISCORD_WEBHOOK_OPS: SecretStr | None = Field(default=None, description="Discord webhook for operations")
    NOTIFY_URLS: tuple[SecretStr, ...] = Field(
        default=(),
        description="other chats that get every alert, as a JSON list of Apprise addresses such as "
        '["slack://…"]; needs pleiades-atlas[notify]',
    )

    RUNS_PER_AGENT: int = Field(
        default=1, ge=0, description="runs of one agent at work at once, the others have nothing to do; 0: any number"
    )
    DASHBOARD_URL: HttpUrl | None = Field(
        default=None, description="where the dashboard is, for the links on Prefect's page"
    )
    PRIVATE_HOSTS: tuple[str, ...] = Field(
        default=(),
        description="hosts of your own network that the addresses above may lead to, as a JSON list such as "
        '["n8n", "10.0.0.7"]; names that lead to private addresses are refused otherwise',
    )
    HEARTBEAT_URL: SecretStr | None = Field(
        default=None,
        description="address that each heartbeat calls, with /fail when Degraded, so that silence is noticed elsewhere",
    )
    LOG_FORMAT: Literal["text", "json"] = Field(default="text", description="how commands log to stderr: text or json")
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="WARNING", description="what of ours is logged: DEBUG, INFO, WARNING or ERROR"
    )

    @field_validator("EVENT_BUS_WEBHOOK_URL")
    @classmethod
    def _is_http(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("not an address of HTTP")
        return url

    @field_validator("EVENT_BUS_WEBHOOK_SECRET")
    @classmethod
    def _is_signing_key(cls, secret: SecretStr | None) -> SecretStr | None:
        text = secret.get_secret_value() if secret is not None else ""
        if text.startswith("whsec_") and not re.fullmatch(r"whsec_([A-Za-z0-9+/]{4})+([A-Za-z0-9+/=]{4})?", text):
            raise ValueError("what follows whsec_ is no base64")
        return secret

    @field_validator("DATABASE_URL", "DATABASE_WRITER_URL", "DATABASE_READER_URL")
    @classmethod
    def _is_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        # No more than that: libpq's addresses allow what stricter parsers do not, sockets and several hosts.
        if url is not None and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("not an address of PostgreSQL")
        return url

    @model_validator(mode="after")
    def _provider_requirements(self) -> Settings:
        """Report everything that is missing together, each with what to do."""
        problems: list[str] = []
        if self.ENV == "prod":
            if self.DATABASE_URL is None:
                problems.append(
                    "DATABASE_URL is not set: ENV=prod needs a PostgreSQL server, "
                    "postgresql://user:password@host:5432/name"
                )
            if self.VAULT_PROVIDER == "local":
                problems.append(
                    "VAULT_PROVIDER is local: ENV=prod needs a vault that outlives this machine: "
                    "set it to huggingface, gcs or s3"
                )
        problems += [
            f"{name} is not set: {choice}={chosen} needs it{_purpose(name)}"
            for choice, needs in _REQUIRED.items()
            for chosen in (getattr(self, choice),)
            for name in needs.get(chosen, ())
            if getattr(self, name) is None
        ]
        if self.COMPLIANCE_MODE and self.TRANSCRIPT_SOURCE == "youtube-transcript-api":
            problems.append(
                "TRANSCRIPT_SOURCE is youtube-transcript-api: compliance mode refuses what YouTube's API does not "
                "give; set it to owned, folder or none, or set COMPLIANCE_MODE to false where you may"
            )
        for least, most in _RANGES:
            low, high = getattr(self, least), getattr(self, most)
            if low is not None and high is not None and low > high:
                problems.append(f"{least} is more than {most}: nothing would pass the Hunter's gate")
        for category in sorted({*self.GATE_CATEGORIES} & {*self.GATE_DENIED_CATEGORIES}):
            problems.append(f"GATE_CATEGORIES and GATE_DENIED_CATEGORIES both hold {category}")
        try:
            parse_key_pool(self.YOUTUBE_API_KEY_POOL_JSON)
        except ConfigurationError as exc:
            problems.append(str(exc))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @cached_property
    def home(self) -> Path:
        """PLEIADES_HOME, absolute."""
        return self.PLEIADES_HOME.expanduser().resolve()

    @cached_property
    def vault_path(self) -> Path:
        """The local vault's folder, absolute."""
        return (self.LOCAL_VAULT_PATH or self.home / "vault").expanduser().resolve()

    @cached_property
    def cache_path(self) -> Path:
        """The folder for what was read from a remote vault, absolute."""
        return (self.VAULT_CACHE_DIR or self.home / "cache").expanduser().resolve()

    @cached_property
    def vault_retention_days(self) -> int | None:
        """Days that samples may stay in the vault, what YouTube's terms allow included; None: for ever."""
        if not self.COMPLIANCE_MODE:
            return self.VAULT_RETENTION_DAYS
        return min(self.VAULT_RETENTION_DAYS or COMPLIANT_RETENTION_DAYS, COMPLIANT_RETENTION_DAYS)

    @cached_property
    def api_keys(self) -> tuple[ApiKey, ...]:
        """The keys we may use: the first only in compliance mode.

        Raises:
            ConfigurationError: there is none.
        """
        keys = parse_key_pool(self.YOUTUBE_API_KEY_POOL_JSON)
        if not keys:
            raise ConfigurationError(
                "YOUTUBE_API_KEY_POOL_JSON is not set: give a JSON list with your YouTube Data API key, "
                """for example YOUTUBE_API_KEY_POOL_JSON='["AIza…"]' in .env"""
            )
        return keys[:1] if self.COMPLIANCE_MODE else keys

    @cached_property
    def daily_quota(self) -> dict[str, int]:
        """Units per project and Pacific day, by bucket."""
        return {
            "search": self.QUOTA_SEARCH_PER_DAY,
            "stats": self.QUOTA_STATS_PER_DAY,
            "general": self.QUOTA_GENERAL_PER_DAY,
        }


def parse_key_pool(pool: SecretStr | None) -> tuple[ApiKey, ...]:
    """Read the key pool; keys without a project share one.

    Raises:
        ConfigurationError: it is not the JSON it should be. The message never repeats the text.
    """
    if pool is None:
        return ()
    problem = (
        'YOUTUBE_API_KEY_POOL_JSON must be a JSON list such as ["AIza…"] or [{"key": "AIza…", "project": "my-project"}]'
    )
    try:
        entries = orjson.loads(pool.get_secret_value())
    except orjson.JSONDecodeError:
        raise ConfigurationError(f"{problem}; it is not valid JSON") from None
    if not isinstance(entries, list):
        raise ConfigurationError(f"{problem}; it is not a list")
    return tuple(_api_key(entry, f"{problem}; entry {number}") for number, entry in enumerate(entries, 1))


def _api_key(entry: Any, problem: str) -> ApiKey:
    key: Any = entry
    project: Any = DEFAULT_PROJECT
    if isinstance(entry, dict):
        key, project = entry.get("key"), entry.get("project", DEFAULT_PROJECT)
    if not isinstance(key, str) or not key.strip():
        raise ConfigurationError(f"{problem} has no key")
    if not isinstance(project, str) or not project:
        raise ConfigurationError(f"{problem} has a project that is no name")
    return ApiKey(SecretStr(key.strip()), project)


def get_settings() -> Settings:
    """Read the settings.

    Raises:
        ConfigurationError: something is wrong; one line that names each variable, never its value.
    """
    try:
        return Settings(_secrets_dir=_secrets_folder())  # pyright: ignore[reportCallIssue] - pydantic-settings takes it
    except ValidationError as exc:
        raise ConfigurationError("; ".join(map(_explain, exc.errors(include_input=False)))) from None
    except SettingsError as exc:
        # pydantic's message quotes the field's name, never its value.
        name = next((name for name in Settings.model_fields if f'"{name}"' in str(exc)), "a setting")
        if isinstance(exc.__cause__, (OSError, UnicodeDecodeError)):
            problem = f"{name}: its file in {_secrets_folder()} cannot be read ({type(exc.__cause__).__name__})"
            raise ConfigurationError(problem) from None
        raise ConfigurationError(f"{name}: it is not valid JSON{_purpose(name)}") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f".env cannot be read ({type(exc).__name__})") from None


def _secrets_folder() -> Path | None:
    """Find the folder with files of secrets; the usual one need not be there.

    Raises:
        ConfigurationError: the one that was asked for is not there.
    """
    asked = os.environ.get("PLEIADES_SECRETS_DIR")
    try:
        folder = Path(asked).expanduser() if asked else SECRETS_DIR
    except RuntimeError:
        raise ConfigurationError("PLEIADES_SECRETS_DIR: nobody knows the home that ~ stands for") from None
    if folder.is_dir():
        return folder
    if asked:
        raise ConfigurationError(f"PLEIADES_SECRETS_DIR: there is no folder {asked!r}")
    return None


def _explain(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    return f"{name}: {message[:1].lower()}{message[1:]}{_purpose(name)}"


def _purpose(name: str) -> str:
    field = Settings.model_fields.get(name)
    return f" ({field.description})" if field and field.description else ""
