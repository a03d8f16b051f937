"""The lifecycle rules that `reelhook doctor` prints and sets, on a store that knows them and on stores that don't."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from infra.object_store import ObjectStore
from infra.settings import Settings
from infra.stack.s3 import client
from infra.stack.servers import Servers
from tests.integration.stores_kit import BUCKET, KEY, SECRET, examined
from tests.s3_gate import Gate
from webhook import lifecycle, terminal
from webhook.doctor import doctor
from webhook.lifecycle import WholeBucket
from worker.services import now
from worker.store.keys import ApiKeys, Terms

#: The prefixes of keys have rules of their own, so whichever keys another test has left are none of these tests'.
pytestmark = pytest.mark.usefixtures("engine")

FOREIGN: list[dict[str, Any]] = [
    {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 9}},
    {"ID": "cold", "Status": "Disabled", "Filter": {"Prefix": ""},
     "Transitions": [{"Days": 60, "StorageClass": "GLACIER"}]},
]  # fmt: skip


def ask(settings: Settings, monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[int, str, str]:
    """The exit code of `reelhook doctor` with `options`, and what it wrote to stdout and stderr."""
    monkeypatch.setattr(terminal, "load", lambda: settings)
    result = CliRunner().invoke(doctor, list(options))
    return result.exit_code, result.stdout, result.stderr


def test_lifecycle_rules_are_set_beside_foreign_ones(moto: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown first, then set, kept until told otherwise; what others have set stays as it was."""
    store = ObjectStore(moto)
    store.set_lifecycle(FOREIGN)
    assert examined(moto)["lifecycle rule"].good is None

    code, shown, _ = ask(moto, monkeypatch, "--lifecycle", "--expire-days", "30")
    assert (0, ["logs", "cold", "reelhook-abort-unfinished-uploads:kling/", "reelhook-expire-results:kling/"]) == (
        code, [rule["ID"] for rule in json.loads(shown)["Rules"]],
    )  # fmt: skip
    assert FOREIGN == store.lifecycle()

    assert 0 == ask(moto, monkeypatch, "--set-lifecycle", "--expire-days", "30")[0]
    *foreign, abort, expire = store.lifecycle()
    assert FOREIGN == foreign
    assert ({"DaysAfterInitiation": 2}, {"Prefix": "kling/"}) == (
        abort["AbortIncompleteMultipartUpload"], abort["Filter"],
    )  # fmt: skip
    assert ({"Days": 30}, {"Prefix": "kling/"}) == (expire["Expiration"], expire["Filter"])
    assert examined(moto)["lifecycle rule"].good

    assert 0 == ask(moto, monkeypatch, "--set-lifecycle")[0]
    assert [*FOREIGN, expire, abort] == store.lifecycle()

    assert 0 == ask(moto, monkeypatch, "--set-lifecycle", "--expire-days", "0")[0]
    assert [*FOREIGN, abort] == store.lifecycle()


def test_each_bucket_gets_its_rules_by_its_name(
    moto: Settings, engine: Engine, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an API key's own bucket lacks is told with the command that sets it there; to set rules in S3_BUCKET is to
    set them nowhere else, and that is told.
    """
    client(moto.s3_endpoint_url or "", KEY, SECRET).create_bucket(Bucket="films-of-app")
    there = moto.model_copy(update={"database_url": type(moto.database_url)(servers.addresses.database_url)})
    ApiKeys(engine, there.secret).create("app", now(), Terms(buckets=("films-of-app",)))

    _, shown, _ = ask(there, monkeypatch)
    said = " ".join(shown.replace("│", " ").split())
    assert "`reelhook doctor --set-lifecycle --bucket films-of-app` sets one" in said
    code, _, said = ask(there, monkeypatch, "--set-lifecycle")
    assert (0, True) == (code, f"set in {BUCKET}; for films-of-app it takes --bucket films-of-app" in said)
    assert not ObjectStore(moto).of("films-of-app").lifecycle()
    code, _, said = ask(there, monkeypatch, "--set-lifecycle", "--bucket", "films-of-app")
    assert (0, True) == (code, said.endswith("set in films-of-app\n"))
    assert 1 == len(ObjectStore(moto).of("films-of-app").lifecycle())


def test_the_size_from_which_others_rules_move_objects_stays(moto: Settings) -> None:
    """AWS keeps it beside the rules, and takes its newer default where rules are set without it."""
    store, said = ObjectStore(moto), []
    store._client.meta.events.register(
        "before-send.s3.PutBucketLifecycleConfiguration", lambda request, **_: said.append(dict(request.headers))
    )
    for _ in range(2):
        store.set_lifecycle(FOREIGN)

    assert b"all_storage_classes_128K" == said[-1].get("x-amz-transition-default-minimum-object-size")


@contextmanager
def versions_kept(moto: Settings) -> Iterator[ObjectStore]:
    """A bucket that keeps what is deleted or written over."""
    there = client(moto.s3_endpoint_url or "", KEY, SECRET)
    there.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    try:
        yield ObjectStore(moto)
    finally:
        there.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})


def test_what_a_bucket_keeps_unseen_is_told(moto: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where versions are kept, expiry by itself frees nothing: the rule ends them, too, and the doctor is content."""
    assert examined(moto)["versions"].good
    with versions_kept(moto) as store:
        store.set_lifecycle(FOREIGN)
        kept = examined(moto)["versions"]
        assert (None, True) == (kept.good, "NoncurrentVersionExpiration" in kept.words)

        assert 0 == ask(moto, monkeypatch, "--set-lifecycle", "--expire-days", "30")[0]
        assert {"NoncurrentDays": 1} == store.lifecycle()[-1]["NoncurrentVersionExpiration"]
        assert examined(moto)["versions"].good
    assert 0 == ask(moto, monkeypatch, "--set-lifecycle", "--expire-days", "30")[0]
    assert "NoncurrentVersionExpiration" not in store.lifecycle()[-1]


def kept_of_doctor(moto: Settings) -> int:
    """Versions, and marks of deletion, of whatever a doctor has stored."""
    there = client(moto.s3_endpoint_url or "", KEY, SECRET)
    said = there.list_object_versions(Bucket=BUCKET, Prefix="kling/reelhook-doctor-")
    return len(said.get("Versions", [])) + len(said.get("DeleteMarkers", []))


def test_a_doctor_leaves_no_version_behind(moto: Settings) -> None:
    """Where versions are kept, those of its own object go, too."""
    with versions_kept(moto):
        found = examined(moto)

        assert found["delete"].good
        assert "left behind" not in found
        assert 0 == kept_of_doctor(moto)


@pytest.mark.parametrize("operation", ["list versions", "delete version"])
def test_versions_that_a_doctor_may_not_remove_are_told(moto: Settings, operation: str) -> None:
    """It says which object they are of, and which permissions it takes."""
    with versions_kept(moto) as store, Gate(moto.s3_endpoint_url or "") as before:
        before.refuse(operation, 403, "AccessDenied")
        left = examined(moto, s3_endpoint_url=before.url)["left behind"]

        said = "versions of this examination's object kling/reelhook-doctor-"
        assert (None, said) == (left.good, left.words[: len(said)])
        assert "it needs s3:ListBucketVersions, s3:DeleteObjectVersion (" in left.words
        assert kept_of_doctor(moto)
        store.delete_versions(left.words.partition(" object ")[2].partition(":")[0])


def test_expiry_needs_no_permission_to_ask_for_versions(moto: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that may set rules and may not ask for versions sets them; it is told that the rule ends none. Rules can be
    shown, too, where the store says nothing at all; they are not set without having heard.
    """
    with Gate(moto.s3_endpoint_url or "") as before:
        behind = moto.model_copy(update={"s3_endpoint_url": before.url})
        before.refuse("versions", 403, "AccessDenied")
        code, _, said = ask(behind, monkeypatch, "--set-lifecycle", "--expire-days", "30")
        assert (0, True) == (code, "s3:GetBucketVersioning" in said)
        assert {"Days": 30} == ObjectStore(moto).lifecycle()[-1]["Expiration"]

        before.refusals.clear()
        before.refuse("versions", 400, "ExpiredToken")
        code, shown, _ = ask(behind, monkeypatch, "--lifecycle", "--expire-days", "30")
        assert (0, {"Days": 30}) == (code, json.loads(shown)["Rules"][-1]["Expiration"])
        assert 1 == ask(behind, monkeypatch, "--set-lifecycle", "--expire-days", "30")[0]


def test_a_store_without_lifecycle_rules_is_told(
    settings: Settings, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded store has none: to set them fails in words. Where they can't be read, ours are printed alone."""
    behind = settings.model_copy(update={"s3_endpoint_url": gate.url})
    gate.refuse("lifecycle", 403, "AccessDenied", times=1)
    code, shown, said = ask(behind, monkeypatch, "--lifecycle")
    assert (0, 1, True) == (code, len(json.loads(shown)["Rules"]), "can't be read" in said)

    assert examined(settings)["lifecycle rule"].words.endswith(" sets one, where the store takes such rules")

    code, _, said = ask(behind, monkeypatch, "--set-lifecycle")
    assert (1, True) == (code, "not set: the store takes no such rules. Without one Reelhook ends its own" in said)
    gate.refuse("set lifecycle", 403, "AccessDenied")
    code, _, said = ask(behind, monkeypatch, "--set-lifecycle")
    assert (1, True) == (code, "needs s3:GetLifecycleConfiguration and s3:PutLifecycleConfiguration (" in said)


def test_no_rule_may_empty_a_whole_bucket(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where keys begin with a field there is no folder of ours, and expiry is refused."""
    rootless = settings.model_copy(update={"s3_key_template": "{job}/{name}.{extension}"})
    code, _, said = ask(rootless, monkeypatch, "--lifecycle", "--expire-days", "30")

    assert (1, True) == (code, "S3_KEY_TEMPLATE begins with a field" in said)


@pytest.mark.parametrize("place", ["k", "teams/a/k"])
def test_expiry_is_of_a_folder(place: str) -> None:
    """With a template such as `k{job}/...` a rule for our keys would be one for whatever begins with that letter."""
    with pytest.raises(WholeBucket, match=f"begins with {place}"):
        lifecycle.rules([place], 30)

    (abort,) = lifecycle.rules([place], None)
    assert {"DaysAfterInitiation": 7} == abort["AbortIncompleteMultipartUpload"]


rule = st.fixed_dictionaries(
    {
        "ID": st.sampled_from(["a", "b", "reelhook-expire-results", "reelhook-abort-unfinished-uploads"]),
        "Status": st.sampled_from(["Enabled", "Disabled"]),
        "Filter": st.sampled_from([{}, {"Prefix": ""}, {"Prefix": "kling/"}, {"Prefix": "x/"}, {"Tag": {"Key": "k"}}]),
    },
    optional={
        "AbortIncompleteMultipartUpload": st.just({"DaysAfterInitiation": 7}),
        "Expiration": st.just({"Days": 1}),
    },
)


places = st.lists(st.sampled_from(["kling/", "", "a/", "a/kling/", "b/kling/", "k", "b/k"]), min_size=1, unique=True)


@given(st.lists(rule, max_size=5), places, st.none() | st.integers(1, 900))
def test_rules_are_merged_without_loss(there: list[dict[str, Any]], prefixes: list[str], days: int | None) -> None:
    """Foreign rules stay in their order, and so do those of another deployment, which has other places;
    ours are there once for each place, and merging again changes nothing.
    """
    try:
        ours = lifecycle.rules(prefixes, days)
    except WholeBucket:
        assert (all(one.endswith("/") for one in prefixes), days is not None) == (False, True)
        return
    assert all(one["Filter"]["Prefix"].endswith("/") for one in ours if "Expiration" in one), "or others' would go"
    once = lifecycle.merged(there, ours)
    assert set(map(str, once)) <= set(map(str, lifecycle.merged(there, ours, expiry_stays=True)))

    kept = {"a": True, "b": True}
    said = {one["Filter"]["Prefix"] for one in ours}
    where = [one["Filter"].get("Prefix", None if one["Filter"] else "") for one in there]
    foreign = [one for one, place in zip(there, where, strict=True) if kept.get(one["ID"]) or place not in said]
    assert [*foreign, *ours] == once == lifecycle.merged(once, ours)
    assert [] == lifecycle.missing(once, prefixes)
