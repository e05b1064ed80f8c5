"""`edgekit deploy` without ssh: bundles, what a device refuses, switching and going back. Real agent, real pip."""

import json
import zipfile
from dataclasses import replace

import pytest
from support import tiny_model
from support.fleet import Local, leftovers, make, resigned, small_wheel, state
from support.small_disk import NoSmallDisk, fill, small_disk

from edgekit.errors import GateError, InputError
from edgekit_deploy.fleet import archive, keys
from edgekit_deploy.fleet.archive import ServicePlan, Target
from edgekit_deploy.fleet.push import push, push_to
from edgekit_deploy.fleet.session import Session

DIGEST = "0" * 64


def quiet(host, state):
    pass


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "fleet.pem"
    keys.generate(path, None)
    return keys.load(path, None)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A model and a small wheel."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "model.tflite").write_bytes(tiny_model.sealed())
    return folder / "model.tflite", [small_wheel(folder, "1.0")]


@pytest.fixture(scope="module")
def warm(tmp_path_factory, parts, key):
    """A device on which release 5 runs; other releases come and go."""
    root = tmp_path_factory.mktemp("device") / "root"
    push_to(make(*parts, root, 5, key), "pi", Local(), quiet)
    return root


@pytest.fixture
def five(warm, parts, key):
    """The same, with release 5 active again."""
    push_to(make(*parts, warm, 5, key), "pi", Local(), quiet, allow_downgrade=True)
    return warm


def refused(made, **options):
    with pytest.raises(GateError) as caught:
        push_to(made, "pi", Local(), quiet, **options)
    return str(caught.value)


def test_the_same_parts_give_the_same_bytes_and_come_back(tmp_path, parts, key):
    files = {"b.env": b"B", "a.service": b"A"}
    first, second = (archive.pack(make(*parts, tmp_path, 3, key, files=files)) for _ in range(2))
    assert first == second
    (tmp_path / "app.ekb").write_bytes(first)
    made = archive.unpack(tmp_path / "app.ekb")
    assert archive.pack(made) == first
    assert [entry["name"] for entry in made.facts["files"]] == ["model.tflite", "a.service", "b.env", parts[1][0].name]
    assert zipfile.ZipFile(tmp_path / "app.ekb").read("files/model.tflite") == parts[0].read_bytes()


@pytest.mark.parametrize("place", ["manifest.json", "manifest.sig", "key.pub.pem", "files/model.tflite"])
def test_a_bundle_that_was_altered_is_not_sent(tmp_path, parts, key, place):
    whole = archive.pack(make(*parts, tmp_path, 3, key))
    (tmp_path / "whole.ekb").write_bytes(whole)
    with zipfile.ZipFile(tmp_path / "whole.ekb") as old, zipfile.ZipFile(tmp_path / "app.ekb", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data[:-9] + bytes([data[-9] ^ 1]) + data[-8:] if name == place else data)
    with pytest.raises(InputError):
        archive.unpack(tmp_path / "app.ekb")


def test_a_bundle_with_more_than_was_signed_or_less_is_not_sent(tmp_path, parts, key):
    whole = archive.pack(make(*parts, tmp_path, 3, key))
    more = tmp_path / "more.ekb"
    more.write_bytes(whole)
    with zipfile.ZipFile(more, "a") as file:
        file.writestr("files/../../evil", b"")
    with pytest.raises(InputError, match="besides"):
        archive.unpack(more)
    for size in (0, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "less.ekb").write_bytes(whole[:size])
        with pytest.raises(InputError, match="whole bundle"):
            archive.unpack(tmp_path / "less.ekb")


def test_a_push_installs_and_switches_and_a_rollback_goes_back(five, parts, key):
    old = state(five)
    made = make(*parts, five, 6, key)
    told = []
    assert push_to(made, "pi", Local(), lambda host, text: told.append(text)) == state(five) != old
    # The model and the wheel are there already.
    assert not [text for text in told if "uploading" in text]
    with Session("pi", str(five), Local()) as device:
        assert device.ask("probe")["previous"]["id"] == old
        assert device.ask("rollback")["current"] == old == state(five)
        assert device.ask("rollback")["current"] != old
    assert leftovers(five) == []


def test_a_bundle_of_another_key_is_refused(five, parts, tmp_path):
    keys.generate(tmp_path / "other.pem", None)
    old = state(five)
    complaint = refused(make(*parts, five, 7, keys.load(tmp_path / "other.pem", None)))
    assert "must be signed by a key that the device trusts" in complaint
    assert state(five) == old


def test_the_device_itself_refuses_an_unsigned_or_altered_manifest(five, parts, key):
    made, old = make(*parts, five, 7, key), state(five)
    altered = replace(made, manifest=made.manifest.replace('"number": 7', '"number": 8'))
    for bad in (altered, replace(made, signature=b""), replace(made, signature=bytes(64))):
        assert "must be signed" in refused(bad)
    for garbage in (b"", b"{}", b"\xff", b'{"manifest": 1, "signature": "00"}'):
        with Session("pi", str(five), Local()) as device, pytest.raises(GateError, match="manifest and a signature"):
            device.ask("install", data=garbage)
    assert state(five) == old


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/b", "", ".hidden", "environment", "release.json", "x" * 200]
)
def test_a_signed_manifest_whose_names_lead_elsewhere_is_refused(five, parts, key, name):
    made, old = make(*parts, five, 7, key), state(five)
    entry = {"name": name, "kind": "file", "size": 1, "sha256": made.facts["files"][0]["sha256"]}
    assert "one of edgekit's" in refused(resigned(made, key, files=[*made.facts["files"], entry]))
    assert state(five) == old


@pytest.mark.parametrize(
    ("target", "reason"), [(Target("armv7l", "any"), "machine"), (Target("any", "3.4"), "python 3.11, got one for 3.4")]
)
def test_a_bundle_for_another_machine_is_refused(five, parts, key, target, reason):
    assert reason in refused(archive.make(*parts, target, ServicePlan(str(five)), 7, key))


def test_an_older_bundle_is_refused_unless_allowed(five, parts, key):
    older = make(*parts, five, 4, key)
    assert "no older than number 5" in refused(older)
    push_to(older, "pi", Local(), quiet, allow_downgrade=True)
    assert state(five).startswith("4-")


def test_altered_contents_are_refused_and_can_be_pushed_again(five, parts, key):
    made, old = make(*parts, five, 7, key), state(five)
    digest = made.facts["files"][0]["sha256"]
    with Session("pi", str(five), Local()) as device, pytest.raises(GateError, match="must arrive whole"):
        device.ask("put", digest, "3", data=b"abc")
    blob = five / "blobs" / digest
    blob.write_bytes(b"rotten")
    assert "must have the hash that was signed" in refused(made)
    assert state(five) == old
    push_to(made, "pi", Local(), quiet)
    assert state(five).startswith("7-")


def test_contents_that_lead_elsewhere_are_refused(five):
    for digest in ("../evil", "A" * 64, ""):
        with Session("pi", str(five), Local()) as device, pytest.raises(GateError, match="named by its hash"):
            device.ask("put", digest, "1", data=b"x")


def test_a_release_that_fails_its_own_test_is_refused(five, parts, key, tmp_path):
    old = state(five)
    bad = make(parts[0], [small_wheel(tmp_path, "1.1", fails=True)], five, 7, key)
    assert "must pass its own test" in refused(bad)
    assert state(five) == old
    assert leftovers(five) == []


def test_a_wheel_that_is_missing_or_broken_is_refused(five, parts, key, tmp_path):
    old, broken = state(five), tmp_path / "edgekit-1.2-py3-none-any.whl"
    with pytest.raises(InputError, match="edgekit's own"):
        make(parts[0], [], five, 7, key)
    with Session("pi", str(five), Local()) as device, pytest.raises(GateError, match="uploaded, got nothing"):
        device.ask("install", data=make(parts[0], [small_wheel(tmp_path, "1.3")], five, 7, key).signed)
    broken.write_bytes(b"no wheel")
    assert "must install" in refused(make(parts[0], [broken], five, 7, key))
    assert state(five) == old
    assert leftovers(five) == []


def test_a_service_that_does_not_start_or_stay_goes_back(five, parts, key):
    old = state(five)
    unhappy = make(*parts, five, 7, key, restart="echo no >&2; false")
    assert "must restart, got: no. The old release runs again" in refused(unhappy)
    # It starts, and crashes as soon as somebody looks for the second time.
    crashes = "echo x >> looked; [ $(wc -l < looked) -lt 2 ]"
    looping = make(*parts, five, 7, key, restart="true", healthy=crashes, seconds=1.0)
    assert "must stay well for 1 s" in refused(looping)
    assert (five / "looked").read_text() == "x\nx\n"
    assert state(five) == old
    assert leftovers(five) == []


def test_the_service_is_restarted_with_the_new_release_and_with_the_old_one_again(five, parts, key):
    old = state(five)
    note = "readlink current >> restarted; case $(readlink current) in */7-*) false;; esac"
    push_to(make(*parts, five, 6, key, restart=note), "pi", Local(), quiet)
    six = state(five)
    refused(make(*parts, five, 7, key, restart=note))
    lines = (five / "restarted").read_text().splitlines()
    assert [line.partition("-")[0] for line in lines] == ["releases/6", "releases/7", "releases/6"]
    assert state(five) == six != old
    with Session("pi", str(five), Local()) as device:
        assert device.ask("probe")["previous"]["id"] == old


def test_a_disk_that_is_too_full_is_refused_and_one_that_fills_up_changes_nothing(tmp_path, parts, key):
    try:
        with small_disk(tmp_path / "disk", 120) as disk:
            root = disk / "root"
            push_to(make(*parts, root, 1, key), "pi", Local(), quiet)
            old = state(root)
            padding = tmp_path / "more-1.0-py3-none-any.whl"
            padding.write_bytes(bytes(20_000_000))
            assert "MB free" in refused(make(parts[0], [*parts[1], padding], root, 2, key))
            fill(disk)
            with Session("pi", str(root), Local()) as device, pytest.raises(GateError, match="No space left"):
                device.ask("put", DIGEST, "1000000", data=bytes(1_000_000))
            assert state(root) == old
    except NoSmallDisk as reason:
        pytest.skip(str(reason))


def test_two_pushes_at_once_one_is_refused(five, parts, key):
    made = make(*parts, five, 6, key)
    with Session("pi", str(five), Local()) as device:
        device.ask("missing", data=made.signed)
        assert "Another push" in refused(made)
        with Session("pi", str(five), Local()) as other:
            assert other.ask("probe")["current"]["number"] == 5
    push_to(made, "pi", Local(), quiet)
    assert state(five).startswith("6-")


def test_a_connection_that_ends_in_the_middle_of_a_file_leaves_nothing(five, parts, key):
    old = state(five)
    with Session("pi", str(five), Local()) as device:
        device.ask("missing", data=make(*parts, five, 6, key).signed)
        header = json.dumps({"verb": "put", "values": [DIGEST, "1000"], "size": 1000, "allow_downgrade": False})
        device._send(f"{len(header):08d}{header}".encode() + bytes(500))
    assert state(five) == old
    assert leftovers(five) == []


def test_one_bad_host_does_not_stop_the_others_but_a_bad_canary_does(tmp_path, parts, key):
    class Several(Local):
        def command(self, host, words):
            good = super().command(host, words)
            return [*good[:-1], str(tmp_path / host)] if host != "bad" else ["false"]

    made = make(*parts, tmp_path / "any", 1, key)
    done = push(made, ["bad", "a", "b"], Several(), quiet)
    assert [bool(pushed.release) for pushed in done] == [False, True, True]
    assert state(tmp_path / "a") == state(tmp_path / "b") == done[1].release
    done = push(make(*parts, tmp_path / "any", 2, key), ["bad", "a"], Several(), quiet, canaries=1)
    assert "left alone" in done[1].complaint
    assert state(tmp_path / "a").startswith("1-")
    done = push(make(*parts, tmp_path / "any", 2, key), ["a", "bad", "b"], Several(), quiet, canaries=1)
    assert [bool(pushed.release) for pushed in done] == [True, False, True]
    with pytest.raises(InputError, match="once"):
        push(made, ["a", "a"], Several(), quiet)
