"""porttunnel/session/direct_address.py: a master can't send its clients just anywhere."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.session.direct_address import (
    MAX_ADDRESSES_PER_HOUR,
    AddressBudget,
    choose_offer,
    may_connect,
)
from porttunnel.session.record import MAX_DIRECT_ADDRESSES, DirectAddress

HOUR = 3_600.0


class TestMayConnect:
    @pytest.mark.parametrize(
        "host",
        [
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.254",
            "192.168.0.1",
            "192.168.255.255",
            "169.254.0.1",
            "169.254.255.254",
            "fc00::1",
            "fd12:3456:789a::1",
            "FD00::1",
            "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ],
    )
    def test_addresses_of_local_networks(self, host: str) -> None:
        assert may_connect(host, 4663)

    @pytest.mark.parametrize(
        "host",
        [
            # their neighbours
            "9.255.255.255",
            "11.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "fbff::1",
            "fe00::1",
            # this machine
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            "0.0.0.0",
            "0.0.0.1",
            "::",
            # many machines
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "ff02::1",
            "ff05::1",
            # anybody's
            "8.8.8.8",
            "2606:4700::1",
            # what ipaddress calls private
            "100.64.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "240.0.0.1",
            "2001:db8::1",
            # link-local
            "fe80::1",
            "fe80::1%eth0",
            # with a zone
            "fd00::1%1",
            "fd00::1%",
            "10.0.0.1%1",
            # IPv4 in IPv6's clothes
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:a00:1",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:a00:1::1",
            # no addresses
            "",
            "localhost",
            "nas.local",
            "10.0.0",
            "10.1",
            "010.0.0.1",
            "0x0a000001",
            "167772161",
            " 10.0.0.1",
            "10.0.0.1\n",
            "10.0.0.1:80",
            "10.0.0.1/8",
            "[fd00::1]",
            "fd00::1\0",
            "１０.0.0.1",
        ],
    )
    def test_nothing_else(self, host: str) -> None:
        assert not may_connect(host, 4663)

    @pytest.mark.parametrize("port", [1_024, 4_663, 65_535])
    def test_ports_of_ordinary_programs(self, port: int) -> None:
        assert may_connect("10.0.0.1", port)

    @pytest.mark.parametrize("port", [-1, 0, 22, 80, 443, 1_023, 65_536])
    def test_no_other_ports(self, port: int) -> None:
        assert not may_connect("10.0.0.1", port)

    @given(st.ip_addresses())
    def test_what_may_be_is_never_loopback_multicast_unspecified_or_global(
        self, address: IPv4Address | IPv6Address
    ) -> None:
        wrong = (
            address.is_loopback
            or address.is_multicast
            or address.is_unspecified
            or address.is_global
        )
        assert not (wrong and may_connect(str(address), 4663))


class TestOffer:
    def test_the_likeliest_come_first_and_their_like_keep_their_order(self) -> None:
        hosts = [
            "127.0.0.1",
            "169.254.7.7",
            "fd00::7",
            "192.168.1.7",
            "203.0.113.7",
            "fe80::7",
            "10.0.0.7",
            "fd00::6",
            "172.17.0.1",
        ]
        assert choose_offer(hosts, 5_000) == [
            DirectAddress(host=host, port=5_000)
            for host in (
                "192.168.1.7",
                "10.0.0.7",
                "172.17.0.1",
                "fd00::7",
                "fd00::6",
                "169.254.7.7",
            )
        ]

    def test_each_once_and_no_more_than_a_client_reads(self) -> None:
        hosts = ["fd00::1", "10.0.0.1", "10.0.0.1", *(f"10.0.1.{n}" for n in range(20))]
        offered = [address.host for address in choose_offer(hosts, 4_663)]
        assert offered == ["10.0.0.1", *(f"10.0.1.{n}" for n in range(7))]
        assert len(offered) == MAX_DIRECT_ADDRESSES

    def test_a_listener_on_a_port_with_rights_is_not_offered(self) -> None:
        assert choose_offer(["10.0.0.1"], 443) == []


def at(*last_bytes: int, port: int = 4_663) -> list[DirectAddress]:
    return [DirectAddress(host=f"10.0.0.{byte}", port=port) for byte in last_bytes]


class TestBudget:
    def test_takes_what_may_be_tried_in_the_offers_order(self) -> None:
        good = at(2, 1)
        bad = [
            DirectAddress(host="127.0.0.1", port=4_663),
            DirectAddress(host="10.0.0.3", port=80),
        ]
        assert AddressBudget().take([good[0], *bad, good[1]], 0.0) == good

    def test_an_address_that_stands_twice_is_tried_once(self) -> None:
        assert AddressBudget().take(at(1, 2, 1), 0.0) == at(1, 2)

    def test_of_an_offer_only_the_first_eight_are_looked_at(self) -> None:
        budget = AddressBudget()
        assert budget.take(at(*range(9)), 0.0) == at(*range(8))
        forbidden = [DirectAddress(host="127.0.0.1", port=4_663 + n) for n in range(8)]
        assert budget.take([*forbidden, *at(9)], 0.0) == []

    def test_sixteen_new_ones_an_hour(self) -> None:
        budget = AddressBudget()
        assert budget.take(at(*range(8)), 0.0) == at(*range(8))
        assert budget.take(at(*range(8, 16)), 1.0) == at(*range(8, 16))
        assert budget.take(at(16), 2.0) == []
        assert budget.take(at(16), HOUR - 0.5) == []
        assert budget.take(at(*range(16, 24)), HOUR) == at(*range(16, 24))
        assert budget.take(at(24), HOUR) == []

    def test_a_known_one_costs_nothing_again(self) -> None:
        budget = AddressBudget()
        budget.take(at(*range(8)), 0.0)
        budget.take(at(*range(8, 16)), 0.0)
        for now in (0.0, 1.0, HOUR - 1):
            assert budget.take(at(3, 99, 12), now) == at(3, 12)

    def test_trying_again_begins_the_hour_anew(self) -> None:
        budget = AddressBudget()
        for now in (0.0, HOUR - 1):
            budget.take(at(*range(8)), now)
            budget.take(at(*range(8, 16)), now)
        assert budget.take(at(16), HOUR + 1) == []
        assert budget.take(at(16), 2 * HOUR - 1) == at(16)

    def test_another_port_is_another_address(self) -> None:
        budget = AddressBudget()
        for first in (2_000, 3_000):
            offer = [DirectAddress(host="10.0.0.1", port=first + n) for n in range(8)]
            assert budget.take(offer, 0.0) == offer
        assert budget.take(at(1, port=4_000), 0.0) == []

    @given(
        st.lists(
            st.tuples(
                st.floats(0, HOUR / 2), st.lists(st.integers(0, 40), max_size=MAX_DIRECT_ADDRESSES)
            ),
            max_size=20,
        )
    )
    def test_no_hour_sees_more_than_sixteen(self, offers: list[tuple[float, list[int]]]) -> None:
        budget, now, tried = AddressBudget(), 0.0, []
        for pause, last_bytes in offers:
            now += pause
            tried += [(now, address) for address in budget.take(at(*last_bytes), now)]
            recent = {address for time, address in tried if now - time < HOUR}
            assert len(recent) <= MAX_ADDRESSES_PER_HOUR
