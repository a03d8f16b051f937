import pytest

from infra.settings import BadSettings, load

GOOD = {
    "DATABASE_URL": "postgres://user:secretpassword@db:5432/reelhook",
    "REDIS_URL": "rediss://:secretpassword@redis:6379",
    "S3_BUCKET": "films",
    "S3_ACCESS_KEY_ID": "key",
    "S3_SECRET_ACCESS_KEY": "secretpassword",
    "KLING_URL": "kling://ACCESS:secretpassword@api-singapore.klingai.com",
    "PUBLIC_URL": "https://reelhook.example/",
    "SECRET_KEY": "secretpassword" * 3,
}


def test_all_faults_are_reported_at_once() -> None:
    """Missing and wrong variables come in one message, by the names that a person sets."""
    with pytest.raises(BadSettings) as caught:
        load(
            {**GOOD, "DATABASE_URL": "mysql://x", "SECRET_KEY": "short", "S3_LINK_SECONDS": "9999999", "PUBLIC_URL": ""}
        )

    text = str(caught.value)
    assert ["DATABASE_URL", "S3_LINK_SECONDS", "PUBLIC_URL", "SECRET_KEY"] == [
        line.split(":")[0].strip() for line in text.splitlines()[1:]
    ]


def test_nothing_set_names_everything_needed() -> None:
    """With an empty environment the message lists each variable that must be set."""
    with pytest.raises(BadSettings) as caught:
        load()

    named = {line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]}
    assert named == set(GOOD) - {"REDIS_URL"} | {"CELERY_BROKER_URL"}
    assert "REDIS_URL" in str(caught.value)


@pytest.mark.parametrize("name", GOOD)
def test_no_secret_is_in_a_fault(name: str) -> None:
    """A wrong value is not repeated in the message that refuses it: it may be a secret in the wrong place."""
    with pytest.raises(BadSettings) as caught:
        load(
            {**GOOD, "S3_LINK_SECONDS": "x", name: "secretpassword" if name != "SECRET_KEY" else "secretp"}
            | {"MAX_BODY_BYTES": "secretpassword"}
        )

    assert "secretp" not in str(caught.value)


def test_platform_names_are_understood() -> None:
    """A database URL by a platform's scheme becomes the driver's, and broker names are tried in their order."""
    settings = load({**GOOD, "CLOUDAMQP_URL": "amqps://u:p@rabbit/vhost"})

    assert settings.database_url.startswith("postgresql+psycopg://")
    assert settings.broker_url == "amqps://u:p@rabbit/vhost"
    assert settings.public_url == "https://reelhook.example"


def test_tls_to_redis_is_verified_unless_told_otherwise() -> None:
    """A bare rediss:// URL means: verify. The broker's library would read it as: don't."""
    assert load(GOOD).broker_url.endswith("?ssl_cert_reqs=required")
    relaxed = "rediss://redis:6379?ssl_cert_reqs=none"
    assert load({**GOOD, "REDIS_URL": relaxed}).broker_url == relaxed


@pytest.mark.parametrize(
    "template", ["{job}.mp4", "{job}/{name}", "/{job}/{name}.{extension}", "../{job}/{name}.{extension}", "{job", "{x}"]
)
def test_a_key_template_that_could_mix_jobs_is_refused(template: str) -> None:
    """A template must name job, file and ending, stay below its root, and use known fields."""
    with pytest.raises(BadSettings, match="S3_KEY_TEMPLATE"):
        load({**GOOD, "S3_KEY_TEMPLATE": template})


def test_secrets_do_not_show() -> None:
    """Printing the settings shows no key and no password."""
    assert "secretpassword" not in repr(load(GOOD))


STORES = [
    (
        {
            "CLOUDCUBE_URL": "https://cloud-cube-eu.s3.amazonaws.com/abc123",
            "CLOUDCUBE_ACCESS_KEY_ID": "k",
            "CLOUDCUBE_SECRET_ACCESS_KEY": "s",
        },
        ("cloud-cube-eu", None, "us-east-1", "abc123/kling/"),
    ),
    (
        {"CELLAR_ADDON_HOST": "cellar-c2.services.clever-cloud.com", "CELLAR_ADDON_KEY_ID": "k",
         "CELLAR_ADDON_KEY_SECRET": "s", "S3_BUCKET": "films"},
        ("films", "https://cellar-c2.services.clever-cloud.com", "us-east-1", "kling/"),
    ),
    (
        {"BUCKETEER_BUCKET_NAME": "bucketeer-1", "BUCKETEER_AWS_REGION": "eu-west-1",
         "BUCKETEER_AWS_ACCESS_KEY_ID": "k", "BUCKETEER_AWS_SECRET_ACCESS_KEY": "s"},
        ("bucketeer-1", None, "eu-west-1", "kling/"),
    ),
    (
        {"BUCKET_NAME": "tigris", "AWS_ENDPOINT_URL_S3": "https://fly.storage.tigris.dev", "AWS_REGION": "auto",
         "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"},
        ("tigris", "https://fly.storage.tigris.dev", "auto", "kling/"),
    ),
    (
        {"S3_BUCKET": "films", "S3_ENDPOINT_URL": "https://abc.r2.cloudflarestorage.com", "S3_ACCESS_KEY_ID": "k",
         "S3_SECRET_ACCESS_KEY": "s"},
        ("films", "https://abc.r2.cloudflarestorage.com", "auto", "kling/"),
    ),
    (
        {"S3_BUCKET": "films", "S3_ENDPOINT_URL": "https://s3.us-west-004.backblazeb2.com", "S3_ACCESS_KEY_ID": "k",
         "S3_SECRET_ACCESS_KEY": "s"},
        ("films", "https://s3.us-west-004.backblazeb2.com", "us-west-004", "kling/"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "expected"), STORES)
def test_each_platform_s_names_of_a_store_are_understood(
    variables: dict[str, str], expected: tuple[str, str | None, str, str]
) -> None:
    """Bucket, endpoint, region and the prefix of keys come out of what each platform sets."""
    rest = {name: value for name, value in GOOD.items() if not name.startswith("S3_")}
    settings = load({**rest, **variables})

    bucket, endpoint, region, prefix = expected
    assert (bucket, endpoint, region) == (settings.s3_bucket, settings.s3_endpoint_url, settings.s3_region)
    assert settings.s3_key_template.startswith(prefix)
    assert ("k", "s") == (
        settings.s3_access_key_id.get_secret_value(),
        settings.s3_secret_access_key.get_secret_value(),
    )
