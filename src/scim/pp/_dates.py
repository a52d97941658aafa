"""Names of genes that a spreadsheet has made dates."""

from __future__ import annotations

import re
from datetime import date, timedelta

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_MONTH = re.compile(rf"X?0?(?P<day>\d{{1,2}})[-./ ]?(?P<month>{'|'.join(_MONTHS)})[a-z]*(?:[-./ ]\d{{2,4}})?", re.I)
_MONTH_DAY = re.compile(rf"(?P<month>{'|'.join(_MONTHS)})[a-z]*[-./ ]0?(?P<day>\d{{1,2}})", re.I)
_ISO_DATE = re.compile(r"X?(?:19|20)\d\d[-.](?P<month>\d\d)[-.](?P<day>\d\d)(?:[ T.]00[:.]00[:.]00)?")
_SERIAL = re.compile(r"X?(\d{5})(?:\.0)?")  # of a date: the days since 1899-12-30
_FIRST_SERIAL, _LAST_SERIAL = 36526, 54788  # 2000 to 2049


def month_and_day(name: str) -> tuple[int, int] | None:
    """Return the month and the day of a date that may have been the name of a gene."""
    if not (name[:1].isdigit() or name[:1] == "X" or name[:3].lower() in _MONTHS):  # most names
        return None
    if serial := _SERIAL.fullmatch(name):
        days = int(serial[1])
        day = date(1899, 12, 30) + timedelta(days)
        found = (day.month, day.day) if _FIRST_SERIAL <= days <= _LAST_SERIAL else None
    elif iso := _ISO_DATE.fullmatch(name):
        found = int(iso["month"]), int(iso["day"])
    elif text := _DAY_MONTH.fullmatch(name) or _MONTH_DAY.fullmatch(name):
        found = _MONTHS.index(text["month"].lower()) + 1, int(text["day"])
    else:
        found = None
    return found


def is_serial(name: str) -> bool:
    """Return whether a name may be the number of a date."""
    return _SERIAL.fullmatch(name) is not None
