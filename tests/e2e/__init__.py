"""The whole product as people meet it: `soip demo`, a real browser, real cameras.

Every picture of a software camera carries a stamp (`agents.blockcode`): which camera, when it was sent. The tests read
it back from what the browser shows, so a picture of the wrong time or camera cannot pass.
"""
