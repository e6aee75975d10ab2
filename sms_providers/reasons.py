"""Why an SMS was not sent, or nobody knows: one stable word each, for programs, explained in English and in Arabic.

Adapters, transport and outbox name a reason; API, console and `docs/errors.md` show what this table says about it: the
API in both languages, the console in the reader's. The outbox's own are here too, since the SMS log shows them.
Reasons of requests that never became an SMS (`invalid_input`, `not_found`, …) are only on that page.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy


class Side(models.TextChoices):
    """Who can change something."""

    CLIENT = "client", _lazy("Your organization, or its program")
    ACCOUNT = "account", _lazy("The account at the provider")
    PROVIDER = "provider", _lazy("The provider, or the network to it")
    US = "us", _lazy("This server")


class Kind(enum.StrEnum):
    """What a reason says about the message; a heading of `docs/errors.md` each."""

    ACCOUNT = "account"  # refused for the account: the next app is tried
    MESSAGE = "message"  # refused for the message, or for no known fault of the account: final
    NOT_SENT = "not_sent"  # certainly not sent, and safe to try again
    UNKNOWN = "unknown"  # may have been sent
    QUEUE = "queue"  # the outbox ended it, or keeps it waiting


@dataclass(frozen=True)
class Reason:
    """One reason: what happened, whose side it is on, and the next step."""

    kind: Kind
    side: Side
    text: str
    next_step: str
    text_ar: str
    next_step_ar: str

    @property
    def meaning(self) -> str:
        """What happened, in the reader's language."""
        return self.text_ar if _is_read_in_arabic() else self.text

    @property
    def advice(self) -> str:
        """The next step, in the reader's language."""
        return self.next_step_ar if _is_read_in_arabic() else self.next_step


def _is_read_in_arabic() -> bool:
    return (get_language() or "").partition("-")[0] == "ar"


# What follows a certain non-send: the outbox sees to it, and for a direct send nobody does.
_AGAIN = "A queued message is tried again by itself; repeat a direct send later."
_AGAIN_AR = "تُعاد محاولة إرسال الرسالة الموجودة في قائمة الانتظار تلقائيًا، أما الإرسال المباشر فأعِده لاحقًا."

REASONS: dict[str, Reason] = {
    # --- the account ---------------------------------------------------------------------------------------
    "bad_credentials": Reason(
        Kind.ACCOUNT,
        Side.ACCOUNT,
        "The provider does not accept the key, token or password.",
        "Change the app's credentials, then test the connection.",
        "لا يقبل المزوّد المفتاح أو رمز الوصول أو كلمة المرور.",
        "غيّر بيانات اعتماد التطبيق ثم اختبر الاتصال.",
    ),
    "access_denied": Reason(
        Kind.ACCOUNT,
        Side.ACCOUNT,
        "The credentials are known but may not do this, or not from this server's address.",
        "Allow sending by API, or this server's address, at the provider.",
        "بيانات الاعتماد صحيحة، لكنها لا تخوّل هذا الإجراء، أو لا تُقبل من عنوان هذا الخادم.",
        "فعّل لدى المزوّد الإرسال عبر واجهة برمجة التطبيقات، أو اسمح بعنوان هذا الخادم.",
    ),
    "account_not_activated": Reason(
        Kind.ACCOUNT,
        Side.ACCOUNT,
        "The account's e-mail address or mobile number is not confirmed.",
        "Confirm it at the provider.",
        "لم يُؤكَّد البريد الإلكتروني أو رقم الجوال الخاص بالحساب.",
        "أكّده لدى المزوّد.",
    ),
    "account_restricted": Reason(
        Kind.ACCOUNT,
        Side.ACCOUNT,
        "The account may not send this: an address, a country or another limit of the account.",
        "Ask the provider to lift the restriction.",
        "لا يُسمح للحساب بهذا الإرسال بسبب عنوان الخادم أو الدولة أو قيد آخر على الحساب.",
        "اطلب من المزوّد رفع القيد.",
    ),
    "account_suspended": Reason(
        Kind.ACCOUNT,
        Side.ACCOUNT,
        "The account is suspended, barred or closed.",
        "Ask the provider, and look at the account's balance.",
        "الحساب موقوف أو محظور أو مغلق.",
        "تواصل مع المزوّد، وتحقّق من رصيد الحساب.",
    ),
    "insufficient_provider_balance": Reason(
        Kind.ACCOUNT,
        Side.ACCOUNT,
        "The account at the provider has not enough balance.",
        "Top it up at the provider.",
        "رصيد الحساب لدى المزوّد غير كافٍ.",
        "اشحن الرصيد لدى المزوّد.",
    ),
    "package_expired": Reason(
        Kind.ACCOUNT,
        Side.ACCOUNT,
        "The account's package is over, or does not cover this destination.",
        "Renew it, or buy one for the destination, at the provider.",
        "انتهت صلاحية باقة الحساب، أو أنها لا تشمل هذه الوجهة.",
        "جدّد الباقة، أو اشترِ باقة تشمل هذه الوجهة لدى المزوّد.",
    ),
    "sender_blocked": Reason(
        Kind.ACCOUNT,
        Side.ACCOUNT,
        "The sender ID is blocked.",
        "Use another sender ID, or ask the provider.",
        "اسم المرسل محظور.",
        "استخدم اسم مرسل آخر، أو تواصل مع المزوّد.",
    ),
    "sender_missing": Reason(
        Kind.ACCOUNT,
        Side.CLIENT,
        "Neither the message, the app nor its credentials name a sender ID.",
        "Give a sender, or set the app's default sender.",
        "لم يُحدَّد اسم المرسل في الرسالة ولا في التطبيق ولا في بيانات اعتماده.",
        "حدّد اسم المرسل، أو عيّن اسم مرسل افتراضيًا للتطبيق.",
    ),
    "sender_not_accepted": Reason(
        Kind.ACCOUNT,
        Side.ACCOUNT,
        "The sender ID was refused, or is not written as the provider wants it.",
        "Write it exactly as it is registered, or register it at the provider.",
        "رُفض اسم المرسل، أو أنه غير مكتوب بالصيغة التي يطلبها المزوّد.",
        "اكتبه كما هو مسجّل تمامًا، أو سجّله لدى المزوّد.",
    ),
    "sender_not_registered": Reason(
        Kind.ACCOUNT,
        Side.ACCOUNT,
        "This account may not use the sender ID, or not for this country.",
        "Register it at the provider.",
        "لا يحق لهذا الحساب استخدام اسم المرسل هذا، أو لا يحق له ذلك في هذه الدولة.",
        "سجّل اسم المرسل لدى المزوّد.",
    ),
    # --- the message ---------------------------------------------------------------------------------------
    "invalid_recipient": Reason(
        Kind.MESSAGE,
        Side.CLIENT,
        "This is not a number that can receive an SMS.",
        "Correct the number.",
        "هذا ليس رقمًا يمكنه استقبال الرسائل النصية.",
        "صحّح الرقم.",
    ),
    "recipient_missing": Reason(
        Kind.MESSAGE,
        Side.US,
        "The provider found no number in the request.",
        "Report it: a number is always sent.",
        "لم يجد المزوّد رقمًا في الطلب.",
        "أبلغ عن المشكلة، فالرقم يُرسَل دائمًا.",
    ),
    "recipient_blocked": Reason(
        Kind.MESSAGE,
        Side.CLIENT,
        "The recipient, the carrier or a protection against fraud blocks messages to this number.",
        "Do not send to it.",
        "يحظر المستلم أو المشغّل أو نظام الحماية من الاحتيال الرسائل إلى هذا الرقم.",
        "لا ترسل إلى هذا الرقم.",
    ),
    "recipient_not_mobile": Reason(
        Kind.MESSAGE,
        Side.CLIENT,
        "The number is a landline, or a number without SMS.",
        "Use a mobile number.",
        "الرقم لهاتف ثابت، أو لا يدعم الرسائل النصية.",
        "استخدم رقم جوال.",
    ),
    "recipient_not_verified": Reason(
        Kind.MESSAGE,
        Side.ACCOUNT,
        "This is a trial account, and the number is not verified with it.",
        "Verify the number at the provider, or upgrade the account.",
        "الحساب تجريبي، ولم يجرِ التحقق من هذا الرقم فيه.",
        "تحقّق من الرقم لدى المزوّد، أو قم بترقية الحساب.",
    ),
    "recipient_opted_out": Reason(
        Kind.MESSAGE,
        Side.CLIENT,
        "The recipient has asked not to get such messages.",
        "Do not send to it.",
        "طلب المستلم عدم تلقّي مثل هذه الرسائل.",
        "لا ترسل إلى هذا الرقم.",
    ),
    "recipient_unreachable": Reason(
        Kind.MESSAGE,
        Side.CLIENT,
        "The handset or its network cannot be reached from this sender.",
        "Try later, or with another sender.",
        "تعذّر الوصول إلى جهاز المستلم أو شبكته باسم المرسل هذا.",
        "حاول لاحقًا أو باسم مرسل آخر.",
    ),
    "no_route": Reason(
        Kind.MESSAGE,
        Side.ACCOUNT,
        "The provider has no way to this number's country or network for this account.",
        "Ask the provider for a route to it, or name another app.",
        "لا يتوفّر لدى المزوّد لهذا الحساب مسار إلى دولة هذا الرقم أو شبكته.",
        "اطلب من المزوّد مسارًا إليه، أو حدّد تطبيقًا آخر.",
    ),
    "region_not_enabled": Reason(
        Kind.MESSAGE,
        Side.ACCOUNT,
        "The account may not send to this country.",
        "Enable the country at the provider.",
        "لا يُسمح للحساب بالإرسال إلى هذه الدولة.",
        "فعّل الإرسال إلى هذه الدولة لدى المزوّد.",
    ),
    "too_many_recipients": Reason(
        Kind.MESSAGE,
        Side.US,
        "There are more recipients than one call takes.",
        "Report it: one is sent at a time.",
        "عدد المستلمين أكبر مما يقبله الطلب الواحد.",
        "أبلغ عن المشكلة، فالإرسال يتم لمستلم واحد في كل مرة.",
    ),
    "content_refused": Reason(
        Kind.MESSAGE,
        Side.CLIENT,
        "The text has something that is not allowed, or was taken for unwanted mail.",
        "Change the text.",
        "يحتوي النص على ما هو غير مسموح به، أو صُنّف رسالةً مزعجة.",
        "غيّر النص.",
    ),
    "template_not_approved": Reason(
        Kind.MESSAGE,
        Side.ACCOUNT,
        "The text fits no template that the provider has approved.",
        "Use an approved text, or have this one approved at the provider.",
        "لا يطابق النص أي قالب معتمد لدى المزوّد.",
        "استخدم نصًا معتمدًا، أو اطلب من المزوّد اعتماد هذا النص.",
    ),
    "duplicate_message": Reason(
        Kind.MESSAGE,
        Side.CLIENT,
        "The provider took it for a repeat of a message that the number got a short time ago.",
        "Send it only if it still matters: later, or with another text.",
        "عدّ المزوّد هذه الرسالة تكرارًا لرسالة وصلت إلى الرقم قبل وقت قصير.",
        "لا تُعِد إرسالها إلا إذا كانت ما زالت ضرورية، وليكن ذلك لاحقًا أو بنص آخر.",
    ),
    "empty_text": Reason(
        Kind.MESSAGE,
        Side.CLIENT,
        "The provider found no text.",
        "Give a text.",
        "لم يجد المزوّد نصًا.",
        "اكتب نصًا.",
    ),
    "text_too_long": Reason(
        Kind.MESSAGE,
        Side.CLIENT,
        "The text is longer than the provider takes.",
        "Shorten the text.",
        "النص أطول مما يقبله المزوّد.",
        "اختصر النص.",
    ),
    "carrier_error": Reason(
        Kind.MESSAGE,
        Side.PROVIDER,
        "The carrier failed without saying why.",
        "Send it again if it still matters.",
        "أخفق المشغّل دون ذكر السبب.",
        "أعد الإرسال إن كانت الرسالة ما زالت ضرورية.",
    ),
    "request_not_built": Reason(
        Kind.MESSAGE,
        Side.US,
        "Our request to the provider could not be built, so nothing was sent.",
        "Check the app's credentials.",
        "تعذّر تكوين الطلب إلى المزوّد، فلم يُرسَل شيء.",
        "تحقّق من بيانات اعتماد التطبيق.",
    ),
    "invalid_request": Reason(
        Kind.MESSAGE,
        Side.US,
        "The provider did not like a part of the request.",
        "Read the provider's answer in the attempt, and report it.",
        "لم يقبل المزوّد جزءًا من الطلب.",
        "اقرأ رد المزوّد في تفاصيل المحاولة وأبلغ عنه.",
    ),
    "invalid_schedule": Reason(
        Kind.MESSAGE,
        Side.CLIENT,
        "The provider does not accept the time.",
        "Choose another time.",
        "لا يقبل المزوّد الوقت المحدد.",
        "اختر وقتًا آخر.",
    ),
    "account_not_found": Reason(
        Kind.MESSAGE,
        Side.ACCOUNT,
        "The provider knows no such account or address.",
        "Check the app's credentials, and its base URL if it has one.",
        "لا يعرف المزوّد هذا الحساب أو هذا العنوان.",
        "تحقّق من بيانات اعتماد التطبيق، ومن رابطه الأساسي إن وُجد.",
    ),
    "price_limit": Reason(
        Kind.MESSAGE,
        Side.ACCOUNT,
        "The price is above the account's maximum.",
        "Raise the limit at the provider.",
        "السعر أعلى من الحد الأقصى للحساب.",
        "ارفع الحد لدى المزوّد.",
    ),
    "refused_by_provider": Reason(
        Kind.MESSAGE,
        Side.PROVIDER,
        "The provider refused, with a code that nobody documents or without a cause.",
        "Read the code and the provider's answer in the attempt, and ask the provider.",
        "رفض المزوّد الرسالة برمز غير مذكور في وثائقه، أو دون ذكر السبب.",
        "اقرأ الرمز وردّ المزوّد في تفاصيل المحاولة، ثم تواصل مع المزوّد.",
    ),
    # --- certainly not sent --------------------------------------------------------------------------------
    "connection_failed": Reason(
        Kind.NOT_SENT,
        Side.PROVIDER,
        "There was no connection: refused, unreachable or timed out before anything was sent.",
        f"Check the network and any proxy. {_AGAIN}",
        "تعذّر الاتصال: رُفض، أو كان الخادم غير متاح، أو انتهت المهلة قبل إرسال أي شيء.",
        f"تحقّق من الشبكة ومن الخادم الوسيط إن وُجد. {_AGAIN_AR}",
    ),
    "dns_failed": Reason(
        Kind.NOT_SENT,
        Side.PROVIDER,
        "The provider's host name has no address.",
        "Check the app's base URL if it has one, and the server's name resolution.",
        "لا يوجد عنوان لاسم خادم المزوّد.",
        "تحقّق من الرابط الأساسي للتطبيق إن وُجد، ومن خدمة أسماء النطاقات على الخادم.",
    ),
    "tls_failed": Reason(
        Kind.NOT_SENT,
        Side.PROVIDER,
        "No trusted encrypted connection could be made.",
        "Check certificates, clock and any proxy.",
        "تعذّر إنشاء اتصال مشفّر موثوق.",
        "تحقّق من الشهادات وساعة الخادم ومن الخادم الوسيط إن وُجد.",
    ),
    "no_time_left": Reason(
        Kind.NOT_SENT,
        Side.US,
        "Too little time was left to make the call and still keep the lease.",
        f"{_AGAIN} Often seen: the worker is short of CPU.",
        "لم يبقَ وقت كافٍ لإجراء الاتصال ضمن مدة الحجز.",
        f"{_AGAIN_AR} إن تكرّر ذلك فموارد المعالجة المتاحة لعملية الإرسال غير كافية.",
    ),
    "throttled": Reason(
        Kind.NOT_SENT,
        Side.PROVIDER,
        "The provider takes no more calls for now.",
        _AGAIN,
        "لا يقبل المزوّد مزيدًا من الطلبات الآن.",
        _AGAIN_AR,
    ),
    "app_rate_reached": Reason(
        Kind.NOT_SENT,
        Side.US,
        "The app's own limit of messages a second leaves no room for another one now.",
        f"{_AGAIN} Raise the limit if the provider takes more.",
        "لا يتّسع الحد المضبوط للتطبيق من الرسائل في الثانية لرسالة أخرى الآن.",
        f"{_AGAIN_AR} ارفع الحد إن كان المزوّد يقبل أكثر.",
    ),
    "worker_ended": Reason(
        Kind.NOT_SENT,
        Side.US,
        "The worker was told to end before it made the call.",
        _AGAIN,
        "أُنهيت عملية الإرسال قبل إجراء الاتصال.",
        _AGAIN_AR,
    ),
    "circuit_open": Reason(
        Kind.NOT_SENT,
        Side.PROVIDER,
        "The app has failed many times in a row and is left alone for a while.",
        f"{_AGAIN} Its attempts say what is wrong.",
        "فشل التطبيق مرات متتالية، فأُوقف استخدامه مؤقتًا.",
        f"{_AGAIN_AR} تُبيّن المحاولات السابقة سبب الخلل.",
    ),
    "recipient_limit_reached": Reason(
        Kind.NOT_SENT,
        Side.CLIENT,
        "The number has had as many messages as the provider allows in this time.",
        "Wait, and look for what sends to it so often.",
        "تلقّى الرقم أقصى ما يسمح به المزوّد من رسائل في هذه المدة.",
        "انتظر، وابحث عن سبب كثرة الإرسال إليه.",
    ),
    "daily_limit_reached": Reason(
        Kind.NOT_SENT,
        Side.ACCOUNT,
        "The account's limit for a day is used up.",
        f"Wait, or raise it at the provider. {_AGAIN}",
        "استُنفد الحد اليومي للحساب.",
        f"انتظر أو ارفع الحد لدى المزوّد. {_AGAIN_AR}",
    ),
    "sender_queue_full": Reason(
        Kind.NOT_SENT,
        Side.PROVIDER,
        "The provider's queue for this sender is full.",
        _AGAIN,
        "قائمة انتظار هذا المرسل لدى المزوّد ممتلئة.",
        _AGAIN_AR,
    ),
    "schedule_full": Reason(
        Kind.NOT_SENT,
        Side.PROVIDER,
        "The provider holds as many scheduled messages as it can.",
        _AGAIN,
        "بلغ عدد الرسائل المجدولة لدى المزوّد حدّه الأقصى.",
        _AGAIN_AR,
    ),
    "provider_unavailable": Reason(
        Kind.NOT_SENT,
        Side.PROVIDER,
        "The provider is down or has a fault, and has certainly not taken the message.",
        _AGAIN,
        "المزوّد متوقف أو به عطل، ومن المؤكد أنه لم يستلم الرسالة.",
        _AGAIN_AR,
    ),
    "sign_in_failed": Reason(
        Kind.NOT_SENT,
        Side.PROVIDER,
        "The provider did not answer when we signed in, so the message was never handed over.",
        f"Test the connection. {_AGAIN}",
        "لم يُجب المزوّد عند تسجيل الدخول، فلم تُسلَّم الرسالة إليه.",
        f"اختبر الاتصال. {_AGAIN_AR}",
    ),
    "blocked_by_firewall": Reason(
        Kind.NOT_SENT,
        Side.PROVIDER,
        "A firewall in front of the provider turned the call away.",
        "Ask the provider to allow this server's address.",
        "رفض جدار الحماية لدى المزوّد الطلب.",
        "اطلب من المزوّد السماح بعنوان هذا الخادم.",
    ),
    "settled_unsent": Reason(
        Kind.NOT_SENT,
        Side.CLIENT,
        "Nobody knew whether it was sent, until somebody found out and settled it by hand: it was not.",
        "Send it again if it still matters.",
        "لم يكن معروفًا إن كانت الرسالة قد أُرسلت، ثم تحقّق أحد المستخدمين وسجّل يدويًا أنها لم تُرسَل.",
        "أعد الإرسال إن كانت الرسالة ما زالت ضرورية.",
    ),
    # --- unknown -------------------------------------------------------------------------------------------
    "read_timeout": Reason(
        Kind.UNKNOWN,
        Side.PROVIDER,
        "The request left; the answer did not come in time.",
        "Look the message up at the provider before you send it again.",
        "أُرسل الطلب ولم يصل الرد في الوقت المحدد.",
        "ابحث عن الرسالة لدى المزوّد قبل إعادة إرسالها.",
    ),
    "connection_lost": Reason(
        Kind.UNKNOWN,
        Side.PROVIDER,
        "The request left; the connection broke before the answer was whole.",
        "Look the message up at the provider before you send it again.",
        "أُرسل الطلب وانقطع الاتصال قبل اكتمال الرد.",
        "ابحث عن الرسالة لدى المزوّد قبل إعادة إرسالها.",
    ),
    "provider_down": Reason(
        Kind.UNKNOWN,
        Side.PROVIDER,
        "The provider had a fault while it had the request.",
        "Look the message up at the provider before you send it again.",
        "حدث عطل لدى المزوّد بعد استلامه الطلب.",
        "ابحث عن الرسالة لدى المزوّد قبل إعادة إرسالها.",
    ),
    "unreadable_answer": Reason(
        Kind.UNKNOWN,
        Side.PROVIDER,
        "An answer came that nobody can read.",
        "Read the answer in the attempt, and look the message up at the provider.",
        "وصل رد لا يمكن قراءته.",
        "اقرأ الرد في تفاصيل المحاولة وابحث عن الرسالة لدى المزوّد.",
    ),
    "partly_accepted": Reason(
        Kind.UNKNOWN,
        Side.PROVIDER,
        "The provider said yes and no at once: a part of the message may have been sent.",
        "Look the message up at the provider before you send it again.",
        "أجاب المزوّد بالقبول والرفض معًا، فربما أُرسل جزء من الرسالة.",
        "ابحث عن الرسالة لدى المزوّد قبل إعادة إرسالها.",
    ),
    "already_submitted": Reason(
        Kind.UNKNOWN,
        Side.PROVIDER,
        "The provider has had a message under this reference before, so it was most likely sent then.",
        "Look the reference up at the provider before you send it again.",
        "سبق أن استلم المزوّد رسالة بهذا المرجع، فالأرجح أنها أُرسلت حينها.",
        "ابحث عن المرجع لدى المزوّد قبل إعادة الإرسال.",
    ),
    "no_carrier_report": Reason(
        Kind.UNKNOWN,
        Side.PROVIDER,
        "It went to the carrier, which never said what became of it.",
        "Ask the recipient before you send it again.",
        "سُلّمت إلى المشغّل ولم يُفِد بما حدث لها.",
        "اسأل المستلم قبل إعادة الإرسال.",
    ),
    "no_report": Reason(
        Kind.UNKNOWN,
        Side.US,
        "The process that was sending died, or lost its lease, after the start mark.",
        "Look the message up at the provider. Often seen: workers are killed.",
        "توقفت عملية الإرسال، أو فقدت حجزها، بعد بدء الإرسال.",
        "ابحث عن الرسالة لدى المزوّد. إن تكرّر ذلك فالعمليات تُوقَف قسرًا.",
    ),
    "not_recorded": Reason(
        Kind.UNKNOWN,
        Side.US,
        "The provider answered a direct send, but the database could not take the answer.",
        "Look the message up at the provider; the log of web has the outcome.",
        "ردّ المزوّد على إرسال مباشر، لكن قاعدة البيانات لم تستطع حفظ الرد.",
        "ابحث عن الرسالة لدى المزوّد، والنتيجة موجودة في سجل خادم الويب.",
    ),
    "internal_error": Reason(
        Kind.UNKNOWN,
        Side.US,
        "A fault of ours. On a pending message it came before any call, and the message is tried again.",
        "Look the message up at the provider, and report the line in the log that names it.",
        "عطل في هذا النظام. إذا كانت الرسالة بانتظار الإرسال فقد وقع قبل أي اتصال وستُعاد المحاولة.",
        "ابحث عن الرسالة لدى المزوّد، وأبلغ عن السطر الذي يذكرها في السجل.",
    ),
    # --- the outbox ----------------------------------------------------------------------------------------
    "cancelled": Reason(
        Kind.QUEUE,
        Side.CLIENT,
        "It was cancelled before it was sent.",
        "None.",
        "أُلغيت الرسالة قبل إرسالها.",
        "لا شيء.",
    ),
    "expired": Reason(
        Kind.QUEUE,
        Side.US,
        "Nobody could send it before it expired.",
        "Look at its attempts, and whether a worker is running.",
        "لم يتمكن أي تطبيق من إرسالها قبل انتهاء صلاحيتها.",
        "راجع محاولات الإرسال، وتأكد من أن عملية الإرسال تعمل.",
    ),
    "no_app": Reason(
        Kind.QUEUE,
        Side.CLIENT,
        "No app that may send it is installed and enabled, or its credentials cannot be read; it waits.",
        "Install or enable an app.",
        "لا يوجد تطبيق مثبّت ومفعّل يمكنه إرسالها، أو تعذّرت قراءة بيانات اعتماده، وهي بالانتظار.",
        "ثبّت تطبيقًا أو فعّله.",
    ),
    "no_permits": Reason(
        Kind.QUEUE,
        Side.US,
        "The app has a rate, and Redis, which keeps it for all workers, does not answer; it waits.",
        "Whoever runs this platform should look after Redis.",
        "للتطبيق حد من الرسائل في الثانية، والخدمة التي تحفظه لا تستجيب؛ الرسالة تنتظر.",
        "على القائمين على هذه المنصة التحقق من تلك الخدمة.",
    ),
    "insufficient_credits": Reason(
        Kind.QUEUE,
        Side.CLIENT,
        "It costs credits and there are none left: a queued message waits, and a direct send is refused.",
        "Ask whoever runs this platform for a top-up.",
        "إرسالها يكلّف رصيدًا ولم يبقَ رصيد: الرسالة الموجودة في قائمة الانتظار تنتظر، والإرسال المباشر يُرفض.",
        "اطلب شحن الرصيد من القائمين على هذه المنصة.",
    ),
    "credits_held": Reason(
        Kind.QUEUE,
        Side.CLIENT,
        "It costs credits, and messages under way hold all that are left; it waits for how they end.",
        "None, or ask whoever runs this platform for a top-up.",
        "إرسالها يكلّف رصيدًا، وكل الرصيد المتبقي محجوز لرسائل قيد الإرسال، وهي تنتظر نتيجتها.",
        "لا شيء، أو اطلب شحن الرصيد من القائمين على هذه المنصة.",
    ),
}


def text(reason: str) -> str:
    """Return the English sentence of a reason; the reason itself, in words, when it is a site's own."""
    known = REASONS.get(reason)
    return known.text if known else f"{reason.replace('_', ' ').capitalize()}."


def noted(reason: str, message: str) -> str:
    """Return for a page what was noted of a failure: `message`, which is stored in English, for who reads that.

    In another language it is what the reason means.
    """
    known = REASONS.get(reason)
    return known.meaning if message and known and _is_read_in_arabic() else _(message)


def brief(reason: str) -> str:
    """Return a reason for a column: its word; for who reads Arabic, what it means."""
    known = REASONS.get(reason)
    return known.text_ar if known and _is_read_in_arabic() else reason.replace("_", " ")


def explain(reason: str) -> dict[str, Any] | None:
    """Return what the API says about a reason; None for one that is not in the table.

    `{"side": "account", "text": {"en": …, "ar": …}, "next_step": {"en": …, "ar": …}}`
    """
    known = REASONS.get(reason)
    if known is None:
        return None
    return {
        "side": known.side.value,
        "text": {"en": known.text, "ar": known.text_ar},
        "next_step": {"en": known.next_step, "ar": known.next_step_ar},
    }
