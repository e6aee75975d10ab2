"""What bulk calls take and answer, for the checks of form and for the document; with examples."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from outbox.bulk.models import JobStatus, Mode
from outbox.bulk.reading import Overrides


class UploadSerializer(serializers.Serializer[Any]):
    file = serializers.FileField(allow_empty_file=True, help_text="CSV or XLSX, with a header row.")
    mode = serializers.ChoiceField(
        choices=Mode.choices, default=Mode.VALID_ROWS, help_text="Whether a wrong row keeps the others back."
    )
    encoding = serializers.CharField(
        required=False, allow_blank=True, default="", help_text="`utf-8`, `utf-16`, `windows-1256` or `latin-1`."
    )
    separator = serializers.CharField(
        required=False,
        allow_blank=True,
        trim_whitespace=False,  # it may be a tab
        default="",
        help_text="`comma`, `semicolon` or `tab`.",
    )
    sheet = serializers.CharField(required=False, allow_blank=True, default="", help_text="Of a workbook.")

    @property
    def overrides(self) -> Overrides:
        given = self.validated_data
        return Overrides(encoding=given["encoding"], separator=given["separator"], sheet=given["sheet"])


class BulkSendSerializer(UploadSerializer):
    force = serializers.BooleanField(default=False, help_text="Send it although the same file was sent lately.")


class RowErrorSerializer(serializers.Serializer[Any]):
    row = serializers.IntegerField(help_text="As a spreadsheet counts; the header is row 1.")
    column = serializers.CharField(help_text="mobile, message, sender or datetime; empty when it is the whole row.")
    mobile = serializers.CharField(help_text="As it is in the file.")
    reason = serializers.CharField()
    message = serializers.CharField(help_text="Why it was not sent.")


class CountsSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField(help_text="Rows: sent + failed + unknown + pending.")
    sent = serializers.IntegerField()
    failed = serializers.IntegerField(help_text="Wrong rows, refused ones, and those that were cancelled.")
    unknown = serializers.IntegerField(help_text="They may have been sent, and are never sent again by themselves.")
    pending = serializers.IntegerField(help_text="Waiting, or being sent.")


class BulkResultSerializer(CountsSerializer):
    # Its name on the wire is that of a property of serializers.
    errors = RowErrorSerializer(many=True, help_text="The first 1,000; errors.csv has all.")  # type: ignore[assignment]
    warnings = serializers.ListField(child=serializers.CharField())
    elapsed_ms = serializers.IntegerField()
    job_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=JobStatus.choices)
    reason = serializers.CharField(help_text="Why it paused, stopped or failed; empty otherwise.")
    message = serializers.CharField(help_text="The same in words.")
    duplicate_of = serializers.UUIDField(required=False, help_text="The earlier job of the same file, shown here.")


class ProgressSerializer(CountsSerializer):
    job_id = serializers.UUIDField(allow_null=True)
    status = serializers.ChoiceField(choices=JobStatus.choices, allow_null=True)
    rate_per_second = serializers.FloatField(allow_null=True, help_text="Since it was last started or resumed.")
    eta_seconds = serializers.IntegerField(allow_null=True)


class BulkJobSerializer(ProgressSerializer):
    id = serializers.UUIDField()
    slug = serializers.CharField()
    filename = serializers.CharField()
    mode = serializers.ChoiceField(choices=Mode.choices)
    is_test = serializers.BooleanField()
    reason = serializers.CharField()
    message = serializers.CharField()
    created = serializers.DateTimeField()
    finished = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True, help_text="What is pending then is not sent any more.")


class ReportSerializer(serializers.Serializer[Any]):
    """What the check of the whole file has found. Samples are the first 100."""

    warnings = serializers.ListField(child=serializers.CharField())
    detected = serializers.DictField(help_text="format, encoding, separator, sheet, columns.")
    repairs = serializers.DictField(help_text="rows, kinds, and samples: row, was, is, repairs.")
    duplicates = serializers.DictField(help_text="in_file and last_24_hours: rows, and samples.")
    sms_parts = serializers.IntegerField(help_text="Of all valid rows.")
    encodings = serializers.DictField(help_text="Rows and parts by encoding.")
    ucs2_characters = serializers.ListField(
        child=serializers.DictField(), help_text="The first character of a message that forces UCS-2: rows, first row."
    )
    credit_cost = serializers.FloatField(
        required=False,
        allow_null=True,
        help_text="Of all valid rows at the rates of the day; null when they cost no credits.",
    )
    scheduled = serializers.IntegerField(help_text="Rows with a time ahead.")
    max_per_second = serializers.IntegerField(allow_null=True, help_text="The app's rate.")
    estimated_seconds = serializers.IntegerField(allow_null=True, help_text="At that rate; null for an app without.")


class FullBulkJobSerializer(BulkJobSerializer):
    invalid = serializers.IntegerField(help_text="Of the failed: rows that were wrong, and never queued.")
    errors = RowErrorSerializer(many=True)  # type: ignore[assignment]
    report = ReportSerializer(help_text="Empty until the whole file was read.")


class CheckErrorSerializer(RowErrorSerializer):
    value = serializers.CharField(help_text="What is wrong, as it is in the file.")


class BulkCheckSerializer(ReportSerializer):
    total = serializers.IntegerField()
    valid = serializers.IntegerField()
    invalid = serializers.IntegerField()
    would_send = serializers.IntegerField(help_text="Rows that bulk-send would send in this mode.")
    errors = CheckErrorSerializer(many=True)  # type: ignore[assignment]


ERROR_EXAMPLE = {
    "row": 3,
    "column": "mobile",
    "mobile": "05012",
    "reason": "invalid_recipient",
    "message": "The number is too short.",
}
_JOB_ID = "0b6f1c52-5f0e-4f5b-9b0e-0d0a3a7e7c11"
_COUNTS = {"total": 100, "sent": 98, "failed": 2, "unknown": 0, "pending": 0}
_DETECTED = "Read as CSV, utf-8, separated by commas; the fields 'encoding' and 'separator' set something else."
RESULT_EXAMPLE = {
    **_COUNTS,
    "errors": [ERROR_EXAMPLE],
    "warnings": [_DETECTED],
    "elapsed_ms": 1234,
    "job_id": _JOB_ID,
    "status": "partly_failed",
    "reason": "",
    "message": "",
}
RUNNING_EXAMPLE = {"total": 100, "sent": 40, "failed": 2, "unknown": 0, "pending": 58}
PROGRESS_EXAMPLE = {**RUNNING_EXAMPLE, "job_id": _JOB_ID, "status": "running", "rate_per_second": 9.8, "eta_seconds": 6}
JOB_EXAMPLE = {
    "id": _JOB_ID,
    "slug": "taqnyat-sms",
    "filename": "customers.csv",
    "mode": "valid_rows",
    "is_test": False,
    "reason": "",
    "message": "",
    "created": "2026-11-26T09:00:00Z",
    "finished": None,
    "expires_at": "2026-11-29T09:00:10Z",
    **PROGRESS_EXAMPLE,
}
REPORT_EXAMPLE = {
    "warnings": [_DETECTED],
    "detected": {
        "format": "csv",
        "encoding": "utf-8",
        "separator": "comma",
        "sheet": "",
        "columns": ["mobile", "message"],
    },
    "repairs": {
        "rows": 1,
        "kinds": {"lost_zero": 1},
        "samples": [{"row": 2, "was": "501234567", "is": "+966501234567", "repairs": ["lost_zero"]}],
    },
    "duplicates": {"in_file": {"rows": 0, "samples": []}, "last_24_hours": {"rows": 0, "samples": []}},
    "sms_parts": 98,
    "encodings": {"GSM-7": {"rows": 98, "sms_parts": 98}},
    "ucs2_characters": [],
    "credit_cost": None,
    "scheduled": 0,
    "max_per_second": 10,
    "estimated_seconds": 10,
}
