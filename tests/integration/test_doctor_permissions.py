"""`reelhook doctor` on a server that knows keys and policies: what is told of those that it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import boto3
import pytest
from pydantic import SecretStr

from infra.settings import Settings
from tests.integration.stores_kit import KEY, SECRET, examined, other_store

#: What the README says that the store's key needs at least, and for clearing away.
LEAST = ("s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload")
ALL = (*LEAST, "s3:DeleteObject", "s3:ListBucketMultipartUploads", "s3:ListBucket")
USERS = {"all": ALL, "least": LEAST, "writer": ("s3:PutObject",), "nobody": ("s3:ListBucket",)}
#: Calls that moto takes from anybody: one makes the bucket, three each user.
FREE = 1 + 3 * len(USERS)
#: moto answers 500 to any link while it looks at keys.
LINKS = {"presigned link", "private"}

Keys = Mapping[str, tuple[str, str]]


@pytest.fixture(scope="module")
def strict(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Keys]]:
    """Settings on a store that looks at keys, and those of some users."""
    folder = tmp_path_factory.mktemp("iam")
    with other_store("moto", settings, folder, INITIAL_NO_AUTH_ACTION_COUNT=str(FREE)) as there:
        iam = boto3.client(
            "iam",
            endpoint_url=there.s3_endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )
        keys = {}
        for name, actions in USERS.items():
            iam.create_user(UserName=name)
            made = iam.create_access_key(UserName=name)["AccessKey"]
            keys[name] = (made["AccessKeyId"], made["SecretAccessKey"])
            allowed = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
            policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
            iam.put_user_policy(UserName=name, PolicyName="may", PolicyDocument=policy)
        yield there, keys


def told(strict: tuple[Settings, Keys], key: str, secret: str) -> dict[str, tuple[bool | None, str]]:
    """What the doctor says with this key, but for links and for what went well."""
    found = examined(strict[0], s3_access_key_id=SecretStr(key), s3_secret_access_key=SecretStr(secret))
    return {
        name: (one.good, one.words) for name, one in found.items() if one.good is not True and name not in LINKS
    }  # fmt: skip


def test_keys_that_are_wrong_are_told(strict: tuple[Settings, Keys]) -> None:
    """An unknown key, a secret of another one, and one that may not write are three things."""
    (key, secret), (idle, its) = strict[1]["all"], strict[1]["nobody"]

    for said, words in {
        ("AKIANOBODY", secret): "the store does not know this access key: look at S3_ACCESS_KEY_ID",
        (key, its): "the secret does not belong to the access key: look at S3_SECRET_ACCESS_KEY",
        (idle, its): "the key is not permitted to do this: it needs s3:PutObject (",
    }.items():
        ((good, why),) = told(strict, *said).values()
        assert (False, f"nothing can be stored: {words}") == (good, why[: 23 + len(words)])


def test_the_permissions_that_are_asked_for_do(strict: tuple[Settings, Keys]) -> None:
    """With all that the README names, or the least of them, there is no fault; what is missing is named."""
    everything, least = told(strict, *strict[1]["all"]), told(strict, *strict[1]["least"])

    assert {"lifecycle rule", "versions"} == set(everything)
    clearing = {"delete": "s3:DeleteObject", "list": "s3:ListBucket", "list uploads": "s3:ListBucketMultipartUploads"}
    assert {*everything, *clearing, "left behind"} == set(least)
    assert {None} == {good for good, _ in least.values()}
    assert clearing == {name: words for name, words in clearing.items() if f"it needs {words} (" in least[name][1]}


def test_who_may_not_read_is_told_that_alone(strict: tuple[Settings, Keys]) -> None:
    """What reads what it has written names the permission to read, not that to write."""
    found = told(strict, *strict[1]["writer"])

    assert {"read", "write in parts"} == {name for name, (good, _) in found.items() if good is False}
    for name in ("read", "write in parts"):
        assert "it needs s3:GetObject (" in found[name][1]
    assert "clock" not in found
