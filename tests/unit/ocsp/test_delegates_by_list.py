"""Delegates without nocheck: their own status by the lists of their CA (check 10)."""

from dataclasses import replace

from ocsp.chain import validate_path
from ocsp.crl.rules import CrlRules, StatusOrder
from ocsp.crl.source import CrlSource, ReadLists
from ocsp.errors import DelegateRevoked, DelegateStatusUnknown
from ocsp.status import CertificateStatus, Good, Unavailable
from tests.support.certificates import NOW
from tests.support.crls import CrlSpec, EntrySpec, make_crl
from tests.support.lists import MemoryLists
from tests.support.ocsp_answers import answer
from tests.support.ocsp_judging import PKI, signed_by
from tests.support.trust import CannedPoster, client, trust_store

LIST = CrlSpec(issuer=PKI.citizen_ca)
LIST_URL = "http://ca.example/citizen.crl"


def by_delegate_without_nocheck(*entries: EntrySpec, fetched: bool = True) -> CertificateStatus:
    signer = PKI.delegate_with(ocsp_no_check=False)
    store = trust_store(PKI, order=StatusOrder.OCSP_THEN_CRL, crl=CrlRules((LIST_URL,)))
    lists = MemoryLists()
    if fetched:
        lists.put(LIST_URL, make_crl(replace(LIST, entries=entries)), NOW)

    def reply(request: bytes) -> bytes:
        return answer(replace(signed_by(signer), request=request))

    delegates = CrlSource(ReadLists(lists), store).delegates_of
    asking = client(CannedPoster(reply), delegates=delegates)
    return asking.status_of(validate_path(PKI.leaf.der, store, NOW), NOW)


def test_without_nocheck_a_delegate_that_is_listed_or_of_which_no_list_speaks_is_refused() -> None:
    for found, error in (
        (by_delegate_without_nocheck(fetched=False), DelegateStatusUnknown),
        (
            by_delegate_without_nocheck(EntrySpec(PKI.delegate.certificate.serial_number)),
            DelegateRevoked,
        ),
    ):
        assert isinstance(found, Unavailable)
        assert type(found.cause) is error


def test_without_nocheck_a_delegate_that_a_list_does_not_list_speaks_and_the_list_is_kept() -> None:
    found = by_delegate_without_nocheck()
    assert isinstance(found, Good)
    assert len(found.evidence.lists) == 1
