"""What `--on` takes and refuses."""

import pytest

from compactor_runtimes.elsewhere.target import SCHEMES, Target, parse_target
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import resolve


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://pi", Target("ssh", "pi")),
        ("ssh://me@192.168.1.7:2222", Target("ssh", "192.168.1.7", "me", 2222)),
        ("ssh://me.you+1@my-box.example", Target("ssh", "my-box.example", "me.you+1")),
        ("ssh://[fe80::1]:22", Target("ssh", "fe80::1", "", 22)),
        ("ssh://me@[::1]", Target("ssh", "::1", "me")),
    ],
)
def test_a_machine_is_read_and_written_alike(text, expected):
    assert parse_target(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("pi", "no SCHEME:// found"),
        ("", "no SCHEME:// found"),
        ("SSH://pi", "no SCHEME:// found"),
        ("telnet://pi", "unknown scheme 'telnet'; known: ssh://"),
        ("ssh://", "host '' found"),
        ("ssh://@pi", "user '' found"),
        ("ssh://pi/", "a path"),
        ("ssh://pi/home", "a path"),
        ("ssh://pi?x=1", "a query"),
        ("ssh://pi#x", "a fragment"),
        ("ssh://pi:", "port '' found"),
        ("ssh://pi:0", "port '0' found"),
        ("ssh://pi:65536", "port '65536' found"),
        ("ssh://pi:+22", "port"),
        ("ssh://pi:２２", "port"),
        ("ssh://pi:22:22", "port"),
        ("ssh://-oProxyCommand=sh", "is no name of a machine"),
        ("ssh://-l@pi", "user '-l' found"),
        ("ssh://me@-pi", "host '-pi' found"),
        ("ssh://a b", "host 'a b' found"),
        ("ssh://pi\n", "host 'pi\\n' found"),
        ("ssh://m\te@pi", "user 'm\\te' found"),
        ("ssh://pi;reboot", "is no name of a machine"),
        ("ssh://$(reboot)", "is no name of a machine"),
        ("ssh://[pi]", "is no name of a machine"),
        ("ssh://[::1]x", "found behind the address"),
        ("ssh://::1", "host '' found"),
        ("ssh://a@b@pi", "user 'a@b' found"),
    ],
)
def test_what_is_no_machine_is_refused(text, why):
    with pytest.raises(UsageError) as refused:
        parse_target(text)
    assert why in str(refused.value)


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="a password found") as refused:
        parse_target("ssh://me:se/cret@pi")
    assert "cret" not in str(refused.value)


def test_every_scheme_leads_somewhere():
    assert all(callable(resolve(place)) for place in SCHEMES.values())
