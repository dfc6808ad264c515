"""XMP documents as other programs write them: read in every form, and changed in our bytes alone."""

from __future__ import annotations

import pytest
from lxml import etree

from siglipcli.actions.carrying import is_bare
from siglipcli.actions.keywords import Tag, keyword_of, plan
from siglipcli.actions.xmp import EMPTY, Document, XmpError

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
DC, LR = (
    'xmlns:dc="http://purl.org/dc/elements/1.1/"',
    'xmlns:lr="http://ns.adobe.com/lightroom/1.0/"',
)
SUBJECT, HIERARCHY, TAGS = "dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"
TIME = "2026-01-01T00:00:00Z"

# Each after the documentation of the program, and after files that it has written.
DIGIKAM = f"""<?xml version="1.0" encoding="UTF-8"?>
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about=""
    xmlns:digiKam="http://www.digikam.org/ns/1.0/"
    xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/"
    {LR}
    {DC}
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
   digiKam:ColorLabel="0"
   xmp:Rating='4'>
   <digiKam:TagsList>
    <rdf:Seq>
     <rdf:li>Places/Paris</rdf:li>
     <rdf:li>holiday</rdf:li>
    </rdf:Seq>
   </digiKam:TagsList>
   <MicrosoftPhoto:LastKeywordXMP>
    <rdf:Bag>
     <rdf:li>Places/Paris</rdf:li>
     <rdf:li>holiday</rdf:li>
    </rdf:Bag>
   </MicrosoftPhoto:LastKeywordXMP>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>Places|Paris</rdf:li>
     <rdf:li>holiday</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Paris</rdf:li>
     <rdf:li>holiday</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <dc:title>
    <rdf:Alt>
     <rdf:li xml:lang="x-default">Été &amp; <![CDATA[<sun>]]></rdf:li>
     <rdf:li xml:lang="en">Summer</rdf:li>
    </rdf:Alt>
   </dc:title>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
{" " * 99}
<?xpacket end="w"?>"""

LIGHTROOM = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000 1.000000, 0000/00/00-00:00:00        ">
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about=""
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
    {DC}
   crs:Version="16.0"
   crs:Exposure2012="+0.35"
   crs:HasSettings="True">
   <crs:ToneCurvePV2012>
    <rdf:Seq>
     <rdf:li>0, 0</rdf:li>
     <rdf:li>255, 255</rdf:li>
    </rdf:Seq>
   </crs:ToneCurvePV2012>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Paris</rdf:li>
    </rdf:Bag>
   </dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

DARKTABLE = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about="" xmlns:darktable="http://darktable.sf.net/" {LR} {DC}
   darktable:xmp_version="5" darktable:history_end="1">
   <darktable:history><rdf:Seq><rdf:li
      darktable:num="0" darktable:operation="exposure" darktable:params="gz02eJxjYGBgkGAAA"/></rdf:Seq></darktable:history>
   <dc:subject><rdf:Seq><rdf:li>darktable</rdf:li><rdf:li>owl</rdf:li></rdf:Seq></dc:subject>
   <lr:hierarchicalSubject><rdf:Seq><rdf:li>darktable|exported</rdf:li><rdf:li>owl</rdf:li></rdf:Seq></lr:hierarchicalSubject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

SPLIT = f"""<rdf:RDF {RDF}><rdf:Description rdf:about='uuid:1' {DC}><dc:subject><rdf:Bag/></dc:subject></rdf:Description>
<!-- kept --><rdf:Description rdf:about='uuid:1' xmlns:strange="urn:x" strange:a="1"><strange:b rdf:parseType="Resource"><strange:c>2</strange:c></strange:b></rdf:Description>
<rdf:Description xmlns:h="http://ns.adobe.com/lightroom/1.0/" rdf:about='uuid:1'><h:hierarchicalSubject><rdf:Bag><rdf:li>a|b</rdf:li></rdf:Bag></h:hierarchicalSubject></rdf:Description></rdf:RDF>"""

DEFAULT_NAMESPACE = f"""<RDF xmlns="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><Description about="" {DC}><dc:subject><Bag><li>a</li></Bag></dc:subject></Description></RDF>"""
NOTHING = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}/></x:xmpmeta>'
FORMS = {
    "digiKam": DIGIKAM, "Lightroom": LIGHTROOM, "darktable": DARKTABLE, "split": SPLIT,
    "default namespace": DEFAULT_NAMESPACE, "without content": NOTHING,
    "CRLF": DIGIKAM.replace("\n", "\r\n"),
}  # fmt: skip


def tags(*labels: str) -> list[Tag]:
    return [Tag(keyword_of(label), label, 0.5, "animals", "demo", TIME) for label in labels]


def tagged(data: bytes, *labels: str, optional: tuple[str, ...] = ()) -> bytes:
    """A document after a run with these tags; without any, after --remove."""
    document = Document(data)
    (place,) = plan([document.place("full")], tags(*labels), optional)
    return document.with_place(place)


def fields(data: bytes) -> dict[str, tuple[str, ...]]:
    return dict(Document(data).place("full").fields)


def rest(data: bytes) -> list[bytes]:
    """All properties but keywords and ours, as canonical XML."""
    root = etree.fromstring(data)
    ours = (
        "subject",
        "hierarchicalSubject",
        "TagsList",
        "LastKeywordXMP",
        "tags",
        "fields",
        "copies",
    )
    kept = []
    for description in root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"):
        kept += [
            f"{k}={v}".encode() for k, v in description.attrib.items() if not k.endswith("about")
        ]
        kept += [
            etree.tostring(node, method="c14n", exclusive=True, with_tail=False)
            for node in description
            if etree.QName(node).localname not in ours
        ]
    return kept


def test_keywords_are_read_in_each_programs_form() -> None:
    """Bags and sequences, attributes in between, several descriptions, other prefixes."""
    assert fields(DIGIKAM.encode()) == {
        SUBJECT: ("Paris", "holiday"),
        HIERARCHY: ("Places|Paris", "holiday"),
        TAGS: ("Places/Paris", "holiday"),
        "MicrosoftPhoto:LastKeywordXMP": ("Places/Paris", "holiday"),
    }
    assert fields(DARKTABLE.encode()) == {
        SUBJECT: ("darktable", "owl"), HIERARCHY: ("darktable|exported", "owl"),
    }  # fmt: skip
    assert fields(SPLIT.encode()) == {SUBJECT: (), HIERARCHY: ("a|b",)}
    assert fields(DEFAULT_NAMESPACE.encode()) == {SUBJECT: ("a",)}


@pytest.mark.parametrize("form", FORMS)
def test_tagging_keeps_all_else_and_remove_brings_back_the_bytes(form: str) -> None:
    """Ratings, develop settings, titles and unknown namespaces stay; --remove restores the file byte for byte."""
    before = FORMS[form].encode()
    first = tagged(before, "bird/owl", "cat")
    assert rest(first) == rest(before)
    for name, values in fields(before).items():
        assert set(values) <= set(fields(first)[name])
    assert "cat" in fields(first)[SUBJECT]
    assert "bird|owl" in fields(first)[HIERARCHY]
    assert tagged(first, "bird/owl", "cat") == first
    second = tagged(first, "fox")
    assert rest(second) == rest(before)
    assert "cat" not in fields(second)[SUBJECT]
    if form not in {"split", "without content"}:  # there `<a/>` has become `<a></a>`
        assert tagged(second) == before
    assert fields(tagged(second)) == {name: v for name, v in fields(before).items() if v}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1"])
def test_an_encoding_stays_what_it_was(encoding: str) -> None:
    """Documents in UTF-16 or Latin-1, with a byte order mark or without, stay so."""
    text = LIGHTROOM.replace("Paris", "Été")
    if encoding == "latin-1":
        text = '<?xml version="1.0" encoding="ISO-8859-1"?>\n' + text
    before = text.encode(encoding)
    after = tagged(before, "cat")
    assert after.decode(encoding).count("cat") == 4
    assert fields(after)[SUBJECT] == ("Été", "cat")
    assert tagged(after) == before


def test_a_letter_that_the_encoding_lacks_is_no_half_document() -> None:
    """A Latin-1 sidecar cannot hold 猫: it is left alone, and the message says why."""
    before = ('<?xml version="1.0" encoding="ISO-8859-1"?>' + LIGHTROOM).encode("latin-1")
    with pytest.raises(XmpError, match="lacks '猫'"):
        tagged(before, "猫")


IN_ALT = "<rdf:Alt><rdf:li xml:lang='x-default'>holiday</rdf:li></rdf:Alt>"
QUALIFIED = "<rdf:Bag><rdf:li rdf:parseType='Resource'><rdf:value>holiday</rdf:value><dc:q>x</dc:q></rdf:li></rdf:Bag>"


def described(subject: str) -> str:
    return f"<rdf:Description {DC} dc:format='image/jpeg'><dc:subject>{subject}</dc:subject></rdf:Description>"


@pytest.mark.parametrize(
    "subject",
    [
        f'<rdf:Description {DC} dc:subject="holiday" dc:format="image/jpeg"/>',
        described("holiday"),
        described(IN_ALT),
        described(QUALIFIED),
    ],
)
def test_values_in_other_forms_than_arrays_are_not_lost(subject: str) -> None:
    """A keyword that is an attribute, plain text or a value with qualifiers is read, and stays beside ours."""
    before = f"<rdf:RDF {RDF}>{subject}</rdf:RDF>".encode()
    assert fields(before) == {SUBJECT: ("holiday",)}
    after = tagged(before, "cat")
    assert fields(after) == {SUBJECT: ("holiday", "cat"), HIERARCHY: ("holiday", "cat")}
    assert b"image/jpeg" in after
    assert fields(tagged(after)) == {SUBJECT: ("holiday",)}


def test_records_are_read_in_each_form_of_a_structure() -> None:
    """Other programs rewrite our records with attributes or nested descriptions: they are still known as ours."""
    first = tagged(LIGHTROOM.encode(), "cat").decode()
    start, end = (
        first.index('<rdf:li rdf:parseType="Resource">'),
        first.index("</siglip:fields></rdf:li>"),
    )
    inside = first[start:end].removeprefix('<rdf:li rdf:parseType="Resource">') + "</siglip:fields>"
    whole = first[start : end + len("</siglip:fields></rdf:li>")]
    attributes = " ".join(
        f'siglip:{etree.QName(node).localname}="{node.text}"'
        for node in etree.fromstring(f'<a xmlns:siglip="urn:siglipcli:xmp/1.0/">{inside}</a>')
    )
    for other in (
        f"<rdf:li {attributes}/>",
        f"<rdf:li><rdf:Description {attributes}/></rdf:li>",
        f"<rdf:li><rdf:Description>{inside}</rdf:Description></rdf:li>",
    ):
        changed = first.replace(whole, other).encode()
        assert Document(changed).place("full") == Document(first.encode()).place("full")
        assert tagged(changed) == LIGHTROOM.encode()


def test_a_sidecar_of_ours_says_nothing_after_remove() -> None:
    """So it can be deleted; one that a person has written a rating into stays."""
    first = tagged(EMPTY, "cat")
    assert tagged(first) == EMPTY
    assert is_bare(Document(EMPTY))
    rated = first.replace(b"<rdf:Description", b'<rdf:Description xmlns:x="urn:x" x:Rating="4"', 1)
    assert not is_bare(Document(tagged(rated)))


BOMB = "<!DOCTYPE x [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not XML"),
        (b"\0" * 100, "not XML"),
        (b"not XML at all", "not XML"),
        (DIGIKAM.encode()[:900], "not XML"),
        (b"<html/>", "no rdf:RDF"),
        (b"\xff\xfe\x00", "not text"),
        (DIGIKAM.encode().replace(b"UTF-8", b"UTF-99"), "not text"),
        (DIGIKAM.encode().replace(b"Paris", b"Par\xffs"), "not text"),
        ((BOMB + NOTHING).encode(), "DOCTYPE"),
        ((BOMB + NOTHING.replace("/></", ">&b;</rdf:RDF></")).encode(), "DOCTYPE|not XML"),
        (f"<!DOCTYPE x SYSTEM 'http://127.0.0.1:9/x.dtd'>{NOTHING}".encode(), "DOCTYPE"),
        (b"<a>" * 10_000, "not XML"),
        (b" " * (32 * 2**20 + 1), "larger than 32 MiB"),
    ],
)  # fmt: skip
def test_what_is_no_xmp_is_refused(data: bytes, why: str) -> None:
    """Damaged, cut short, hostile or huge documents are refused with the reason; no entity, no network."""
    with pytest.raises(XmpError, match=why):
        Document(data)


def test_signs_of_xml_in_keywords_are_escaped() -> None:
    """Labels and prefixes may hold any sign that a keyword may hold."""
    after = tagged(DIGIKAM.encode(), 'a<b & "c"', "é'猫]]>")
    assert fields(after)[SUBJECT][-2:] == ('a<b & "c"', "é'猫]]>")
    assert tagged(after) == DIGIKAM.encode()


def in_rdf(subject: str) -> bytes:
    return f"<rdf:RDF {RDF}>{described(subject)}</rdf:RDF>".encode()


@pytest.mark.parametrize(
    "item",
    [
        '<rdf:li rdf:value="holiday" dc:q="x"/>',
        '<rdf:li><rdf:Description rdf:value="holiday" dc:q="x"/></rdf:li>',
        '<rdf:li rdf:resource="holiday"/>',
        "<rdf:li>holi<!-- a comment -->day</rdf:li>",
    ],
)
def test_items_that_are_attributes_are_read_and_stay(item: str) -> None:
    """RDF may have an item's text in an attribute; it counts as a keyword, and is not deleted."""
    data = in_rdf(f"<rdf:Bag><rdf:li>Paris</rdf:li>{item}</rdf:Bag>")
    after = tagged(data, "cat")
    assert fields(after)[SUBJECT] == ("Paris", "holiday", "cat")
    assert fields(after)[HIERARCHY] == ("Paris", "holiday", "cat")
    assert item.encode() in after
    assert tagged(after) == data


def test_what_cannot_be_read_is_not_deleted() -> None:
    """An item in a form that is not known stays; a whole property of such a form fails the document."""
    item = '<rdf:li rdf:parseType="Resource"><dc:q/></rdf:li>'
    data = in_rdf(f"<rdf:Bag>{item}</rdf:Bag>")
    assert item.encode() in tagged(data, "cat")
    assert item.encode() in tagged(tagged(data, "cat"))
    with pytest.raises(XmpError, match="dc:subject"):
        Document(in_rdf("<dc:q/>")).place("full")


def test_only_the_attribute_itself_is_taken_away() -> None:
    """What looks like it within another attribute's value stays."""
    data = (
        f"<rdf:RDF {RDF}><rdf:Description xmlns:t='urn:t' t:x=\" dc:subject='z' keep\" {DC}"
        ' rdf:about="" dc:subject="a"/></rdf:RDF>'
    )
    after = tagged(data.encode(), "cat")
    assert fields(after)[SUBJECT] == ("a", "cat")
    assert b"t:x=\" dc:subject='z' keep\"" in after
