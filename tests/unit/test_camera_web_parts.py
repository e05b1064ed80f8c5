"""The page's parts alone: addresses, tokens, cookies, rates, and /metrics read by Prometheus's own parser."""

import dataclasses
import math

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.web import client, decision, page

from edgekit.errors import InputError
from edgekit_deploy.health import Health
from edgekit_deploy.latency import Histogram
from edgekit_deploy.stats import STAGES, CameraStats
from edgekit_deploy.web.access import SESSION_SECONDS, Access
from edgekit_deploy.web.address import TOKEN_VARIABLE, Address, Names, read_token
from edgekit_deploy.web.feeds import Feeds
from edgekit_deploy.web.limits import MOST_CLIENTS, RateLimit, client_key


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("8080", "127.0.0.1", 8080),
        (":8081", "127.0.0.1", 8081),
        ("localhost", "127.0.0.1", 8080),
        ("localhost:9", "127.0.0.1", 9),
        ("0.0.0.0", "0.0.0.0", 8080),
        ("0.0.0.0:80", "0.0.0.0", 80),
        ("192.168.1.2:65535", "192.168.1.2", 65535),
        ("::1", "::1", 8080),
        ("[::]:8080", "::", 8080),
        ("[::1]", "::1", 8080),
        ("", "127.0.0.1", 8080),
    ],
)
def test_addresses(text, host, port):
    assert Address.parse(text) == Address(host, port)


@pytest.mark.parametrize(
    "text", ["camera.local:80", "1.2.3:80", "1.2.3.4:70000", "1.2.3.4:x", "[::1", "http://1.2.3.4/", "٣"]
)
def test_addresses_that_are_none(text):
    with pytest.raises(InputError, match="IP:PORT"):
        Address.parse(text)


def test_what_counts_as_loopback():
    assert all(Address(host, 0).is_loopback for host in ("127.0.0.1", "127.9.9.9", "::1"))
    assert not any(Address(host, 0).is_loopback for host in ("0.0.0.0", "::", "10.0.0.1", "169.254.1.1", "fe80::1"))
    assert Address("::1", 8080).url == "http://[::1]:8080/"
    assert "0.0.0.0" not in Address("0.0.0.0", 8080).url


def test_names_on_loopback_are_few():
    names = Names.of(Address("127.0.0.1", 8080), ("proxy.example",))
    assert all(names.allow(host) for host in ("localhost", "127.0.0.1:1", "[::1]:2", "proxy.example:443"))
    refused = ("10.0.0.1", "evil.example", "", ":80", "localhost:", "localhost:x", "a b", "[::1]x", "localhost/..")
    assert not any(names.allow(host) for host in refused)


def test_tokens_come_from_a_file_or_the_environment(tmp_path):
    file = tmp_path / "token"
    file.write_text("  from-a-file-0123456789\n")
    environment = {TOKEN_VARIABLE: "from-the-environment"}
    assert read_token(file, environment) == "from-a-file-0123456789"
    assert read_token(None, environment) == "from-the-environment"
    assert read_token(None, {}) is None
    file.write_text("hunter2")
    with pytest.raises(InputError, match="16 to 1024") as caught:
        read_token(file, {})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InputError, match="readable"):
        read_token(tmp_path / "none", environment)
    with pytest.raises(InputError, match=TOKEN_VARIABLE):
        read_token(None, {TOKEN_VARIABLE: ""})


def test_a_cookie_lasts_for_its_time_and_its_token():
    now = [1_000_000.0]
    access = Access("a" * 20, lambda: now[0])
    cookie = access.make_cookie()
    assert access.is_cookie(cookie)
    # A restarted camera knows it, one with another token does not.
    assert Access("a" * 20, lambda: now[0]).is_cookie(cookie)
    assert not Access("b" * 20, lambda: now[0]).is_cookie(cookie)
    now[0] += SESSION_SECONDS - 1
    assert access.is_cookie(cookie)
    now[0] += 1
    assert not access.is_cookie(cookie)


def test_rate_limit_by_the_clock():
    now = [0.0]
    limit = RateLimit(0.5, 3, lambda: now[0])
    assert [limit.spend("a") for _ in range(5)] == [True, True, True, False, False]
    assert limit.wait("a") == pytest.approx(2.0)
    assert limit.spend("b")
    now[0] += 2.0
    assert limit.wait("a") == 0.0
    assert [limit.spend("a") for _ in range(2)] == [True, False]
    now[0] += 1000.0
    assert [limit.spend("a") for _ in range(4)] == [True, True, True, False]


def test_rate_limit_has_bounded_memory_and_forgets_the_least_recent():
    limit = RateLimit(0.001, 1, lambda: 0.0)
    for number in range(10 * MOST_CLIENTS):
        assert limit.spend(str(number))
    assert len(limit._clients) == MOST_CLIENTS
    assert not limit.spend(str(10 * MOST_CLIENTS - 1))


def test_one_subscriber_is_one_client():
    assert client_key("2001:db8:1:2::1") == client_key("2001:db8:1:2:ffff::9") != client_key("2001:db8:1:3::1")
    assert client_key("::ffff:10.0.0.1") == client_key("10.0.0.1")
    assert client_key("fe80::1%eth0") == client_key("fe80::2")
    assert client_key("") == ""


def stats() -> CameraStats:
    histograms = {name: Histogram() for name in STAGES}
    for milliseconds in range(1, 101):
        histograms["invoke"].add(milliseconds / 1e3)
    stages = {name: histogram.summary() for name, histogram in histograms.items()}
    return CameraStats('cam "0"\\\nx', "xnnpack", 2, "", 12.5, 150, 100, 50, 3, 10, 9, stages, Health(), ())


def parsed(text: str) -> dict[tuple[str, tuple], float]:
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert all(family.documentation for family in families)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_metrics_say_what_was_measured():
    feeds = Feeds(stats=stats, temperature=lambda: 61.25)
    with page(feeds=feeds, threshold=0.5) as running:
        running.publish(decision(7))
        answer = client(running).get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    values = parsed(answer.body.decode())
    plain = {name: value for (name, labels), value in values.items() if not labels}
    assert plain["edgekit_frames_captured_total"] == 150
    assert plain["edgekit_frames_inferred_total"] == 100
    assert plain["edgekit_frames_dropped_total"] == 50
    assert plain["edgekit_temperature_celsius"] == 61.25
    assert plain["edgekit_threshold_ratio"] == 0.5
    assert plain["edgekit_fps"] == 30.0
    assert plain["edgekit_viewers"] == 0
    assert plain["edgekit_source_up"] == 1
    stage = ("stage", "invoke")
    assert values["edgekit_stage_seconds_count", (stage,)] == 100
    assert values["edgekit_stage_seconds_sum", (stage,)] == pytest.approx(5.05)
    assert values["edgekit_stage_seconds", (("quantile", "0.5"), stage)] == pytest.approx(0.05, rel=0.02)
    assert values["edgekit_stage_seconds", (("quantile", "0.99"), stage)] == pytest.approx(0.099, rel=0.02)
    info = next(dict(labels) for name, labels in values if name == "edgekit_info")
    assert info == {"model": "tiny <colours>", "source": 'cam "0"\\\nx', "kernels": "xnnpack", "threads": "2"}


def test_metrics_before_there_are_measurements():
    with page() as running:
        assert "edgekit_viewers 0" in client(running).get("/metrics").body.decode()
    with page() as running:
        running.publish(decision(9))
        values = parsed(client(running).get("/metrics").body.decode())
    assert values["edgekit_fps", ()] == 30.0
    # What is unknown is left out: no zeros that look measured.
    assert not any(name.startswith(("edgekit_frames_", "edgekit_temperature")) for name, _ in values)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_metrics_that_are_no_numbers(value):
    with page(feeds=Feeds(temperature=lambda: value)) as running:
        values = parsed(client(running).get("/metrics").body.decode())
    assert values["edgekit_temperature_celsius", ()] == pytest.approx(value, nan_ok=True)


def test_a_scraper_in_a_loop_does_not_cost_more():
    calls = []

    def count():
        calls.append(1)
        return dataclasses.replace(stats())

    with page(feeds=Feeds(stats=count)) as running:
        texts = {client(running).get("/metrics").body for _ in range(10)}
    assert len(calls) < 10
    assert len(texts) <= len(calls)
