"""Which S3-compatible store this is: what each platform calls its credentials, and how each store is to be spoken to.

Sources: Heroku Dev Center (Bucketeer, Cloudcube), Clever Cloud "Cellar", Fly "Tigris", Railway "Storage Buckets" (which
are Tigris), Cloudflare R2 "S3 API compatibility", Backblaze "S3-Compatible API", DigitalOcean "Spaces with AWS SDKs",
rclone "S3" and "Environment variables".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from infra.store_values import COLD

Variables = Mapping[str, Any]


@dataclass(frozen=True)
class Platform:
    """A place that hands out a store, and the variables that it sets. The first name that is there counts."""

    name: str
    key: tuple[str, ...]  #: the variables of the access key: one of them says that the store is this platform's
    secret: tuple[str, ...]
    bucket: tuple[str, ...] = ()
    endpoint: tuple[str, ...] = ()
    region: tuple[str, ...] = ()
    token: tuple[str, ...] = ()
    also: Callable[[Variables], Mapping[str, str]] = lambda _: MappingProxyType({})  #: what it says in another form

    def said(self, there: Variables) -> dict[str, Any]:
        """Its variables by our names."""
        ours = {
            "S3_ACCESS_KEY_ID": self.key,
            "S3_SECRET_ACCESS_KEY": self.secret,
            "S3_SESSION_TOKEN": self.token,
            "S3_BUCKET": self.bucket,
            "S3_ENDPOINT_URL": self.endpoint,
            "S3_REGION": self.region,
        }
        found = ((name, next((there[one] for one in names if one in there), None)) for name, names in ours.items())
        return {**{name: value for name, value in found if value is not None}, **self.also(there)}


def _host(url: str) -> str:
    """Empty where `url` is none; that is said elsewhere, with all other faults."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _cellar(there: Variables) -> Mapping[str, str]:
    host = there.get("CELLAR_ADDON_HOST")
    return {"S3_ENDPOINT_URL": host} if host else {}


def _cube(there: Variables) -> Mapping[str, str]:
    """https://cloud-cube-eu.s3.amazonaws.com/CUBE: the host names the bucket, the path a prefix that keys must have."""
    url = str(there.get("CLOUDCUBE_URL", ""))
    host = re.fullmatch(r"(?P<bucket>.+?)\.s3(?:[.-](?P<region>[a-z0-9-]+))?\.amazonaws\.com", _host(url))
    if host is None:
        return {}
    prefix = urlsplit(url).path.strip("/").replace("{", "{{").replace("}", "}}")
    # Cloudcube's two regions are told by the bucket's name only.
    region = host["region"] or ("eu-west-1" if "-eu" in host["bucket"] else "us-east-1")
    return {"S3_BUCKET": host["bucket"], "S3_KEY_PREFIX": prefix, "S3_REGION": region}


def _rclone(there: Variables) -> Mapping[str, str]:
    """What it says of objects, and of addressing, which is a step of the path unless it says otherwise.

    It may be said for backups: a class that is no use to us, or a key without its encryption, is left out.
    """
    named = {
        "S3_STORAGE_CLASS": "RCLONE_S3_STORAGE_CLASS",
        "S3_SSE": "RCLONE_S3_SERVER_SIDE_ENCRYPTION",
        "S3_SSE_KMS_KEY_ID": "RCLONE_S3_SSE_KMS_KEY_ID",
    }
    said = {ours: str(there[name]) for ours, name in named.items() if name in there}
    if said.get("S3_STORAGE_CLASS", "").upper() in COLD:
        del said["S3_STORAGE_CLASS"]
    if not str(there.get("S3_SSE", said.get("S3_SSE"))).startswith("aws:kms"):
        said.pop("S3_SSE_KMS_KEY_ID", None)
    style = {"true": "path", "false": "virtual"}.get(str(there.get("RCLONE_S3_FORCE_PATH_STYLE", "")).lower())
    return {**said, **({"S3_ADDRESSING_STYLE": style} if style else {})}


def _with_remote(there: Variables) -> Variables:
    """With what rclone's one remote of this kind says by names of its own, where no platform says anything: a machine
    may have a remote for something else.
    """
    if any(name in there for one in PLATFORMS for name in one.key):
        return there
    named = [name for name in there if re.fullmatch(r"RCLONE_CONFIG_\w+_TYPE", name) and there[name] == "s3"]
    if len(named) != 1:
        return there
    head = named[0].removesuffix("TYPE")
    own = {f"RCLONE_S3_{name.removeprefix(head)}": there[name] for name in there if name.startswith(head)}
    return {**there, **own}


def _r2(there: Variables) -> Mapping[str, str]:
    account = there.get("R2_ACCOUNT_ID")
    known = "R2_ENDPOINT" in there or "R2_ENDPOINT_URL" in there
    return {"S3_ENDPOINT_URL": f"https://{account}.r2.cloudflarestorage.com"} if account and not known else {}


#: In the order in which they are looked for: an add-on's own names before those that anything on AWS may set.
PLATFORMS = (
    Platform(
        "Bucketeer",
        key=("BUCKETEER_AWS_ACCESS_KEY_ID",),
        secret=("BUCKETEER_AWS_SECRET_ACCESS_KEY",),
        bucket=("BUCKETEER_BUCKET_NAME",),
        region=("BUCKETEER_AWS_REGION",),
    ),
    Platform(
        "Cloudcube",
        key=("CLOUDCUBE_ACCESS_KEY_ID",),
        secret=("CLOUDCUBE_SECRET_ACCESS_KEY",),
        also=_cube,
    ),
    Platform(
        "Cellar",
        key=("CELLAR_ADDON_KEY_ID",),
        secret=("CELLAR_ADDON_KEY_SECRET",),
        bucket=("CELLAR_ADDON_BUCKET", "CELLAR_BUCKET"),
        also=_cellar,
    ),
    Platform(
        "R2",
        key=("R2_ACCESS_KEY_ID",),
        secret=("R2_SECRET_ACCESS_KEY",),
        bucket=("R2_BUCKET", "R2_BUCKET_NAME"),
        endpoint=("R2_ENDPOINT", "R2_ENDPOINT_URL"),
        also=_r2,
    ),
    Platform(
        "B2",
        key=("B2_APPLICATION_KEY_ID", "B2_KEY_ID"),
        secret=("B2_APPLICATION_KEY",),
        bucket=("B2_BUCKET", "B2_BUCKET_NAME"),
        endpoint=("B2_ENDPOINT", "B2_ENDPOINT_URL"),
        region=("B2_REGION",),
    ),
    Platform(
        "Spaces",
        key=("SPACES_ACCESS_KEY_ID", "SPACES_KEY"),
        secret=("SPACES_SECRET_ACCESS_KEY", "SPACES_SECRET"),
        bucket=("SPACES_BUCKET", "SPACES_NAME"),
        endpoint=("SPACES_ENDPOINT", "SPACES_ENDPOINT_URL"),
        region=("SPACES_REGION",),
    ),
    Platform(
        "rclone",
        key=("RCLONE_S3_ACCESS_KEY_ID",),
        secret=("RCLONE_S3_SECRET_ACCESS_KEY",),
        endpoint=("RCLONE_S3_ENDPOINT",),
        region=("RCLONE_S3_REGION",),
        token=("RCLONE_S3_SESSION_TOKEN",),
        also=_rclone,
    ),
    Platform(  # AWS itself, Tigris on Fly and on Railway, Neon, moto: they all use AWS's names
        "AWS",
        key=("AWS_ACCESS_KEY_ID",),
        secret=("AWS_SECRET_ACCESS_KEY",),
        # A new name goes to the end: where two are set, a deployment goes on with the bucket that it has.
        bucket=("BUCKET_NAME", "AWS_S3_BUCKET", "AWS_BUCKET", "AWS_STORAGE_BUCKET_NAME", "AWS_S3_BUCKET_NAME"),
        endpoint=("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        region=("AWS_REGION", "AWS_DEFAULT_REGION"),
        token=("AWS_SESSION_TOKEN",),
    ),
)


#: Where a platform's store is whose region alone is said.
_BY_REGION = MappingProxyType({"B2": "https://s3.{}.backblazeb2.com", "Spaces": "https://{}.digitaloceanspaces.com"})
#: What says where the stores are that are not AWS.
_ELSEWHERE = MappingProxyType(
    {
        "Cellar": "CELLAR_ADDON_HOST",
        "R2": "R2_ENDPOINT, R2_ACCOUNT_ID",
        "B2": "B2_ENDPOINT, B2_REGION",
        "Spaces": "SPACES_ENDPOINT, SPACES_REGION",
        "rclone": "RCLONE_S3_ENDPOINT",
    }
)
#: What says that a machine has no key of its own, but is lent one after the other for what it is.
_ROLE = (
    "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip


def resolve(there: Variables) -> dict[str, Any]:
    """What one platform says of its store, by our names. Two platforms are never mixed: keys of one don't open the
    other. What is set by our own names goes before; with an access key of that kind no platform is asked at all.
    """
    there = _with_remote(there)
    platform = next((one for one in PLATFORMS if any(name in there for name in one.key)), None)
    said = {} if platform is None or "S3_ACCESS_KEY_ID" in there else platform.said(there)
    if platform and "S3_ENDPOINT_URL" not in said and (region := said.get("S3_REGION")) and platform.name in _BY_REGION:
        said["S3_ENDPOINT_URL"] = _BY_REGION[platform.name].format(region)
    if "://" not in (endpoint := str(said.get("S3_ENDPOINT_URL", "://"))):
        said["S3_ENDPOINT_URL"] = f"https://{endpoint}"
    both = {**said, **there}
    known = dialect(without_bucket(both.get("S3_ENDPOINT_URL"), both.get("S3_BUCKET")))
    if known.region:  # the host's own word: a machine on AWS may have a region of its own beside it
        said["S3_REGION"] = known.region
    elif known.name == "AWS" and (nearby := there.get("AWS_REGION") or there.get("AWS_DEFAULT_REGION")):
        said.setdefault("S3_REGION", nearby)
    return said


def lacking(there: Variables) -> str | None:
    """What is to be set so that keys of a platform's are not sent to AWS, or that there are keys at all; None where
    nothing is.
    """
    there = _with_remote(there)
    platform = next((one for one in PLATFORMS if any(name in there for name in one.key)), None)
    if "S3_ACCESS_KEY_ID" in there:
        return None
    if platform is None:
        role = next((name for name in _ROLE if name in there), None)
        return role and (
            f"{role}: is not used: what a role is lent runs out within hours, and links with it; make a key that may "
            "use the bucket"
        )
    if platform.name == "Cloudcube" and "S3_BUCKET" not in there and not _cube(there):
        return "CLOUDCUBE_URL: must say bucket and folder, as https://BUCKET.s3.amazonaws.com/CUBE"
    if platform.name not in _ELSEWHERE or "S3_ENDPOINT_URL" in {**resolve(there), **there}:
        return None
    if platform.name == "rclone" and str(there.get("RCLONE_S3_PROVIDER", "AWS")).upper() == "AWS":
        return None
    return f"S3_ENDPOINT_URL: is missing ({_ELSEWHERE[platform.name]} would do too): {platform.key[0]} is no key of AWS"


def without_bucket(endpoint: str | None, bucket: str | None) -> str | None:
    """The endpoint of a known store, where `endpoint` is that of the bucket: its name would stand there twice."""
    if not endpoint or not bucket or not _host(str(endpoint)):
        return endpoint
    parts = urlsplit(str(endpoint))
    own = parts.netloc.removeprefix(f"{bucket}.")
    if own != parts.netloc and dialect(f"{parts.scheme}://{own}").drops_own_bucket:
        return urlunsplit(parts._replace(netloc=own))
    if parts.path.strip("/") == bucket and dialect(endpoint).drops_own_bucket:
        return urlunsplit(parts._replace(path=""))
    return endpoint


def others(name: str) -> list[str]:
    """Variables of platforms that stand for our `name`, for a message about what is missing."""
    field = {"S3_BUCKET": "bucket", "S3_ACCESS_KEY_ID": "key", "S3_SECRET_ACCESS_KEY": "secret"}.get(name)
    return [variable for one in PLATFORMS for variable in getattr(one, field)] if field else []


def only_bucket(bucket: str, folder: str | None, *endpoints: str | None) -> str | None:
    """Why a store has no bucket for us but `bucket`; None where it may. `folder`: the only one that its key may use."""
    if folder:
        return f"the store's key may only use the folder {folder}/ of {bucket}, as at Cloudcube"
    for endpoint in filter(None, endpoints):
        if _host(endpoint).startswith(f"{bucket}.") or urlsplit(endpoint).path.strip("/") == bucket:
            return f"the endpoint {endpoint} is that of {bucket}: set the store's own, without the bucket's name in it"
    return None


@dataclass(frozen=True)
class Dialect:
    """How a store wants to be spoken to, where nobody says otherwise."""

    name: str
    region: str | None = None  #: that it checks signatures against; None: the one that is set
    addressing: str = "path"  #: whether its buckets are names of hosts, or steps of a path
    checksums: str = "when_required"  #: newer checksum trailers read as bad credentials on several stores
    keeps_versions: bool = False  #: whether every bucket keeps what was written over
    equal_parts: bool = False  #: whether all parts of an upload but the last must have one length
    #: Whether the name of a bucket is taken out of an endpoint that is the bucket's own. With it in there twice keys
    #: begin with it: they do where a store was not always known, and files that lie there have to be found.
    drops_own_bucket: bool = True


_AWS = Dialect("AWS", addressing="virtual", checksums="when_supported")
#: By the name of its host: a store. A region that the pattern finds is the store's.
_HOSTS = (
    (r"s3-(?:accelerate(?:\.dualstack)?|external-1)\.amazonaws\.com", _AWS),  # names of no region
    (r"s3(?:-fips)?(?:\.dualstack)?(?:[.-](?P<region>[a-z0-9-]+))?\.amazonaws\.com(?:\.cn)?", _AWS),
    (r"s3(?:-fips)?(?:\.dualstack)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.eu", replace(_AWS, drops_own_bucket=False)),
    (r".+\.vpce\.amazonaws\.com", Dialect("AWS", addressing="auto", checksums="when_supported")),
    (r".+\.r2\.cloudflarestorage\.com", Dialect("R2", region="auto", equal_parts=True)),
    (r"s3\.(?P<region>[a-z0-9-]+)\.backblazeb2\.com", Dialect("B2", keeps_versions=True)),
    # Its newer buckets are reached by a host of their own only.
    (r"(?:fly\.storage\.tigris\.dev|t3\.storage\.dev|t3\.storageapi\.dev)", Dialect("Tigris", "auto", "virtual")),
    (r"storage\.railway\.app", Dialect("Tigris", "auto", "virtual", drops_own_bucket=False)),
    (r"(?P<region>[a-z0-9]+)\.digitaloceanspaces\.com", Dialect("Spaces", addressing="virtual")),
    (r"cellar-[a-z0-9-]+\.services\.clever-cloud\.com", Dialect("Cellar")),
    (r"s3\.(?P<region>[a-z0-9-]+)\.wasabisys\.com", Dialect("Wasabi")),
    (r"s3\.(?P<region>[a-z0-9-]+)\.scw\.cloud", Dialect("Scaleway")),
    (r"s3\.(?P<region>[a-z0-9-]+)\.(?:io|perf)\.cloud\.ovh\.(?:net|us)", Dialect("OVH", drops_own_bucket=False)),
    (r"(?P<region>[a-z0-9-]+)\.your-objectstorage\.com", Dialect("Hetzner", drops_own_bucket=False)),
    (r"sos-(?P<region>[a-z0-9-]+)\.exo\.io", Dialect("Exoscale", drops_own_bucket=False)),
)  # fmt: skip


def dialect(endpoint: object) -> Dialect:
    """How the store at `endpoint` wants to be spoken to; None is AWS itself. An unknown one gets the oldest ways."""
    if not endpoint:
        return _AWS
    host = _host(str(endpoint))
    for pattern, known in _HOSTS:
        if match := re.fullmatch(pattern, host):
            return replace(known, region=known.region or match.groupdict().get("region"))
    return Dialect("S3-compatible", drops_own_bucket=False)
