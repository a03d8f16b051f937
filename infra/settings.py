"""Every setting of Reelhook, in one place: the only module that reads the environment.

Each field says its unit, its reason and its default. `load()` reports every fault at once, by the names that a
person sets, so that a wrong deployment is mended in one go and nothing starts half-configured.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from infra import setting_values, store_values, stores

Network = IPv4Network | IPv6Network

_ACCOUNT_PREFIX = "KLING_URL_"
_KEY_TEMPLATE = "kling/{year}/{month}/{day}/{job}/{name}.{extension}"

#: The longest that SigV4 lets a presigned link live, in seconds: 7 days.
LONGEST_LINK = 7 * 24 * 3600


class BadSettings(Exception):
    """One or more settings are missing or wrong. The text lists all of them."""


class Settings(BaseModel):
    """What a deployment decides. Read with `load()`; frozen, so a process has one truth from start to end."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    # --- where the rows are -------------------------------------------------------------------------------------
    #: The database that holds the truth. Platforms' names for it are understood too.
    database_url: Annotated[str, AfterValidator(setting_values.database_url)] = Field(
        repr=False, validation_alias=AliasChoices("DATABASE_URL", "POSTGRESQL_ADDON_URI", "SCALINGO_POSTGRESQL_URL")
    )
    #: Connections that one web process keeps open at most, one of them for callbacks alone; small because a small plan
    #: has 20 in all. A child of the worker has one, as it does one task at a time.
    database_pool_size: int = Field(2, ge=2, le=50, validation_alias="DATABASE_POOL_SIZE")

    # --- the hint -----------------------------------------------------------------------------------------------
    #: The Celery broker. Losing all it holds costs time, never a job.
    broker_url: Annotated[str, AfterValidator(setting_values.redis_or_amqp_url)] = Field(
        repr=False,
        validation_alias=AliasChoices(
            "CELERY_BROKER_URL", "CLOUDAMQP_URL", "REDIS_TLS_URL", "REDIS_URL", "SCALINGO_REDIS_URL", "REDISCLOUD_URL"
        ),
    )

    # --- the bucket ---------------------------------------------------------------------------------------------
    # Platforms have names of their own for most of these; `infra.stores` knows them.
    s3_bucket: Annotated[str, AfterValidator(store_values.bucket)] = Field(validation_alias="S3_BUCKET")
    s3_access_key_id: SecretStr = Field(validation_alias="S3_ACCESS_KEY_ID")
    s3_secret_access_key: SecretStr = Field(validation_alias="S3_SECRET_ACCESS_KEY")
    #: What goes with a key that is lent for a while only.
    s3_session_token: SecretStr | None = Field(None, validation_alias="S3_SESSION_TOKEN")
    #: Unset means AWS itself.
    s3_endpoint_url: Annotated[str, AfterValidator(store_values.endpoint)] | None = Field(
        None, validation_alias="S3_ENDPOINT_URL"
    )
    #: The address that links are made for, where readers reach the store by another name than we do.
    s3_public_endpoint_url: Annotated[str, AfterValidator(store_values.endpoint)] | None = Field(
        None, validation_alias="S3_PUBLIC_ENDPOINT_URL"
    )
    #: A file of the authorities whose certificates are believed of the store, in place of the usual ones, for one that
    #: stands behind a private authority. Unset: those of SSL_CERT_FILE, else the usual ones.
    s3_ca_bundle: Annotated[str, AfterValidator(setting_values.authorities)] | None = Field(
        None, validation_alias=AliasChoices("S3_CA_BUNDLE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
    )
    #: What signatures are made for. Taken from the endpoint where its name says it; R2 and Tigris want `auto`.
    s3_region: Annotated[str, AfterValidator(store_values.region)] = Field("us-east-1", validation_alias="S3_REGION")
    #: Whether the bucket's name is a step of the path or part of the host: `auto` is what the store is known to want,
    #: `virtual` for AWS, Spaces and Tigris, `path` for others.
    s3_addressing_style: Literal["auto", "path", "virtual"] = Field("auto", validation_alias="S3_ADDRESSING_STYLE")
    #: Whether requests carry the newer checksums: `auto` is AWS itself only, as B2 and others refuse them.
    s3_checksums: Literal["auto", "when_supported", "when_required"] = Field("auto", validation_alias="S3_CHECKSUMS")
    #: Encryption that is asked for with each object. Unset: what the bucket does by itself.
    s3_sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(None, validation_alias="S3_SSE")
    #: The KMS key, with `S3_SSE=aws:kms` or `aws:kms:dsse`.
    s3_sse_kms_key_id: Annotated[str, AfterValidator(setting_values.with_kms)] | None = Field(
        None, validation_alias="S3_SSE_KMS_KEY_ID"
    )
    #: Such as STANDARD_IA, INTELLIGENT_TIERING or GLACIER_IR; none that has to be asked for hours before it is read.
    #: Unset: the bucket's own.
    s3_storage_class: Annotated[str, AfterValidator(store_values.storage_class)] | None = Field(
        None, validation_alias="S3_STORAGE_CLASS"
    )
    #: A file under its key never changes, so whoever may read it may keep it; links are private, hence caches too.
    s3_cache_control: Annotated[str, AfterValidator(store_values.header)] = Field(
        "private, max-age=31536000, immutable", validation_alias="S3_CACHE_CONTROL"
    )
    #: Seconds that a presigned result link lives. It is made anew each time somebody asks.
    s3_link_seconds: int = Field(24 * 3600, ge=60, le=LONGEST_LINK, validation_alias="S3_LINK_SECONDS")
    #: Bytes of the largest file that the store copies onto itself so that its metadata name its SHA-256, which of what
    #: can't be laid down first is known only after the bytes have left. 0: none. The store reads and writes all of it
    #: for that, so the default is 64 MiB; and none on B2, which would keep the first version. S3 copies 5 GiB at most.
    s3_relabel_bytes: int | None = Field(None, ge=0, le=5 * 2**30, validation_alias="S3_RELABEL_BYTES")
    #: Where a result file goes in the bucket. Fields: see the README, "Keys in the bucket".
    s3_key_template: Annotated[str, AfterValidator(setting_values.key_template)] = Field(
        _KEY_TEMPLATE, validation_alias="S3_KEY_TEMPLATE"
    )

    #: The only folder that the store's key may write to, as Cloudcube has it; there is no other bucket then, either.
    s3_key_prefix: str | None = Field(None, validation_alias="S3_KEY_PREFIX")

    # --- the provider -------------------------------------------------------------------------------------------
    #: The account at Kling or a gateway, as one URL with its credentials.
    kling_url: Annotated[SecretStr, AfterValidator(setting_values.account_url)] = Field(validation_alias="KLING_URL")
    #: More accounts, each under the name that ends its variable: `KLING_URL_COMET=cometapi://KEY@` is `comet`.
    kling_urls: Mapping[str, Annotated[SecretStr, AfterValidator(setting_values.account_url)]] = Field(
        default_factory=dict, validation_alias="KLING_URL_*"
    )
    #: Secrets (`whsec_...`) with which Kling signs its callbacks, separated by commas: two while one is replaced.
    #: Unset: signatures are not looked at, the token in the URL is the proof.
    kling_webhook_secrets: Annotated[tuple[SecretStr, ...], BeforeValidator(setting_values.secrets)] = Field(
        (), validation_alias="KLING_WEBHOOK_SECRETS"
    )
    #: The edition of Kling's reference that requests are checked by; unset: the newest, or the gateway's own.
    kling_edition: Literal["2026-02", "2026-03", "2026-06"] | None = Field(None, validation_alias="KLING_EDITION")
    #: Whether pictures and films that a request names by http(s) are fetched and looked at before it is accepted.
    probe_urls: bool = Field(default=False, validation_alias="PROBE_URLS")
    #: Seconds that a link to an `s3://` input lives: Kling may fetch it only when the task's turn comes.
    s3_input_link_seconds: int = Field(24 * 3600, ge=600, le=LONGEST_LINK, validation_alias="S3_INPUT_LINK_SECONDS")
    #: Seconds that one call to Kling may take in all. A create carries base64 images, hence not less.
    kling_timeout_seconds: float = Field(30, gt=0, le=300, validation_alias="KLING_TIMEOUT_SECONDS")
    #: Multiplies every expectation of how long Kling takes; an emulator that runs fast wants less than 1.
    kling_pace: float = Field(1.0, gt=0, le=10, validation_alias="KLING_PACE")

    # --- the door -----------------------------------------------------------------------------------------------
    #: Where the world reaches us; Kling's callbacks come here. Never guessed from a Host header.
    public_url: Annotated[str, AfterValidator(setting_values.http_url)] = Field(validation_alias="PUBLIC_URL")
    #: Makes callback tokens and signing secrets. Changing it turns away the callbacks that are on their way.
    secret_key: SecretStr = Field(min_length=32, validation_alias="SECRET_KEY")
    #: A first API key, for one-click deployments; `reelhook keys` makes others.
    api_key: SecretStr | None = Field(None, min_length=16, validation_alias="REELHOOK_API_KEY")
    #: Where the door listens. A platform's router must reach it, so that is every address of the machine.
    host: str = Field("0.0.0.0", validation_alias="HOST")  # noqa: S104 - see above
    port: int = Field(8000, ge=1, le=65535, validation_alias="PORT")
    #: Requests that one web process works on at once, callbacks apart: those need no thread.
    web_threads: int = Field(4, ge=1, le=64, validation_alias="WEB_THREADS")
    #: Largest request body in bytes. Seven base64 images of 10 MB would be 94 MB; few callers send that.
    max_body_bytes: int = Field(64 * 2**20, ge=2**10, validation_alias="MAX_BODY_BYTES")
    #: Largest callback body in bytes; Kling's own are about 600.
    max_callback_bytes: int = Field(256 * 2**10, ge=2**10, validation_alias="MAX_CALLBACK_BYTES")

    # --- fetching and telling -----------------------------------------------------------------------------------
    #: Networks that the guard lets our fetches and deliveries reach although they are not public, and by plain
    #: http: `127.0.0.0/8` for a laptop. Empty in production.
    guard_allow_cidrs: Annotated[tuple[Network, ...], BeforeValidator(setting_values.networks)] = Field(
        (), validation_alias="GUARD_ALLOW_CIDRS"
    )
    #: A file of the authorities whose certificates are believed of everybody we fetch from or tell, in place of the
    #: usual ones: where Kling's gateway or receivers are to be reached beside private ones, it has to hold both.
    ca_bundle: Annotated[str, AfterValidator(setting_values.authorities)] | None = Field(
        None, validation_alias="SSL_CERT_FILE"
    )
    #: Ports that the guard lets our fetches and deliveries reach, on hosts outside GUARD_ALLOW_CIDRS.
    guard_ports: Annotated[tuple[int, ...], BeforeValidator(setting_values.ports)] = Field(
        (443, 8443), validation_alias="GUARD_PORTS"
    )
    #: Bytes a second, over half a minute, below which a fetch is given up: a source that drips holds a worker.
    fetch_slowest: int = Field(16 * 1024, ge=0, validation_alias="FETCH_SLOWEST")
    #: Whether each video gets a poster beside it.
    posters: bool = Field(default=True, validation_alias="POSTERS")
    #: Whether each video gets a contact sheet beside it, nine moments on one page. It costs about as long as playing
    #: a tenth of a short film; of one over 750 frames only key frames are decoded.
    contact_sheets: bool = Field(default=True, validation_alias="CONTACT_SHEETS")
    #: Largest result file in bytes.
    max_result_bytes: int = Field(4 * 2**30, ge=2**20, validation_alias="MAX_RESULT_BYTES")
    #: Deliveries that one worker process makes at once, each in a thread that mostly waits.
    delivery_threads: int = Field(64, ge=20, le=500, validation_alias="DELIVERY_THREADS")
    #: Deliveries that a receiver which takes them quickly gets at once, from all processes together.
    delivery_parallel: int = Field(4, ge=1, le=50, validation_alias="DELIVERY_PARALLEL")
    #: Seconds that one delivery to a receiver may take.
    delivery_timeout_seconds: float = Field(15, gt=0, le=60, validation_alias="DELIVERY_TIMEOUT_SECONDS")

    # --- the processes ------------------------------------------------------------------------------------------
    #: Seconds from SIGTERM to SIGKILL on this platform. Soft shutdown and slices of work are derived from it.
    shutdown_grace_seconds: int = Field(30, ge=5, le=900, validation_alias="SHUTDOWN_GRACE_SECONDS")
    #: Seconds between two sweeps of what is due.
    sweep_seconds: float = Field(3, gt=0, le=300, validation_alias="SWEEP_SECONDS")
    #: So often in a row may the work on a job end its process before the job is given up and shown as set aside. Its
    #: pauses double from 20 seconds to an hour: with 8 that takes about an hour and a half.
    deaths_until_set_aside: int = Field(8, ge=1, le=100, validation_alias="DEATHS_UNTIL_SET_ASIDE")
    #: Days that payloads, callbacks and timelines of ended jobs are kept. Ids and proven files stay for ever.
    retention_days: int = Field(30, ge=1, le=3650, validation_alias="RETENTION_DAYS")
    #: Web processes and children of the worker, as the Procfile starts them; `reelhook doctor` counts by these.
    web_concurrency: int = Field(2, ge=1, validation_alias="WEB_CONCURRENCY")
    worker_concurrency: int = Field(4, ge=1, validation_alias="WORKER_CONCURRENCY")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", validation_alias="LOG_LEVEL")

    @property
    def secret(self) -> bytes:
        """`secret_key`, as what tokens and secrets of others are made and sealed with."""
        return self.secret_key.get_secret_value().encode()

    @property
    def store_authorities(self) -> str | None:
        """A file of those whose certificates are believed of the store; None: the usual ones."""
        return self.s3_ca_bundle or self.ca_bundle


def load(overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings of this process, from its environment and `overrides` (by the variables' names).

    Raises `BadSettings`, whose text lists every missing or wrong variable and never a secret's value.
    """
    all_of_it = {**os.environ, **(overrides or {})}
    there = {name: value for name in all_of_it if (value := _trimmed(name, all_of_it[name])) != ""}
    lacking = stores.lacking(there)
    lines = [lacking] if lacking else []
    try:
        settings = Settings.model_validate(_gathered(there))
    except ValidationError as fault:
        lines += [_line(error) for error in fault.errors(include_input=False)]
    if lines:
        told = "\n  ".join(["Reelhook cannot start, these settings are missing or wrong:", *lines])
        raise BadSettings(told)
    return settings


def _trimmed(name: str, value: Any) -> Any:
    """What is pasted brings a line's end with it, or a space. The app's secret stays as tokens have it."""
    return value.strip() if isinstance(value, str) and name != "SECRET_KEY" else value


def _gathered(there: Mapping[str, Any]) -> dict[str, Any]:
    """What platforms say by our names, and the accounts that have variables of their own put under their names."""
    named = {
        name.removeprefix(_ACCOUNT_PREFIX).lower(): value
        for name, value in there.items()
        if name.startswith(_ACCOUNT_PREFIX)
    }
    values = {**stores.resolve(there), **there, "KLING_URL_*": named}
    for name in ("S3_ENDPOINT_URL", "S3_PUBLIC_ENDPOINT_URL"):
        if endpoint := stores.without_bucket(values.get(name), values.get("S3_BUCKET")):
            values[name] = endpoint
    if prefix := values.get("S3_KEY_PREFIX"):
        values["S3_KEY_TEMPLATE"] = _below(prefix, values.get("S3_KEY_TEMPLATE", _KEY_TEMPLATE))
    return values


def _below(prefix: str, template: str) -> str:
    """`template` inside the only folder that the store's key may write to."""
    return template if template.startswith(f"{prefix}/") else f"{prefix}/{template}"


def _line(error: Mapping[str, Any]) -> str:
    """One fault by the name that a person sets: pydantic reports a missing field by its attribute or an alias."""
    location = str(error["loc"][0])
    names = next((known for known in map(_names, Settings.model_fields) if location in known), [location])
    if error["type"] == "missing":
        others = names[2:] or stores.others(names[1])
        return f"{names[1]}: is missing" + (f" ({', '.join(others)} would do too)" if others else "")
    if location == "KLING_URL_*" and len(error["loc"]) > 1:
        return f"{_ACCOUNT_PREFIX}{str(error['loc'][1]).upper()}: {setting_values.rule(error)}"
    return f"{location if location in names[1:] else names[1]}: {setting_values.rule(error)}"


def _names(field: str) -> list[str]:
    """The attribute and the variables of a setting."""
    alias = Settings.model_fields[field].validation_alias
    return [field, *map(str, alias.choices)] if isinstance(alias, AliasChoices) else [field, str(alias or field)]
