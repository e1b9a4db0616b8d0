"""What a citizen can do when the extension, the agent, the reader or the card fails.

Codes: those of web-eid.js (prefix ERR_WEBEID_) and the agent's own, which are its error classes'
names in kebab case. A PKCS#11 or reader failure keeps its own code: it must never look like a
cancellation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from webapi.language import Language


@dataclass(frozen=True, slots=True)
class Advice:
    """What to tell the citizen.

    Attributes:
        mn: in Mongolian.
        en: in English.
        reportable: whether the operator can do something about it.
    """

    mn: str
    en: str
    reportable: bool = False

    def text(self, language: Language, tries_left: int | None) -> str:
        """In that language, with the PIN tries left where the card program told them."""
        words, tries = (
            (self.mn, "Үлдсэн оролдлого") if language == "mn" else (self.en, "Tries left")
        )
        return words if tries_left is None else f"{words} {tries}: {tries_left}."


UNKNOWN = Advice(
    mn="Таны компьютер дээр алдаа гарлаа. Дахин оролдоно уу; давтагдвал дугаарыг хэлж "
    "тусламж авна уу.",
    en="Something failed on your computer. Try again; if it happens again, ask for help and give "
    "the number.",
    reportable=True,
)

ADVICE: Mapping[str, Advice] = MappingProxyType(
    {
        "ERR_WEBEID_EXTENSION_UNAVAILABLE": Advice(
            mn="Хөтөч дээр Web eID өргөтгөл алга. Өргөтгөлийг суулгаад хуудсыг дахин ачаална уу.",
            en="The Web eID extension is not installed in this browser. Install it, then reload "
            "this page.",
        ),
        "ERR_WEBEID_NATIVE_UNAVAILABLE": Advice(
            mn="Картын программ (Tamga agent) суугаагүй эсвэл хөтөч түүнд хүрч чадахгүй байна. "
            "Суулгаад хөтчөө дахин нээнэ үү.",
            en="The card program (Tamga agent) is not installed, or the browser cannot reach it. "
            "Install it, then restart the browser.",
        ),
        "ERR_WEBEID_VERSION_MISMATCH": Advice(
            mn="Өргөтгөл эсвэл картын программ хуучирсан байна. Шинэчилнэ үү.",
            en="The extension or the card program is out of date. Update it.",
        ),
        "ERR_WEBEID_USER_CANCELLED": Advice(
            mn="Та нэвтрэлтийг цуцаллаа.", en="You cancelled the sign-in."
        ),
        "ERR_WEBEID_USER_TIMEOUT": Advice(
            mn="Хугацаа дууслаа. Картаа уншигчид хийгээд дахин оролдоно уу.",
            en="The time is over. Put the card into the reader and try again.",
        ),
        "ERR_WEBEID_ACTION_TIMEOUT": Advice(
            mn="Картын программ хариу өгсөнгүй. Уншигчийг салгаж залгаад дахин оролдоно уу.",
            en="The card program did not answer. Plug the reader out and in, then try again.",
            reportable=True,
        ),
        "ERR_WEBEID_ACTION_PENDING": Advice(
            mn="Нэвтрэлт аль хэдийн эхэлсэн байна. ПИН кодын цонхыг харна уу.",
            en="A sign-in is under way already. Look for the PIN window.",
        ),
        "ERR_WEBEID_CONTEXT_INSECURE": Advice(
            mn="Энэ хуудас https хаягаар нээгдээгүй байна.",
            en="This page was not opened over https.",
            reportable=True,
        ),
        "pin-incorrect": Advice(
            mn="ПИН код буруу байна. Олон удаа буруу оруулбал карт түгжигдэнэ.",
            en="The PIN is wrong. Too many wrong PINs lock the card.",
        ),
        "pin-locked": Advice(
            mn="ПИН код түгжигдсэн. Карт олгосон газарт хандаж тайлуулна уу.",
            en="The PIN is locked. The office that issued the card can unlock it.",
        ),
        "pin-length-wrong": Advice(
            mn="ПИН кодын урт буруу байна.",
            en="The PIN has the wrong length.",
        ),
        "final-try-refused": Advice(
            mn="ПИН код оруулах ганц оролдлого үлджээ. Буруу оруулбал карт түгжигдэнэ; кодоо "
            "мартсан бол карт олгосон газарт хандана уу.",
            en="One PIN try is left; a wrong PIN locks the card. If you have forgotten the PIN, "
            "ask the office that issued the card.",
        ),
        "no-reader": Advice(
            mn="Карт уншигч олдсонгүй. Уншигчаа залгана уу.",
            en="There is no card reader. Plug it in.",
        ),
        "no-card": Advice(
            mn="Уншигчид карт алга. Картаа чиптэй талаар нь хийнэ үү.",
            en="There is no card in the reader. Put it in, chip first.",
        ),
        "card-removed": Advice(
            mn="Картыг эрт сугалсан байна. Дуустал нь уншигчид байлгана уу.",
            en="The card was taken out too soon. Leave it in the reader to the end.",
        ),
        "card-mute": Advice(
            mn="Карт хариу өгөхгүй байна. Картаа сугалаад дахин хийнэ үү.",
            en="The card does not answer. Take it out and put it in again.",
        ),
        "card-unsupported": Advice(
            mn="Энэ картыг таних боломжгүй байна.",
            en="This kind of card is not supported.",
            reportable=True,
        ),
        "pin-unusable": Advice(
            mn="Картын ПИН код тавигдаагүй эсвэл хугацаа нь дууссан. Карт олгосон газарт "
            "хандана уу.",
            en="The card has no PIN yet, or it has expired. Go to the office that issued the card.",
        ),
        "canceled-at-device": Advice(
            mn="Уншигч дээр ПИН код оруулахыг цуцалсан эсвэл хугацаа дууссан. Дахин эхэлнэ үү.",
            en="Typing the PIN on the reader was cancelled or took too long. Start again.",
        ),
        "token-busy": Advice(
            mn="Картыг өөр программ ашиглаж байна. Түүнийг хааж, дахин оролдоно уу.",
            en="Another program is using the card. Close it and try again.",
        ),
        "device-unavailable": Advice(
            mn="Карт эсвэл уншигч ажилласангүй. Картаа сугалаад хийж, дахин оролдоно уу.",
            en="The card or the reader failed. Take the card out, put it in, and try again.",
            reportable=True,
        ),
        "token-ambiguous": Advice(
            mn="Хэд хэдэн уншигчид карт байна. Нэгийг нь үлдээнэ үү.",
            en="Several readers hold a card. Leave one card in.",
        ),
        "module-unusable": Advice(
            mn="Картын PKCS#11 модуль суугаагүй эсвэл ажиллахгүй байна.",
            en="The card's PKCS#11 module is not installed or does not work.",
            reportable=True,
        ),
        "signing-certificate-only": Advice(
            mn="Карт дээр зөвхөн баримтад гарын үсэг зурах гэрчилгээ байна; нэвтрэх гэрчилгээ "
            "алга.",
            en="The card holds certificates for signing documents only, and none for signing in.",
        ),
        "certificate-expired": Advice(
            mn="Картын гэрчилгээний хугацаа дууссан. Компьютерын цаг зөв бол карт олгосон газарт "
            "хандаж сунгуулна уу.",
            en="The card's certificate has expired. If the clock of your computer is right, have "
            "it renewed by the office that issued the card.",
        ),
        "certificate-not-yet-valid": Advice(
            mn="Картын гэрчилгээ хараахан хүчинтэй болоогүй байна. Компьютерынхаа цагийг "
            "шалгана уу.",
            en="The card's certificate is not valid yet. Check the clock of your computer.",
        ),
        "certificate-ambiguous": Advice(
            mn="Карт дээр хэд хэдэн нэвтрэх гэрчилгээ байна. Картын программ дээр нэгийг нь "
            "сонгоно уу.",
            en="The card holds several certificates for signing in. Choose one in the card "
            "program.",
        ),
        "certificate-not-suitable": Advice(
            mn="Карт дээр нэвтрэх гэрчилгээ алга.",
            en="The card holds no certificate for signing in.",
        ),
        "reader-service-down": Advice(
            mn="Компьютерын карт уншигчийн үйлчилгээ (pcscd) ажиллахгүй байна.",
            en="The card reader service of this computer (pcscd) is not running.",
        ),
        "origin-not-confirmed": Advice(
            mn="АНХААР: картын программ энэ сайтыг танихгүй байна. Хаягаа шалгана уу.",
            en="WARNING: the card program does not know this site. Check the address.",
        ),
        "proof-missing": Advice(
            mn="АНХААР: энэ сайт жинхэнэ үйлчилгээ гэдгээ нотолсонгүй. ПИН кодоо бүү оруул.",
            en="WARNING: this site did not prove that it is the real service. Do not enter a PIN.",
            reportable=True,
        ),
        "proof-stale": Advice(
            mn="Сайтын нотолгооны хугацаа дууссан. Компьютерынхаа цагийг шалгаад дахин "
            "оролдоно уу.",
            en="The site's proof is too old. Check the clock of your computer and try again.",
        ),
        "proof-foreign": Advice(
            mn="АНХААР: нотолгоо өөр сайтынх байна. ПИН кодоо бүү оруул.",
            en="WARNING: the proof belongs to another site. Do not enter a PIN.",
            reportable=True,
        ),
    }
)
"""Advice by code; `advice_for` looks it up."""


def advice_for(code: str) -> Advice:
    """The advice for a code; general advice for an unknown one."""
    return ADVICE.get(code, UNKNOWN)
