import string

from hypothesis import given
from hypothesis import strategies as st

from infra.setting_values import KEY_FIELDS, key_template
from tests.fakes import a_job
from worker.jobs import keys
from worker.kling.catalog import FAMILIES
from worker.previews import NAMES

DEFAULT = "kling/{year}/{month}/{day}/{job}/{name}.{extension}"
PLAIN = set(string.ascii_letters + string.digits + "._-/")
ids = st.text(min_size=1, max_size=40)


@given(ids, st.text(max_size=40), st.text(max_size=20), st.integers(0, 20))
def test_no_name_can_leave_its_folder(job_id: str, caller: str, variant: str, ordinal: int) -> None:
    """Whatever ids, callers and variants hold, a key has no step `..` or `.`, no odd character, no leading slash."""
    job = a_job(id=job_id, caller=caller)
    template = "{caller}/{family}/{job}/{kind}/{name}-{ordinal}.{extension}"
    key = keys.file_key(template, job, kind="video", variant=variant, ordinal=ordinal, content_type="video/mp4")

    assert not {"", ".", ".."} & set(key.split("/"))
    assert set(key) <= PLAIN


literal = st.text("ab.-_", max_size=3)
separator = st.sampled_from(["/", "-", "."])


@st.composite
def templates(draw: st.DrawFn) -> str:
    """Templates that settings accept: fields in any order and as often as one likes, plain text between them."""
    wanted = [
        *draw(st.permutations(["job", "name", "extension"])),
        *draw(st.lists(st.sampled_from(sorted(KEY_FIELDS)))),
        *["caller"] * draw(st.integers(0, 14)),
    ]
    pieces = [f"{draw(literal)}{{{field}}}{draw(literal)}{draw(separator)}" for field in draw(st.permutations(wanted))]
    template = "".join(pieces)[:-1]
    try:
        return key_template(template)
    except ValueError:  # a step of dots only, or an empty one
        return DEFAULT


outputs = st.one_of(
    st.tuples(
        st.sampled_from(["video", "image", "audio"]),
        st.sampled_from(["original", "watermarked", "mp3", "wav"]),
        st.integers(0, 12),
    ),
    st.tuples(
        st.just("other"),
        st.from_regex(r"(videos|images)\[[0-9]{1,3}\]\.(cover_url|url_[1-3]|[a-z_]{1,40})", fullmatch=True),
        st.just(0),
    ),
)


@given(templates(), st.lists(outputs, min_size=1, unique=True))
def test_no_two_things_share_a_key(template: str, made: list[tuple[str, str, int]]) -> None:
    """Whatever the template: files, pictures and manifests of two jobs have keys of their own, and plain ones."""
    there: list[str] = []
    for job in (a_job(id="01hzzzzzzzzzzzzzzzzzzzzzzz"), a_job(id="01hyyyyyyyyyyyyyyyyyyyyyyy")):
        there.append(keys.manifest_key(template, job))
        for kind, variant, ordinal in made:
            kind_of = {"video": "video/mp4", "image": "image/png", "audio": "audio/mpeg"}.get(kind, "image/jpeg")
            key = keys.file_key(template, job, kind=kind, variant=variant, ordinal=ordinal, content_type=kind_of)
            there += [key, *(keys.beside(key, name) for name in NAMES if kind == "video")]

    assert len(there) == len(set(there))
    for key in there:
        assert not {"", ".", ".."} & set(key.split("/"))
        assert set(key) <= PLAIN


@given(templates())
def test_no_key_is_longer_than_s3_allows(template: str) -> None:
    """Whatever template settings accept: 1024 bytes with the longest values, for pictures and manifests, too."""
    family = max(FAMILIES, key=len)
    job = a_job(id="01hzzzzzzzzzzzzzzzzzzzzzzz", caller="c" * 64, prefix="p" * 200, family=family)
    key = keys.file_key(template, job, kind="image", variant="watermarked", ordinal=9999, content_type="audio/webm")
    other = keys.file_key(
        template, job, kind="other", variant="videos[1]." + "f" * 40, ordinal=9999, content_type="audio/webm"
    )

    assert max(map(len, (keys.beside(key, "poster"), keys.rest(other), keys.manifest_key(template, job)))) <= 1024


def test_the_documented_fields_are_the_ones_that_render() -> None:
    """Each field that settings let a template name gets a value."""
    template = "/".join(f"{{{field}}}" for field in sorted(KEY_FIELDS))

    key = keys.file_key(template, a_job(), kind="video", variant="original", ordinal=3, content_type="video/mp4")

    assert key == "default/21/mp4/videos-omni-video/01hzzzzzzzzzzzzzzzzzzzzzzz/video/11/video-3/3/2026"


def test_files_of_a_job_stand_beside_each_other() -> None:
    """File, poster and manifest of a job share a folder."""
    video = keys.file_key(DEFAULT, a_job(), kind="video", variant="original", ordinal=0, content_type="video/mp4")

    folder = "kling/2026/11/21/01hzzzzzzzzzzzzzzzzzzzzzzz"
    assert video == f"{folder}/video-0.mp4"
    assert keys.beside(video, "poster") == f"{folder}/video-0.poster.jpg"
    assert keys.beside(video, "sheet") == f"{folder}/video-0.sheet.jpg"
    assert keys.manifest_key(DEFAULT, a_job()) == f"{folder}/manifest.json"
