"""The words on the pages, Mongolian first."""

from collections.abc import Mapping
from types import MappingProxyType

from webapi.language import Language

Texts = Mapping[str, str]

_MN = {
    "lang": "mn",
    "other_lang": "en",
    "other_lang_name": "English",
    "service": "Тамга",
    "login_title": "Картаар нэвтрэх",
    "login_intro": "Иргэний цахим картаараа нэвтэрнэ. Нууц үг хэрэггүй.",
    "step_reader": "Карт уншигчаа компьютерт залгана уу.",
    "step_card": "Картаа чиптэй талаар нь уншигчид хийнэ үү.",
    "step_pin": "Доорх товчийг дараад, картын программ асуухад ПИН кодоо оруулна уу.",
    "origin_check": "Картын программ дараах хаягийг харуулах ёстой:",
    "origin_other": "Өөр хаяг гарвал ПИН кодоо бүү оруул.",
    "login_button": "Нэвтрэх",
    "pin_note": "ПИН кодыг зөвхөн картын программ асууна. Энэ хуудас хэзээ ч асуухгүй.",
    "noscript": "Картаар нэвтрэхэд JavaScript шаардлагатай. Хөтчийнхөө тохиргоонд "
    "зөвшөөрөөд хуудсыг дахин ачаална уу.",
    "working_challenge": "Бэлтгэж байна…",
    "working_card": "Картын программын цонхонд ПИН кодоо оруулна уу…",
    "working_login": "Шалгаж байна…",
    "failed": "Нэвтэрч чадсангүй. Дахин оролдоно уу.",
    "offline": "Үйлчилгээнд холбогдож чадсангүй. Сүлжээгээ шалгаад дахин оролдоно уу.",
    "incident": "Дугаар",
    "me_title": "Та нэвтэрсэн байна",
    "me_name": "Нэр",
    "me_subject": "Иргэний дугаар",
    "me_since": "Нэвтэрсэн цаг (UTC)",
    "logout_button": "Гарах",
    "working_logout": "Гарч байна…",
    "logout_failed": "Гарч чадсангүй. Дахин оролдоно уу.",
}

_EN = {
    "lang": "en",
    "other_lang": "mn",
    "other_lang_name": "Монгол",
    "service": "Tamga",
    "login_title": "Sign in with your card",
    "login_intro": "You sign in with your electronic ID card. No password is needed.",
    "step_reader": "Plug the card reader into the computer.",
    "step_card": "Put your card into the reader, chip first.",
    "step_pin": "Press the button below, then enter your PIN when the card program asks for it.",
    "origin_check": "The card program must show this address:",
    "origin_other": "If it shows another, do not enter your PIN.",
    "login_button": "Sign in",
    "pin_note": "Only the card program asks for the PIN. This page never does.",
    "noscript": "Signing in with a card needs JavaScript. Allow it in the settings of your "
    "browser, then reload this page.",
    "working_challenge": "Getting ready…",
    "working_card": "Enter your PIN in the window of the card program…",
    "working_login": "Checking…",
    "failed": "The sign-in failed. Try again.",
    "offline": "The service cannot be reached. Check your network and try again.",
    "incident": "Number",
    "me_title": "You are signed in",
    "me_name": "Name",
    "me_subject": "Personal number",
    "me_since": "Signed in at (UTC)",
    "logout_button": "Sign out",
    "working_logout": "Signing out…",
    "logout_failed": "You are still signed in. Try again.",
}

TEXTS: Mapping[Language, Texts] = MappingProxyType(
    {"mn": MappingProxyType(_MN), "en": MappingProxyType(_EN)}
)
"""By language; both have the same keys."""
