"""What the agent says to citizens, in Mongolian and English: short, plain, with the next step."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from pkcs11_bridge import errors
from pkcs11_bridge.agent import errors as agent_errors

Language = Literal["mn", "en"]


@dataclass(frozen=True, slots=True)
class Words:
    """One text in both languages."""

    mn: str
    en: str

    def text(self, language: Language) -> str:
        """In that language."""
        return self.mn if language == "mn" else self.en


def language_of(tag: str | None) -> Language:
    """The language for a BCP 47 tag or a locale's name; Mongolian where it is unknown."""
    if tag is not None and tag[:2].lower() == "en":
        return "en"
    return "mn"


SERVICE = Words("Үйлчилгээ", "Service")
CONFIRMED = Words("баталгаажсан", "confirmed")
NOT_CONFIRMED = Words("БАТАЛГААЖААГҮЙ", "NOT CONFIRMED")
CARD_OF = Words("Картын эзэмшигч", "Card of")
TRIES = Words("ПИН кодын үлдсэн оролдлого", "PIN tries left")
UNKNOWN = Words("тодорхойгүй", "unknown")
ENDS_SOON = Words("Гэрчилгээний хугацаа дуусах өдөр", "The certificate ends soon, on")
ON_PIN_PAD = Words("ПИН кодоо карт уншигч дээр оруулна уу.", "Type the PIN on the card reader.")
ASK_PIN = Words("ПИН код", "PIN")
WHICH = Words(
    "Картад хэд хэдэн гэрчилгээ байна. Дугаараар нь сонгоно уу",
    "The card holds several certificates. Choose one by its number",
)
ISSUED_BY = Words("олгосон", "issued by")
UNTIL = Words("хүртэл", "until")
FINAL_TRY = Words(
    "АНХААР: ганц оролдлого үлджээ. Буруу оруулбал карт түгжигдэнэ. Үргэлжлүүлэх үү?",
    "WARNING: one try is left. A wrong PIN locks the card. Go on?",
)

_ADVICE: Mapping[type[Exception], Words] = MappingProxyType(
    {
        errors.ReaderServiceDown: Words(
            "Карт уншигчийн үйлчилгээ (pcscd) ажиллахгүй байна. Түүнийг асаана уу.",
            "The card reader service (pcscd) is not running. Start it.",
        ),
        errors.NoReader: Words(
            "Карт уншигч олдсонгүй. Уншигчаа залгана уу.",
            "There is no card reader. Plug it in.",
        ),
        errors.NoCard: Words(
            "Уншигчид карт алга. Картаа чиптэй талаар нь хийнэ үү.",
            "There is no card in the reader. Put it in, chip first.",
        ),
        errors.CardMute: Words(
            "Карт хариу өгөхгүй байна. Сугалаад чиптэй талаар нь дахин хийнэ үү.",
            "The card does not answer. Take it out and put it in again, chip first.",
        ),
        errors.CardRemoved: Words(
            "Картыг эрт сугалсан байна. Картаа хийгээд дахин эхэлнэ үү; дуустал нь байлгана уу.",
            "The card was taken out too soon. Put it in and start again; leave it in to the end.",
        ),
        errors.PinIncorrect: Words(
            "ПИН код буруу байна. Олон удаа буруу оруулбал карт түгжигдэнэ.",
            "The PIN is wrong. Too many wrong PINs lock the card.",
        ),
        errors.PinLengthWrong: Words(
            "ПИН кодын урт буруу байна. Оролдлого хасагдаагүй.",
            "The PIN has the wrong length. No try was spent.",
        ),
        errors.PinLocked: Words(
            "ПИН код түгжигдсэн. Карт олгосон газарт хандаж тайлуулна уу.",
            "The PIN is locked. Go to the office that issued the card; it can unlock it.",
        ),
        errors.PinUnusable: Words(
            "Картын ПИН код тавигдаагүй эсвэл хугацаа нь дууссан. Карт олгосон газарт хандана уу.",
            "The card has no PIN yet, or it has expired. Go to the office that issued the card.",
        ),
        errors.CanceledAtDevice: Words(
            "Уншигч дээр ПИН код оруулахыг цуцалсан эсвэл хугацаа дууссан. Дахин эхэлнэ үү.",
            "Typing the PIN on the reader was cancelled or took too long. Start again.",
        ),
        errors.TokenBusy: Words(
            "Картыг өөр программ ашиглаж байна. Түүнийг хааж, дахин оролдоно уу.",
            "Another program is using the card. Close it and try again.",
        ),
        errors.DeviceUnavailable: Words(
            "Карт эсвэл уншигч ажилласангүй. Картаа сугалаад хийж, дахин оролдоно уу.",
            "The card or the reader failed. Take the card out, put it in, and try again.",
        ),
        errors.TokenAmbiguous: Words(
            "Хэд хэдэн уншигчид карт байна. Нэгийг нь үлдээнэ үү.",
            "Several readers hold a card. Leave one card in.",
        ),
        errors.CardUnsupported: Words(
            "Энэ картыг таних боломжгүй байна. Картын модулийг тохируулна уу (docs/cards.md).",
            "This kind of card is not known here. Configure its module (docs/cards.md).",
        ),
        errors.ModuleUnusable: Words(
            "Картын PKCS#11 модуль суугаагүй эсвэл ажиллахгүй байна. Суулгана уу.",
            "The card's PKCS#11 module is not installed or does not work. Install it.",
        ),
        errors.KeyGone: Words(
            "Карт дээрх гэрчилгээний түлхүүр олдсонгүй. Карт олгосон газарт хандана уу.",
            "The card has no key for its certificate. Go to the office that issued the card.",
        ),
        errors.TokenError: Words(
            "Картын программын тохиргоо буруу байна. Мэдээллийг үзнэ үү.",
            "The card program is not set up correctly. See the message.",
        ),
        agent_errors.SigningCertificateOnly: Words(
            "Карт дээр зөвхөн баримтад гарын үсэг зурах гэрчилгээ байна; нэвтрэх гэрчилгээ алга.",
            "The card holds certificates for signing documents only, and none for signing in.",
        ),
        agent_errors.CertificateExpired: Words(
            "Картын гэрчилгээний хугацаа дууссан. Компьютерын цаг зөв бол карт олгосон газарт "
            "хандаж сунгуулна уу.",
            "The card's certificate has expired. If this computer's clock is right, have it "
            "renewed by the office that issued the card.",
        ),
        agent_errors.CertificateNotYetValid: Words(
            "Картын гэрчилгээ хараахан хүчинтэй болоогүй байна. Компьютерын цагийг шалгана уу.",
            "The card's certificate is not valid yet. Check this computer's clock.",
        ),
        agent_errors.CertificateNotSuitable: Words(
            "Карт дээр нэвтрэх гэрчилгээ алга.",
            "The card holds no certificate for signing in.",
        ),
        agent_errors.CertificateAmbiguous: Words(
            "Карт дээр хэд хэдэн нэвтрэх гэрчилгээ байна. Нэгийг нь сонгоно уу (--certificate).",
            "The card holds several certificates for signing in. Choose one (--certificate).",
        ),
        agent_errors.FinalTryRefused: Words(
            "ПИН кодын ганц оролдлого үлджээ; буруу оруулбал карт түгжигдэнэ. Кодоо мартсан бол "
            "карт олгосон газарт хандана уу.",
            "One PIN try is left; a wrong PIN locks the card. If you have forgotten the PIN, go "
            "to the office that issued the card.",
        ),
        agent_errors.CardSignatureInvalid: Words(
            "Картын гарын үсэг буруу байна. Карт гэмтсэн байж магадгүй; олгосон газарт хандана уу.",
            "The card's signature is wrong. The card may be damaged; go to the office that "
            "issued it.",
        ),
        agent_errors.OriginNotConfirmed: Words(
            "АНХААР: энэ сайтыг танихгүй байна. Хаягийг шалгана уу.",
            "WARNING: this site is not known. Check the address.",
        ),
        agent_errors.ProofStale: Words(
            "Сайтын нотолгооны хугацаа дууссан. Компьютерын цагийг шалгаад дахин оролдоно уу.",
            "The site's proof is too old. Check this computer's clock and try again.",
        ),
        agent_errors.ProofError: Words(
            "АНХААР: энэ сайт жинхэнэ үйлчилгээ гэдгээ нотолсонгүй. ПИН кодоо бүү оруул.",
            "WARNING: this site did not prove that it is the real service. Do not enter a PIN.",
        ),
        agent_errors.AgentError: Words(
            "Сайтын хүсэлт эсвэл баталгаат сайтын файл буруу байна. Мэдээллийг үзнэ үү.",
            "The site's request or the file of known sites is wrong. See the message.",
        ),
    }
)


def advice(error: Exception, language: Language) -> str:
    """What to tell the person: the words of the error's class, or of the nearest class above."""
    kind = next(kind for kind in type(error).__mro__ if kind in _ADVICE)
    return _ADVICE[kind].text(language)
