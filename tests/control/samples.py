"""Bodies as devices write them."""

from __future__ import annotations

KEEPALIVE = (
    b'<?xml version="1.0" encoding="GB2312"?>\r\n<Notify>\r\n<CmdType>Keepalive</CmdType>\r\n<SN>43</SN>\r\n'
    b"<DeviceID>34020000001320000001</DeviceID>\r\n<Status>OK</Status>\r\n<Info>\r\n"
    b"<DeviceID>34020000001340000001</DeviceID>\r\n<DeviceID>34020000001340000002</DeviceID>\r\n</Info>\r\n</Notify>\r\n"
)

ALARM_TEXT = (
    '<?xml version="1.0" encoding="{encoding}"?>\r\n<Notify>\r\n<CmdType>Alarm</CmdType>\r\n<SN>7</SN>\r\n'
    "<DeviceID>34020000001340000001</DeviceID>\r\n<AlarmPriority>2</AlarmPriority>\r\n<AlarmMethod>5</AlarmMethod>\r\n"
    "<AlarmTime>2026-11-20T10:00:01</AlarmTime>\r\n<AlarmDescription>移动侦测</AlarmDescription>\r\n"
    "<Longitude>126.978</Longitude>\r\n<Latitude>37.5665</Latitude>\r\n<Info>\r\n<AlarmType>6</AlarmType>\r\n"
    "<AlarmTypeParam><EventType>1</EventType></AlarmTypeParam>\r\n</Info>\r\n</Notify>\r\n"
)

ALARM = ALARM_TEXT.format(encoding="GB2312").encode("gb2312")

RESPONSE = (
    b'<?xml version="1.0"?>\n<Response>\n<CmdType>Alarm</CmdType>\n<SN>7</SN>\n'
    b"<DeviceID>34020000001340000001</DeviceID>\n<Result>OK</Result>\n</Response>"
)

SAMPLES = (KEEPALIVE, ALARM, RESPONSE)
