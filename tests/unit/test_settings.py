from pathlib import Path
from urllib.parse import unquote

import pytest
from sqlalchemy.engine import make_url

from infra.settings import LONGEST_LINK, BadSettings, load
from tests.tls import make_certificate

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


PORT = "must have a number for a port; / ? # @ : of a password are written %2F %3F %23 %40 %3A"
CREDENTIALS = (
    "must carry its credentials, such as kling://ACCESS:SECRET@api-singapore.klingai.com or https://KEY@host/kling"
)


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


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SECRET_KEY", "short", "must have at least 32 characters, and has 5"),
        ("PORT", "http", "must be a whole number"),
        ("PORT", "99999", "must be at most 65535"),
        ("GUARD_PORTS", "443 http", "must be a whole number"),
        ("KLING_PACE", "fast", "must be a number"),
        ("KLING_PACE", "0", "must be more than 0.0"),
        ("RETENTION_DAYS", "0", "must be at least 1"),
        ("POSTERS", "maybe", "must be true or false"),
        ("S3_SSE", "kms", "must be 'AES256', 'aws:kms' or 'aws:kms:dsse'"),
        ("GUARD_ALLOW_CIDRS", "10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("DATABASE_URL", "postgres://user:secretpassword@db:port/x", PORT),
        ("DATABASE_URL", "postgres://user:secretpassword@db:99999/x", PORT),
        ("REDIS_URL", "redis://host:port/0", PORT),
        ("PUBLIC_URL", "https://host:99999/", PORT),
        ("KLING_URL_COMET", "comet", CREDENTIALS),
    ],
)  # fmt: skip
def test_a_fault_is_the_name_and_the_rule(name: str, value: str, said: str) -> None:
    """One line for each fault: the variable, and what must hold of it."""
    with pytest.raises(BadSettings) as caught:
        load({**GOOD, name: value})

    assert [f"  {name}: {said}"] == str(caught.value).splitlines()[1:]


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


@pytest.mark.parametrize("password", ["a/b", "a?b", "a#b", "a:b", "a%23b"])
def test_a_password_of_the_database_may_be_as_it_was_made(password: str) -> None:
    """What SQLAlchemy connects with is taken: nobody has to write a password anew to go on with it."""
    url = make_url(load({**GOOD, "DATABASE_URL": f"postgres://user:{password}@db:5432/x"}).database_url)

    assert (unquote(password), "db", 5432, "x") == (url.password, url.host, url.port, url.database)


def test_brokers_that_stand_in_for_each_other_are_taken() -> None:
    """As kombu has them; a port that is none is a fault in each."""
    both = "amqp://u:p@one:5672;amqp://u:p@other:5672"
    assert both == load({**GOOD, "CLOUDAMQP_URL": both}).broker_url
    with pytest.raises(BadSettings, match="CLOUDAMQP_URL: must have a number for a port"):
        load({**GOOD, "CLOUDAMQP_URL": "amqp://u:p@one:5672;amqp://u:p/@other:5672"})


def test_tls_to_redis_is_verified_unless_told_otherwise() -> None:
    """A bare rediss:// URL means: verify. The broker's library would read it as: don't."""
    assert load(GOOD).broker_url.endswith("?ssl_cert_reqs=required")
    relaxed = "rediss://redis:6379?ssl_cert_reqs=none"
    assert load({**GOOD, "REDIS_URL": relaxed}).broker_url == relaxed


@pytest.mark.parametrize(
    "template",
    [
        "{job}.mp4",
        "{job}/{name}",
        "{name}.{extension}",
        "/{job}/{name}.{extension}",
        "../{job}/{name}.{extension}",
        "{job}/./{name}.{extension}",
        "{job}//{name}.{extension}",
        "{job}/{name}.{extension}/",
        "{job",
        "{x}",
        "{job.id}",
        "a b/{job}/{name}.{extension}",
        "a\\{job}/{name}.{extension}",
        "a\n{job}/{name}.{extension}",
        "{job!r}{name}{extension}",
        "{job:>40}/{name}.{extension}",
        "é/{job}/{name}.{extension}",
        "{{{job}}}/{name}.{extension}",
        "a" * 800 + "/{job}/{name}.{extension}",
        "{caller}/" * 14 + "{job}/{name}.{extension}",
    ],
)
def test_a_key_template_that_could_mix_jobs_is_refused(template: str) -> None:
    """A template must name job, file and ending, stay below its root, and use known fields."""
    with pytest.raises(BadSettings, match="S3_KEY_TEMPLATE"):
        load({**GOOD, "S3_KEY_TEMPLATE": template})


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "S3_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_a_file_of_authorities_that_is_none_is_named(tmp_path: Path, name: str, text: str | None) -> None:
    """It is missing, empty or something else: said at the start, as each call over TLS would fail."""
    path = tmp_path / "own.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadSettings, match=f"{name}: must name a file of certificates in PEM form; {path} can't be"):
        load({**GOOD, name: str(path)})


def test_authorities_of_the_store_go_before_those_of_all(tmp_path: Path) -> None:
    """SSL_CERT_FILE is for all calls; AWS_CA_BUNDLE says otherwise of the store alone."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    one, other = (str(make_certificate(tmp_path / folder)) for folder in ("a", "b"))
    both = load({**GOOD, "SSL_CERT_FILE": one, "AWS_CA_BUNDLE": other})

    assert (one, other) == (both.ca_bundle, both.store_authorities)
    assert one == load({**GOOD, "SSL_CERT_FILE": one}).store_authorities


def test_secrets_do_not_show() -> None:
    """Printing the settings shows no key and no password."""
    assert "secretpassword" not in repr(load(GOOD))


def test_a_kms_key_that_nothing_uses_is_refused() -> None:
    """S3_SSE_KMS_KEY_ID without S3_SSE=aws:kms would be sent and refused with every object."""
    with pytest.raises(BadSettings, match=r"S3_SSE_KMS_KEY_ID: .*S3_SSE=aws:kms"):
        load({**GOOD, "S3_SSE_KMS_KEY_ID": "alias/films", "S3_SSE": "AES256"})

    for way in ("aws:kms", "aws:kms:dsse"):
        assert "alias/films" == load({**GOOD, "S3_SSE_KMS_KEY_ID": "alias/films", "S3_SSE": way}).s3_sse_kms_key_id


@pytest.mark.parametrize("seconds", [LONGEST_LINK + 1, 10**9, 0, "a week"])
@pytest.mark.parametrize("name", ["S3_LINK_SECONDS", "S3_INPUT_LINK_SECONDS"])
def test_a_link_that_no_store_would_sign_is_refused(name: str, seconds: object) -> None:
    """Links live for seven days at most, which is where SigV4 ends; more is refused before anything starts."""
    with pytest.raises(BadSettings, match=name):
        load({**GOOD, name: str(seconds)})
