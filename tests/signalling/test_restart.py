"""What outlives a restart: UDP bindings and dialogs do, TCP bindings are their connection and do not."""

from __future__ import annotations

import asyncio

from soip.config import HostPort
from soip.directory.directory import Directory
from soip.directory.rows import BindingRow
from soip.signalling.role import run
from soip.sip import headers as h
from soip.sip.uri import Uri
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, eventually

CAM1 = f"sip:cam1@{DOMAIN}"


async def test_cameras_are_online_again_without_a_new_register(house: ServerHouse) -> None:
    camera, by_tcp = await house.peer("cam1"), await house.peer("cam2", transport="tcp")
    await camera.register()
    await by_tcp.register()

    async def written() -> bool:
        return len(await house.directory.calls.bindings()) == 2

    await eventually(written)
    rows = {row.aor: row for row in await house.directory.calls.bindings()}
    assert rows["cam1"].contact == camera.contact
    assert rows["cam1"].account_id == "cam1"
    assert 3590e6 < rows["cam1"].expires_us - rows["cam1"].registered_us <= 3600e6
    await house.stop()
    await house.start()
    worker = await house.worker()
    await worker.call(CAM1)
    assert str((await camera.arrives("INVITE")).uri) == camera.contact
    assert (await worker.ask(worker.invite(f"sip:cam2@{DOMAIN}"))).status == 480
    assert (await camera.ask(camera.request("OPTIONS", f"sip:{DOMAIN}"), challenged=False)).status == 200

    async def void() -> bool:
        return {row.aor for row in await house.directory.calls.bindings()} == {"cam1", worker.id}

    await eventually(void)


async def test_a_dialog_goes_on_over_the_next_process(house: ServerHouse) -> None:
    worker, camera = await house.worker(), await house.peer("cam1")
    await camera.register()
    await worker.call(CAM1)
    arrived = await camera.arrives("INVITE")
    answer = camera.reply(arrived, 200)
    await house.stop()
    await house.start()
    worker = await house.worker()
    hangup = camera.back("BYE", arrived, answer)
    camera.send(hangup)
    worker.reply(await worker.arrives("BYE"), 200)
    assert (await camera.response(hangup)).status == 200


async def test_what_is_wrong_or_old_in_the_directory_is_not_restored(house: ServerHouse) -> None:
    await house.stop()
    far = 2**53
    rows = [
        BindingRow("cam1", "sip:a@h", "cam1", "nonsense", "c", 1, 0, far),
        BindingRow("cam1", "sip:b@h", "cam1", "udp:127.0.0.1:5 udp:127.0.0.1:5", "c", 1, 0, 1),
        BindingRow("cam1", "sip:c@h", "ann", "udp:127.0.0.1:5 udp:127.0.0.1:5", "c", 1, 0, far),
        BindingRow("gone", "sip:d@h", "gone", "udp:127.0.0.1:5 udp:127.0.0.1:5", "c", 1, 0, far),
        BindingRow("cam1", "sip:e@h", "cam1", "tcp:127.0.0.1:5#1 tcp:127.0.0.1:5#1", "c", 1, 0, far),
    ]
    await house.directory.save(*rows)
    await house.start()
    worker = await house.worker()
    assert (await worker.ask(worker.invite(CAM1))).status == 480

    async def cleaned() -> bool:
        return {row.aor for row in await house.directory.calls.bindings()} == {worker.id}

    await eventually(cleaned)


async def test_leaving_is_written_too(house: ServerHouse) -> None:
    camera = await house.peer("cam1")
    await camera.register()

    async def bound() -> bool:
        return len(await house.directory.calls.bindings()) == 1

    async def free() -> bool:
        return await house.directory.calls.bindings() == []

    await eventually(bound)
    await camera.register(expires=0)
    await eventually(free)


async def test_what_was_not_written_yet_is_written_at_the_end(house: ServerHouse) -> None:
    camera = await house.peer("cam1")
    await camera.register()
    await house.stop()
    async with await Directory.open(house.settings.database_url) as directory:
        assert [row.aor for row in await directory.calls.bindings()] == ["cam1"]


async def test_the_entry_point_serves_until_it_is_cancelled(house: ServerHouse) -> None:
    await house.stop()
    task = asyncio.ensure_future(run(house.settings))
    camera = await house.peer("cam1")

    async def serves() -> bool:
        camera.send(camera.request("OPTIONS", f"sip:{DOMAIN}"))
        await asyncio.sleep(0.05)
        return not camera.inbox.empty()

    await eventually(serves)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_without_the_directory_who_is_known_is_served(house: ServerHouse) -> None:
    camera, stranger = await house.peer("cam1"), await house.peer("unheard", "x")
    file = house.settings.data / "soip.db"
    await asyncio.to_thread(file.rename, file.with_suffix(".away"))
    assert (await camera.register()).status == 200
    asked = stranger.request("OPTIONS", f"sip:{DOMAIN}")
    away = await stranger.ask(asked)
    assert away.status == 503
    assert away.headers.get("Retry-After") == "5"
    await asyncio.sleep(1.2)  # the version and the bindings are tried meanwhile, and kept
    await asyncio.to_thread(file.with_suffix(".away").rename, file)

    async def written() -> bool:
        return [row.aor for row in await house.directory.calls.bindings()] == ["cam1"]

    await eventually(written)


async def test_it_listens_on_all_addresses_and_names_the_one_that_is_used(house: ServerHouse) -> None:
    await house.stop()
    house.settings = house.settings.model_copy(update={"sip": HostPort("0.0.0.0", house.address[1])})
    await house.start()
    house.address = ("127.0.0.1", house.address[1])
    worker, camera = await house.worker(), await house.peer("cam1")
    await camera.register()
    sent = await worker.call(CAM1)
    arrived = await camera.arrives("INVITE")
    assert {route.uri.host for route in h.record_routes(arrived.headers)} == {"127.0.0.1"}
    answer = camera.reply(arrived, 200)
    assert (await worker.response(sent)).status == 200
    hangup = camera.back("BYE", arrived, answer)
    camera.send(hangup)
    worker.reply(await worker.arrives("BYE"), 200)
    assert (await camera.response(hangup)).status == 200
    looped = arrived.copy()
    looped.uri = Uri.parse(CAM1)
    looped.headers.prepend("Via", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK-elsewhere;rport")
    assert (await worker.ask(looped, challenged=False)).status == 482
