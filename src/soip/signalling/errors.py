"""What can go wrong in this room.

SignallingError
├── StaleRegisterError          an older REGISTER of the same call came after a newer one (RFC 3261 §10.3 step 7)
├── TooManyBindingsError        the whole table, or one REGISTER, has as many contacts as it may have
└── TooManySubscriptionsError   the table, or one account, has as many subscriptions as it may have
"""


class SignallingError(Exception):
    """Base of every error this room raises."""


class StaleRegisterError(SignallingError):
    """The REGISTER is not newer than the binding it would change; nothing was changed."""


class TooManyBindingsError(SignallingError):
    """The table's bound would be exceeded; nothing was changed."""


class TooManySubscriptionsError(SignallingError):
    """A bound of the table of subscriptions would be exceeded; nothing was changed."""
