"""What goes from one stage of training into the next: carry and freeze by role, compose, average, controls on weights."""

from uprior.transfer.averaging import average
from uprior.transfer.carrying import carry, compose
from uprior.transfer.controls import same_statistics, shuffled_weights
from uprior.transfer.freezing import freeze
from uprior.transfer.roles import ROLES, members
from uprior.transfer.table import Table

__all__ = [
    "ROLES",
    "Table",
    "average",
    "carry",
    "compose",
    "freeze",
    "members",
    "same_statistics",
    "shuffled_weights",
]
