"""The location table: a model in a few lines against the real one, and the rules of RFC 3261 §10.3 one by
one.
"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.signalling.errors import StaleRegisterError, TooManyBindingsError
from soip.signalling.flows import FlowKey
from soip.signalling.location import Binding, Location

UDP = FlowKey("udp", "10.0.0.1", 5060)
TCP = FlowKey("tcp", "10.0.0.2", 40000, 7)


def binding(
    aor: str = "cam1",
    contact: str = "sip:cam1@10.0.0.1",
    *,
    expires: float = 60,
    cseq: int = 1,
    call_id: str = "a",
    flow: FlowKey = UDP,
    instance: str = "",
) -> Binding:
    return Binding(aor, aor, contact, flow, flow, call_id, cseq, expires, instance=instance)


def test_a_binding_is_found_until_it_runs_out() -> None:
    table = Location()
    table.register([binding(expires=60)], 0)
    assert [b.contact for b in table.bindings("cam1", 59.9)] == ["sip:cam1@10.0.0.1"]
    assert table.bindings("cam1", 60) == ()
    assert table.next_expiry() == 60
    assert [b.aor for b in table.expire(60)] == ["cam1"]
    assert len(table) == 0
    assert table.next_expiry() is None


def test_the_latest_refreshed_comes_first() -> None:
    table = Location()
    table.register([binding(contact="sip:a@h")], 0)
    table.register([binding(contact="sip:b@h")], 1)
    table.register([binding(contact="sip:a@h", cseq=2)], 2)
    assert [b.contact for b in table.bindings("cam1", 3)] == ["sip:a@h", "sip:b@h"]


def test_a_refresh_moves_the_deadline_both_ways() -> None:
    table = Location()
    table.register([binding(expires=100)], 0)
    table.register([binding(expires=20, cseq=2)], 0)
    assert [b.aor for b in table.expire(20)] == ["cam1"]
    table.register([binding(expires=50, cseq=3)], 20)
    table.register([binding(expires=150, cseq=4)], 20)
    assert table.expire(120) == []
    assert len(table.expire(150)) == 1


def test_an_older_register_of_the_same_call_changes_nothing() -> None:
    table = Location()
    table.register([binding(cseq=5)], 0)
    with pytest.raises(StaleRegisterError):
        table.register([binding(contact="sip:new@h", cseq=4), binding(cseq=4)], 1)
    assert [b.contact for b in table.bindings("cam1", 1)] == ["sip:cam1@10.0.0.1"]
    with pytest.raises(StaleRegisterError):
        table.clear("cam1", "a", 4, 1)
    table.register([binding(cseq=1, call_id="after-a-reboot")], 1)
    assert table.bindings("cam1", 1)[0].call_id == "after-a-reboot"


def test_an_instance_replaces_its_old_contact() -> None:
    table = Location()
    table.register([binding(contact="sip:x@10.0.0.1:5060", instance="<urn:uuid:1>")], 0)
    table.register([binding(contact="sip:x@10.0.0.1:9999", instance="<urn:uuid:1>", cseq=2)], 0)
    assert [b.contact for b in table.bindings("cam1", 0)] == ["sip:x@10.0.0.1:9999"]


def test_a_full_address_loses_its_oldest_contact() -> None:
    table = Location(per_address=2)
    for n in range(4):
        table.register([binding(contact=f"sip:{n}@h", call_id=f"boot{n}")], n)
    assert [b.contact for b in table.bindings("cam1", 5)] == ["sip:3@h", "sip:2@h"]
    assert len(table) == 2
    with pytest.raises(TooManyBindingsError):
        table.register([binding(contact=f"sip:{n}@h", call_id="many") for n in range(3)], 5)


def test_a_full_table_takes_no_more_and_stays_as_it_was() -> None:
    table = Location(limit=2)
    for each in [binding("cam1"), binding("cam2")]:
        table.register([each], 0)
    with pytest.raises(TooManyBindingsError):
        table.register([binding("cam3")], 0)
    table.register([binding("cam1", cseq=2)], 0)
    assert len(table) == 2


def test_one_contact_is_one_binding_whatever_names_it() -> None:
    table = Location()
    table.register([binding(call_id="a")], 0)
    table.register([binding(call_id="b", instance="<urn:uuid:1>")], 0)
    assert [b.instance for b in table.bindings("cam1", 0)] == ["<urn:uuid:1>"]
    changes = table.take_changes()
    assert [b.call_id for b in changes.stored] == ["b"]
    assert changes.gone == ()


def test_a_replaced_contact_of_an_instance_is_gone_from_the_directory() -> None:
    table = Location()
    table.register([binding(contact="sip:1@h", instance="<i>")], 0)
    table.register([binding(contact="sip:2@h", instance="<i>", cseq=2)], 0)
    changes = table.take_changes()
    assert [b.contact for b in changes.stored] == ["sip:2@h"]
    assert [b.contact for b in changes.gone] == ["sip:1@h"]


def test_a_closed_connection_takes_its_bindings_with_it() -> None:
    table = Location()
    for each in [binding("w-0", flow=TCP), binding("w-1", flow=TCP), binding("cam1")]:
        table.register([each], 0)
    assert [b.aor for b in table.on_flow(TCP, "w-1", 0)] == ["w-1"]
    assert {b.aor for b in table.drop_flow(TCP)} == {"w-0", "w-1"}
    assert table.on_flow(TCP, "w-1", 0) == ()
    assert table.bindings("cam1", 0)


def test_a_device_that_moves_leaves_its_old_flow() -> None:
    table = Location()
    other = FlowKey("udp", "10.0.0.9", 5060)
    table.register([binding()], 0)
    table.register([binding(flow=other, cseq=2)], 0)
    assert table.on_flow(UDP, "cam1", 0) == ()
    assert [b.aor for b in table.on_flow(other, "cam1", 0)] == ["cam1"]


def test_who_is_reached_elsewhere_than_it_sends_from_is_known_by_both() -> None:
    table = Location()
    there = FlowKey("udp", UDP.host, 7070)
    assert not table.leads_to(UDP, there)
    table.register([replace(binding(contact=f"sip:{n}@h"), target=there) for n in range(2)], 0)
    table.unregister("cam1", [("sip:0@h", 0)], "a", 2, 0)
    assert table.leads_to(UDP, there)
    table.clear("cam1", "a", 3, 0)
    assert not table.leads_to(UDP, there)


def test_an_answer_costs_the_same_however_many_share_a_flow() -> None:
    table = Location()
    for each in [binding(f"cam{n}") for n in range(2000)]:
        table.register([each], 0)
    began = time.process_time()
    for n in range(2000):
        assert [b.aor for b in table.on_flow(UDP, f"cam{n}", 1)] == [f"cam{n}"]
        assert not table.leads_to(UDP, TCP)
    assert time.process_time() - began < 1, "2000 looks at 2000 bindings would take many seconds"


def test_unregister_by_key_and_all() -> None:
    table = Location()
    table.register([binding(contact="sip:1@h"), binding(contact="sip:2@h")], 0)
    table.unregister("cam1", [("sip:1@h", 0), ("sip:unknown@h", 0)], "a", 2, 0)
    assert [b.contact for b in table.bindings("cam1", 0)] == ["sip:2@h"]
    table.clear("cam1", "b", 1, 0)
    assert table.bindings("cam1", 0) == ()


def test_bindings_without_a_right_are_forgotten() -> None:
    table = Location()
    for each in [binding("cam1"), binding("cam2")]:
        table.register([each], 0)
    assert [b.aor for b in table.forget(lambda b: b.account == "cam1")] == ["cam1"]
    assert [b.aor for b in table.all(0)] == ["cam2"]
    assert [b.aor for b in table.take_changes().gone] == ["cam1"]


def test_changes_hold_each_binding_once_in_its_last_state() -> None:
    table = Location()
    for each in [binding(cseq=1), binding("cam2")]:
        table.register([each], 0)
    table.register([binding(cseq=2)], 0)
    table.clear("cam2", "b", 1, 0)
    changes = table.take_changes()
    assert [(b.aor, b.cseq) for b in changes.stored] == [("cam1", 2)]
    assert [b.aor for b in changes.gone] == ["cam2"]
    assert not table.take_changes()
    table.clear("cam1", "b", 1, 0)
    table.register([binding(cseq=3)], 0)
    changes = table.take_changes()
    assert [b.cseq for b in changes.stored] == [3]
    assert changes.gone == ()


def test_what_is_restored_is_not_written_again() -> None:
    table = Location(limit=2)
    table.restore([binding("a"), binding("b"), binding("c")])
    assert len(table) == 2
    assert not table.take_changes()
    assert len(list(table.all(0))) == 2


def test_registering_and_leaving_all_day_does_not_grow_the_table() -> None:
    table = Location()
    for n in range(20_000):
        table.register([binding(expires=n + 3600, cseq=n)], n / 10)
        table.clear("cam1", "b", n, n / 10)
    assert len(table._deadlines) <= 1100


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["register", "clear", "expire", "drop"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["sip:1@h", "sip:2@h"]),
        st.integers(1, 30),
        st.integers(0, 10),
    ),
    max_size=40,
)


@given(STEPS)
def test_the_table_agrees_with_a_plain_model(steps: list[tuple[str, str, str, int, int]]) -> None:
    table, model, now = Location(), dict[tuple[str, str], tuple[int, FlowKey]](), 0
    for cseq, (what, aor, contact, life, pause) in enumerate(steps):
        now += pause
        flow = FlowKey("tcp", "10.0.0.1", 1, life % 3 + 1)
        if what == "register":
            table.register([binding(aor, contact, expires=now + life, cseq=cseq, flow=flow)], now)
            model[aor, contact] = (now + life, flow)
        elif what == "clear":
            table.clear(aor, "a", cseq, now)
            model = {place: held for place, held in model.items() if place[0] != aor}
        elif what == "expire":
            table.expire(now)
        else:
            table.drop_flow(flow)
            model = {place: held for place, held in model.items() if held[1] != flow}
        model = {place: held for place, held in model.items() if held[0] > now}
        assert {(b.aor, b.contact): (b.expires_at, b.flow) for b in table.all(now)} == model
        for place, held in model.items():
            assert place[0] in {b.aor for b in table.on_flow(held[1], place[0], now)}
    table.expire(now)
    assert len(table) == len(model)
