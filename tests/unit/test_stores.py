"""What each platform sets becomes a store that can be spoken to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.object_store import ObjectStore
from infra.settings import BadSettings, Settings, load
from infra.stores import PLATFORMS, dialect

REST = {
    "DATABASE_URL": "postgres://user:password@db:5432/reelhook",
    "REDIS_URL": "redis://redis:6379",
    "KLING_URL": "kling://ACCESS:SECRET@api-singapore.klingai.com",
    "PUBLIC_URL": "https://reelhook.example/",
    "SECRET_KEY": "s" * 32,
}
AWS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
OURS = {"S3_BUCKET": "films", "S3_ACCESS_KEY_ID": "k", "S3_SECRET_ACCESS_KEY": "s"}
BUCKETEER = {"BUCKETEER_AWS_ACCESS_KEY_ID": "k", "BUCKETEER_AWS_SECRET_ACCESS_KEY": "s"}
CUBE = {"CLOUDCUBE_ACCESS_KEY_ID": "k", "CLOUDCUBE_SECRET_ACCESS_KEY": "s"}
CELLAR = {"CELLAR_ADDON_KEY_ID": "k", "CELLAR_ADDON_KEY_SECRET": "s"}
R2 = {"R2_ACCESS_KEY_ID": "k", "R2_SECRET_ACCESS_KEY": "s"}
B2 = {"B2_APPLICATION_KEY_ID": "k", "B2_APPLICATION_KEY": "s"}
SPACES = {"SPACES_KEY": "k", "SPACES_SECRET": "s"}
RCLONE = {"RCLONE_S3_ACCESS_KEY_ID": "k", "RCLONE_S3_SECRET_ACCESS_KEY": "s"}


class Expected(NamedTuple):
    """What comes out: where a link to `a.mp4` leads, the region it is signed for, and whether newer checksums go."""

    link: str
    region: str
    newer_checksums: bool = False


TABLE: dict[str, tuple[dict[str, str], Expected]] = {
    "AWS by our names": ({**OURS, "S3_REGION": "eu-west-1"},
        Expected("https://films.s3.eu-west-1.amazonaws.com/a.mp4", "eu-west-1", newer_checksums=True)),
    "AWS by its own": ({**AWS, "AWS_S3_BUCKET": "films", "AWS_DEFAULT_REGION": "eu-west-3"},
        Expected("https://films.s3.eu-west-3.amazonaws.com/a.mp4", "eu-west-3", newer_checksums=True)),
    "AWS by its endpoint": ({**OURS, "S3_ENDPOINT_URL": "https://s3.dualstack.eu-west-1.amazonaws.com"},
        Expected("https://films.s3.dualstack.eu-west-1.amazonaws.com/a.mp4", "eu-west-1", newer_checksums=True)),
    "AWS, a bucket with dots": ({**OURS, "S3_BUCKET": "films.example", "AWS_REGION": "eu-west-1"},
        Expected("https://s3.eu-west-1.amazonaws.com/films.example/a.mp4", "eu-west-1", newer_checksums=True)),
    "Bucketeer": ({**BUCKETEER, "BUCKETEER_BUCKET_NAME": "bucketeer-1", "BUCKETEER_AWS_REGION": "eu-west-1"},
        Expected("https://bucketeer-1.s3.eu-west-1.amazonaws.com/a.mp4", "eu-west-1", newer_checksums=True)),
    "Cloudcube": ({**CUBE, "CLOUDCUBE_URL": "https://cloud-cube.s3.amazonaws.com/abc123"},
        Expected("https://cloud-cube.s3.amazonaws.com/a.mp4", "us-east-1", newer_checksums=True)),
    "Cloudcube in Europe": ({**CUBE, "CLOUDCUBE_URL": "https://cloud-cube-eu.s3.amazonaws.com/abc123"},
        Expected("https://cloud-cube-eu.s3.eu-west-1.amazonaws.com/a.mp4", "eu-west-1", newer_checksums=True)),
    "AWS by names that say no region":
        ({**OURS, "S3_ENDPOINT_URL": "https://s3-external-1.amazonaws.com"},
        Expected("https://films.s3-external-1.amazonaws.com/a.mp4", "us-east-1", newer_checksums=True)),
    "Cellar, its host with a scheme":
        ({**CELLAR, "S3_BUCKET": "films", "CELLAR_ADDON_HOST": "https://cellar-c2.services.clever-cloud.com"},
        Expected("https://cellar-c2.services.clever-cloud.com/films/a.mp4", "us-east-1")),
    "as it was pasted":
        ({"S3_BUCKET": " films\n", "S3_ACCESS_KEY_ID": "k ", "S3_SECRET_ACCESS_KEY": "s\n",
          "S3_REGION": "eu-west-1\r\n"},
        Expected("https://films.s3.eu-west-1.amazonaws.com/a.mp4", "eu-west-1", newer_checksums=True)),
    "Cellar, which is Ceph":
        ({**CELLAR, "S3_BUCKET": "films", "CELLAR_ADDON_HOST": "cellar-c2.services.clever-cloud.com"},
        Expected("https://cellar-c2.services.clever-cloud.com/films/a.mp4", "us-east-1")),
    "R2": ({**R2, "R2_BUCKET_NAME": "films", "R2_ACCOUNT_ID": "abc"},
        Expected("https://abc.r2.cloudflarestorage.com/films/a.mp4", "auto")),
    "R2 on a machine of AWS":
        ({**OURS, "S3_ENDPOINT_URL": "https://abc.eu.r2.cloudflarestorage.com", "AWS_REGION": "us-west-2"},
        Expected("https://abc.eu.r2.cloudflarestorage.com/films/a.mp4", "auto")),
    "B2": ({**B2, "B2_BUCKET": "films", "B2_ENDPOINT": "s3.us-west-004.backblazeb2.com"},
        Expected("https://s3.us-west-004.backblazeb2.com/films/a.mp4", "us-west-004")),
    "B2 by AWS's names": ({**AWS, "BUCKET_NAME": "films", "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "https://s3.us-west-004.backblazeb2.com"},
        Expected("https://s3.us-west-004.backblazeb2.com/films/a.mp4", "us-west-004")),
    "B2 by its region": ({**B2, "B2_BUCKET": "films", "B2_REGION": "us-west-004"},
        Expected("https://s3.us-west-004.backblazeb2.com/films/a.mp4", "us-west-004")),
    "Spaces by its region": ({**SPACES, "SPACES_BUCKET": "films", "SPACES_REGION": "nyc3"},
        Expected("https://films.nyc3.digitaloceanspaces.com/a.mp4", "nyc3")),
    "Spaces, the bucket's own endpoint":
        ({**SPACES, "SPACES_BUCKET": "films", "SPACES_ENDPOINT": "https://films.nyc3.digitaloceanspaces.com"},
        Expected("https://films.nyc3.digitaloceanspaces.com/a.mp4", "nyc3")),
    "R2, the bucket's own endpoint": ({**OURS, "S3_ENDPOINT_URL": "https://abc.eu.r2.cloudflarestorage.com/films"},
        Expected("https://abc.eu.r2.cloudflarestorage.com/films/a.mp4", "auto")),
    "Tigris": ({**AWS, "BUCKET_NAME": "films", "AWS_ENDPOINT_URL_S3": "https://fly.storage.tigris.dev"},
        Expected("https://films.fly.storage.tigris.dev/a.mp4", "auto")),
    "Spaces": ({**SPACES, "SPACES_BUCKET": "films", "SPACES_ENDPOINT": "nyc3.digitaloceanspaces.com"},
        Expected("https://films.nyc3.digitaloceanspaces.com/a.mp4", "nyc3")),
    "Spaces, links by the bucket's own address": ({**SPACES, "SPACES_BUCKET": "films", "SPACES_REGION": "nyc3",
        "S3_PUBLIC_ENDPOINT_URL": "https://films.nyc3.digitaloceanspaces.com"},
        Expected("https://films.nyc3.digitaloceanspaces.com/a.mp4", "nyc3")),
    "Railway": ({**AWS, "AWS_S3_BUCKET_NAME": "films", "AWS_ENDPOINT_URL": "https://storage.railway.app",
        "AWS_DEFAULT_REGION": "auto"},
        Expected("https://films.storage.railway.app/a.mp4", "auto")),
    "AWS in Brandenburg": ({**OURS, "S3_ENDPOINT_URL": "https://s3.eusc-de-east-1.amazonaws.eu"},
        Expected("https://films.s3.eusc-de-east-1.amazonaws.eu/a.mp4", "eusc-de-east-1", newer_checksums=True)),
    "AWS in China": ({**OURS, "S3_REGION": "cn-north-1"},
        Expected("https://films.s3.cn-north-1.amazonaws.com.cn/a.mp4", "cn-north-1", newer_checksums=True)),
    "AWS for the government, by FIPS":
        ({**OURS, "S3_ENDPOINT_URL": "https://s3-fips.us-gov-west-1.amazonaws.com"},
        Expected("https://films.s3-fips.us-gov-west-1.amazonaws.com/a.mp4", "us-gov-west-1", newer_checksums=True)),
    "AWS, an access point":
        ({**OURS, "S3_BUCKET": "arn:aws:s3:eu-west-1:123456789012:accesspoint/films", "S3_REGION": "us-east-1"},
        Expected("https://films-123456789012.s3-accesspoint.eu-west-1.amazonaws.com/a.mp4", "eu-west-1",
                 newer_checksums=True)),
    "Cloudcube, its second bucket": ({**CUBE, "CLOUDCUBE_URL": "https://cloud-cube-eu2.s3.amazonaws.com/abc123/"},
        Expected("https://cloud-cube-eu2.s3.eu-west-1.amazonaws.com/a.mp4", "eu-west-1", newer_checksums=True)),
    "OVH": ({**OURS, "S3_ENDPOINT_URL": "https://s3.gra.io.cloud.ovh.net"},
        Expected("https://s3.gra.io.cloud.ovh.net/films/a.mp4", "gra")),
    "Hetzner": ({**OURS, "S3_ENDPOINT_URL": "https://fsn1.your-objectstorage.com"},
        Expected("https://fsn1.your-objectstorage.com/films/a.mp4", "fsn1")),
    "Railway, an older bucket": ({**AWS, "AWS_S3_BUCKET_NAME": "films", "S3_ADDRESSING_STYLE": "path",
        "AWS_ENDPOINT_URL": "https://storage.railway.app"},
        Expected("https://storage.railway.app/films/a.mp4", "auto")),
    "Exoscale": ({**OURS, "S3_ENDPOINT_URL": "https://sos-ch-gva-2.exo.io"},
        Expected("https://sos-ch-gva-2.exo.io/films/a.mp4", "ch-gva-2")),
    "one remote of rclone's": ({"RCLONE_CONFIG_FILMS_TYPE": "s3", "RCLONE_CONFIG_FILMS_PROVIDER": "Minio",
        "RCLONE_CONFIG_FILMS_ACCESS_KEY_ID": "k", "RCLONE_CONFIG_FILMS_SECRET_ACCESS_KEY": "s", "S3_BUCKET": "films",
        "RCLONE_CONFIG_FILMS_ENDPOINT": "store.example", "RCLONE_CONFIG_FILMS_FORCE_PATH_STYLE": "false",
        "RCLONE_CONFIG_FILMS_REGION": "moon"},
        Expected("https://films.store.example/a.mp4", "moon")),
    "rclone serve s3": ({**RCLONE, "S3_BUCKET": "films", "RCLONE_S3_ENDPOINT": "http://127.0.0.1:8080"},
        Expected("http://127.0.0.1:8080/films/a.mp4", "us-east-1")),
    "moto": ({**AWS, "S3_BUCKET": "films", "AWS_ENDPOINT_URL": "http://127.0.0.1:5000"},
        Expected("http://127.0.0.1:5000/films/a.mp4", "us-east-1")),
    "what nobody knows": ({**OURS, "S3_ENDPOINT_URL": "https://store.example", "S3_REGION": "moon"},
        Expected("https://store.example/films/a.mp4", "moon")),
}  # fmt: skip


def settings_of(variables: Mapping[str, str]) -> Settings:
    """A deployment whose store is named by `variables`."""
    return load({**REST, **variables})


@pytest.mark.parametrize("name", TABLE)
def test_each_platform_s_store_is_spoken_to_in_its_way(name: str) -> None:
    """Endpoint, addressing, region, SigV4, checksums: right from the variables that the platform sets."""
    variables, expected = TABLE[name]
    settings = settings_of(variables)
    store = ObjectStore(settings)
    link = store.presign("a.mp4", seconds=60)
    config: Any = store._client.meta.config  # the stubs don't know what it has

    assert expected.link == link.partition("?")[0]
    assert f"%2F{expected.region}%2Fs3%2Faws4_request" in link
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in link
    wanted = "when_supported" if expected.newer_checksums else "when_required"
    assert (wanted, wanted) == (config.request_checksum_calculation, config.response_checksum_validation)
    keys = settings.s3_access_key_id, settings.s3_secret_access_key
    assert ["k", "s"] == [key.get_secret_value() for key in keys]


def test_a_cube_s_keys_stay_below_its_prefix() -> None:
    """Cloudcube lets us write below one prefix only: the default template goes there, and one's own does too."""
    variables = TABLE["Cloudcube"][0]

    assert settings_of(variables).s3_key_template.startswith("abc123/kling/")
    for own in ("{job}/{name}.{extension}", "abc123/{job}/{name}.{extension}"):
        assert "abc123/{job}/{name}.{extension}" == settings_of({**variables, "S3_KEY_TEMPLATE": own}).s3_key_template


def test_a_lent_key_brings_its_token() -> None:
    """Temporary credentials are three values; a link made with them says the third one too."""
    link = ObjectStore(settings_of({**AWS, "BUCKET_NAME": "films", "AWS_SESSION_TOKEN": "t0ken"})).presign(
        "a", seconds=60
    )

    assert "X-Amz-Security-Token=t0ken" in link


@given(st.sets(st.sampled_from([one.name for one in PLATFORMS]), min_size=1), st.booleans())
def test_two_platforms_are_never_mixed(names: set[str], own: bool) -> None:  # noqa: FBT001 - Hypothesis hands it over
    """With the variables of several add-ons there, key and secret and bucket come from one; our own names win."""
    there = {**REST, "S3_ENDPOINT_URL": "https://store.example"}
    for one in PLATFORMS:
        if one.name in names:
            there |= dict.fromkeys((one.key[0], one.secret[0], *one.bucket[:1]), f"{one.name}-key")
    if own:
        there |= dict.fromkeys(OURS, "ours-key")
    else:
        there.setdefault("CELLAR_BUCKET", "Cellar-key")
    try:
        settings = load(there)
    except BadSettings as fault:
        assert "S3_BUCKET" in str(fault)  # noqa: PT017 - rclone and Cloudcube name none here
        return

    said = settings.s3_access_key_id, settings.s3_secret_access_key
    assert 1 == len({*(key.get_secret_value() for key in said), settings.s3_bucket})


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        (R2, "R2_ACCOUNT_ID"),
        (B2, "B2_REGION"),
        (CELLAR, "CELLAR_ADDON_HOST"),
        (SPACES, "SPACES_REGION"),
        ({**RCLONE, "RCLONE_S3_PROVIDER": "Cloudflare"}, "RCLONE_S3_ENDPOINT"),
        (
            {
                "RCLONE_CONFIG_R2_TYPE": "s3",
                "RCLONE_CONFIG_R2_PROVIDER": "Cloudflare",
                "RCLONE_CONFIG_R2_ACCESS_KEY_ID": "k",
                "RCLONE_CONFIG_R2_SECRET_ACCESS_KEY": "s",
            },
            "RCLONE_S3_ENDPOINT",
        ),
    ],
)
def test_no_platform_s_keys_go_to_aws_for_want_of_an_endpoint(variables: dict[str, str], name: str) -> None:
    """Where nothing says where the store is, that is a fault, and the message names what would say it."""
    with pytest.raises(BadSettings, match=f"S3_ENDPOINT_URL: is missing .*{name}"):
        settings_of({**variables, "S3_BUCKET": "films"})


def test_what_is_missing_is_named_in_every_platform_s_words() -> None:
    """Who has forgotten the bucket sees what it may be called."""
    with pytest.raises(BadSettings, match=r"S3_BUCKET: is missing \(BUCKETEER_BUCKET_NAME, .*BUCKET_NAME"):
        settings_of(AWS)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("S3_BUCKET", "s3://films/here", "the bare name of a bucket"),
        ("S3_BUCKET", "arn:aws:s3:::films", "the bare name of a bucket"),
        ("S3_ENDPOINT_URL", "http://my_store:9000", "without underscores; found my_store"),
        ("S3_PUBLIC_ENDPOINT_URL", "https://films..example", "letters, digits and hyphens between dots"),
        ("S3_BUCKET", "films--euw1-az1--x-s3", "can't be a directory bucket"),
        ("S3_BUCKET", "arn:aws:s3::123456789012:accesspoint/mfzwi.mrap", "can't be a multi-region access point"),
        ("S3_BUCKET", "arn:aws:s3-object-lambda:eu-west-1:123456789012:accesspoint/x", "can't be an Object Lambda"),
        ("S3_ENDPOINT_URL", "http://films.s3-website-eu-west-1.amazonaws.com", "that address is a website's"),
        ("S3_ENDPOINT_URL", "https://films.nyc3.cdn.digitaloceanspaces.com", "that address is a CDN's"),
        ("S3_PUBLIC_ENDPOINT_URL", "https://pub-123.r2.dev", "that address is a public bucket's"),
        ("S3_REGION", "eu west", "a region's name, such as"),
        ("S3_ENDPOINT_URL", "https://key:secret@store.example", "no user:password@"),
        ("S3_ENDPOINT_URL", "https://store.example/?x=1", "scheme, host and port only"),
        ("S3_ENDPOINT_URL", "https://store.example/a b", "no spaces"),
        ("S3_ENDPOINT_URL", "https://store.example:port", "a number up to 65535"),
        ("S3_PUBLIC_ENDPOINT_URL", "https://store.example:99999", "a number up to 65535"),
        ("S3_CACHE_CONTROL", "private\nX-Other: yes", "one line of plain ASCII"),
        ("S3_STORAGE_CLASS", "GLACIER", "can't be read back for its proof"),
        ("S3_STORAGE_CLASS", "deep_archive", "GLACIER_IR can"),
    ],
)
def test_what_no_store_could_work_with_is_refused_at_once(name: str, value: str, said: str) -> None:
    """Such a value would fail with each file, or in words of the client library; it is named before anything starts."""
    with pytest.raises(BadSettings, match=f"{name}: .*{said}"):
        settings_of({**OURS, name: value})


@pytest.mark.parametrize("value", ["STANDARD_IA", "GLACIER_IR", "INTELLIGENT_TIERING", "nvme"])
def test_classes_that_can_be_read_at_once_are_taken(value: str) -> None:
    """Stores that are not AWS name classes of their own."""
    assert value == settings_of({**OURS, "S3_STORAGE_CLASS": value}).s3_storage_class


def test_what_rclone_says_of_objects_holds() -> None:
    """Its storage class and encryption are asked for, too; of two remotes nobody can say which is meant."""
    said = settings_of({**RCLONE, "S3_BUCKET": "films", "RCLONE_S3_STORAGE_CLASS": "STANDARD_IA",
                        "RCLONE_S3_SERVER_SIDE_ENCRYPTION": "aws:kms", "RCLONE_S3_SSE_KMS_KEY_ID": "key"})  # fmt: skip
    assert ("STANDARD_IA", "aws:kms", "key") == (said.s3_storage_class, said.s3_sse, said.s3_sse_kms_key_id)

    two = {f"RCLONE_CONFIG_{name}_{end}": "s3" for name in "AB" for end in ("TYPE", "ACCESS_KEY_ID")}
    with pytest.raises(BadSettings, match="S3_ACCESS_KEY_ID: is missing"):
        settings_of({**two, "S3_BUCKET": "films"})
    backup = {"RCLONE_CONFIG_BACKUP_TYPE": "s3", "RCLONE_CONFIG_BACKUP_ACCESS_KEY_ID": "another's"}
    assert "k" == settings_of({**AWS, **backup, "S3_BUCKET": "films"}).s3_access_key_id.get_secret_value()


def test_what_rclone_says_for_backups_keeps_nothing_from_starting() -> None:
    """A class that can't be read at once, or a key without its encryption, is another use's of the same variables."""
    cold = {**RCLONE, "S3_BUCKET": "films", "RCLONE_S3_STORAGE_CLASS": "GLACIER", "RCLONE_S3_SSE_KMS_KEY_ID": "key"}
    for sse in ({}, {"RCLONE_S3_SERVER_SIDE_ENCRYPTION": "aws:kms", "S3_SSE": "AES256"}):
        said = settings_of({**cold, **sse})
        assert (None, sse.get("S3_SSE"), None) == (said.s3_storage_class, said.s3_sse, said.s3_sse_kms_key_id)


@given(st.dictionaries(st.sampled_from(["BUCKET_NAME", "AWS_S3_BUCKET", "AWS_BUCKET", "AWS_STORAGE_BUCKET_NAME"]),
                       st.sampled_from(["films", "clips", "shots"]), min_size=1))  # fmt: skip
def test_a_name_that_is_understood_now_moves_no_bucket(others: dict[str, str]) -> None:
    """Railway's may be there beside the one that a deployment has always used."""
    assert (
        settings_of({**AWS, **others}).s3_bucket == settings_of({**AWS, **others, "AWS_S3_BUCKET_NAME": "x"}).s3_bucket
    )


@pytest.mark.parametrize(
    "store",
    ["fsn1.your-objectstorage.com", "s3.gra.io.cloud.ovh.net", "sos-ch-gva-2.exo.io", "storage.railway.app",
     "s3.eusc-de-east-1.amazonaws.eu", "store.example"],
)  # fmt: skip
@pytest.mark.parametrize("shape", ["https://films.{}", "https://{}/films"])
def test_files_stay_where_a_bucket_s_own_endpoint_has_put_them(shape: str, store: str) -> None:
    """Below its name: a store that was unknown when they were stored may be known now."""
    endpoint = shape.format(store)
    link = ObjectStore(settings_of({**OURS, "S3_ENDPOINT_URL": endpoint})).presign("a.mp4", seconds=60)

    host, _, key = link.partition("?")[0].removeprefix("https://").partition("/")
    in_host = host.startswith("films.")
    assert "films/a.mp4" == (key if in_host else key.removeprefix("films/"))


@pytest.mark.parametrize("url", [None, "https://cubes.example/abc123"])
def test_a_cube_without_its_address_is_told(url: str | None) -> None:
    """Its name is the one that Cloudcube uses."""
    with pytest.raises(BadSettings, match=r"CLOUDCUBE_URL: must say bucket and folder"):
        settings_of({**CUBE, **({"CLOUDCUBE_URL": url} if url else {})})


def test_a_role_is_no_key() -> None:
    """Who has only a role reads that it is not used, and why, beside what is missing."""
    with pytest.raises(BadSettings, match=r"AWS_ROLE_ARN: is not used: .*\n.*S3_ACCESS_KEY_ID: is missing"):
        settings_of({"S3_BUCKET": "films", "AWS_ROLE_ARN": "arn:aws:iam::1:role/worker"})


@given(st.text(max_size=60))
def test_any_endpoint_has_a_dialect(endpoint: str) -> None:
    """Whatever a host is called, there is a way to speak to it; only AWS's own gets the newer checksums."""
    known = dialect(endpoint)

    assert "when_required" == known.checksums or not endpoint or ".amazonaws.com" in endpoint.lower()


@pytest.mark.parametrize("url", ["http://[::1]:9000", "http://10.0.0.7", "https://STORE.example./", "http://store"])
def test_an_endpoint_of_any_shape_is_taken(url: str) -> None:
    """Addresses, a final dot, and names without one, as containers have them, lead to a store that links can be made
    for.
    """
    link = ObjectStore(settings_of({**OURS, "S3_ENDPOINT_URL": url})).presign("a.mp4", seconds=60)

    assert f"{url.rstrip('/').lower()}/films/a.mp4" == link.partition("?")[0].lower()


@pytest.mark.parametrize("name", ["S3_ENDPOINT_URL", "S3_PUBLIC_ENDPOINT_URL"])
@pytest.mark.parametrize("url", ["http://[", "store.example", "ftp://store.example"])
def test_an_endpoint_that_is_none_is_named(name: str, url: str) -> None:
    """What is no URL is told among the other faults, by its name."""
    with pytest.raises(BadSettings, match=f"{name}: "):
        settings_of({**OURS, name: url})


def test_what_this_machine_sets_for_other_tools_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile, a file in the home or a switch for all clients would move the bucket, or refuse it."""
    variables = {**REST, **OURS, "S3_REGION": "eu-west-1"}
    expected = ObjectStore(load(variables)).presign("a.mp4", seconds=60).partition("?")[0]
    (tmp_path / "config").write_text("[default]\nuse_fips_endpoint = true\ns3 =\n  use_accelerate_endpoint = true\n")
    for name, value in {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_PROFILE": "nobody",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
    }.items():
        monkeypatch.setenv(name, value)

    assert expected == ObjectStore(load(variables)).presign("a.mp4", seconds=60).partition("?")[0]
