import gc
import io
import struct
import tracemalloc
import zipfile
from collections.abc import Mapping
from datetime import date, datetime, time

import openpyxl
import pytest
from openpyxl.utils.datetime import MAC_EPOCH
from pytest_django import Settings

from outbox.bulk.reading import Overrides, UnreadableFile, open_table

TYPES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
RELATIONS = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
HEADER = (
    '<row r="1"><c r="A1" t="inlineStr"><is><t>mobile</t></is></c>'
    '<c r="B1" t="inlineStr"><is><t>message</t></is></c></row>'
)
GOOD = '<row r="2"><c r="A2"><v>1</v></c><c r="B2" t="str"><v>ok</v></c></row>'
OLE = bytes.fromhex("d0cf11e0a1b11ae1")


def made(*lines: list, name: str = "Sheet1", others: tuple[str, ...] = ()) -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    del book["Sheet"]
    sheet = book.create_sheet(name)
    for line in lines:
        sheet.append(line)
    for other in others:
        book.create_sheet(other).append(["mobile", "message"])
    return book


def saved(book: openpyxl.Workbook) -> io.BytesIO:
    file = io.BytesIO()
    book.save(file)
    return file


def zipped(parts: Mapping[str, str | bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file


def by_hand(body: str | bytes, *, texts: str | bytes = "", calculation: str = "", **parts: str) -> io.BytesIO:
    """Return a workbook whose sheet holds `body`, parts given by their last name replaced, or left out if empty."""
    body = body.encode() if isinstance(body, str) else body
    texts = texts.encode() if isinstance(texts, str) else texts
    all_parts: dict[str, str | bytes] = {
        "_rels/.rels": RELATIONS.format(
            f'<Relationship Id="r1" Type="{TYPES}/officeDocument" Target="xl/workbook.xml"/>'
        ),
        "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{TYPES}"><sheets><sheet name="Sheet1" sheetId="1" r:id="r1"/>'
        f"</sheets>{calculation}</workbook>",
        "xl/_rels/workbook.xml.rels": RELATIONS.format(
            f'<Relationship Id="r1" Type="{TYPES}/worksheet" Target="worksheets/sheet1.xml"/>'
            f'<Relationship Id="r2" Type="{TYPES}/sharedStrings" Target="/xl/sharedStrings.xml"/>'
        ),
        "xl/worksheets/sheet1.xml": f"<worksheet {MAIN}><sheetData>".encode() + body + b"</sheetData></worksheet>",
        "xl/sharedStrings.xml": f"<sst {MAIN}>".encode() + texts + b"</sst>",
    }
    for name, content in parts.items():
        path = next(path for path in all_parts if path.endswith(f"/{name}.xml"))
        all_parts[path] = content
    return zipped({path: content for path, content in all_parts.items() if content})


def rows(file: io.BytesIO, **overrides: str) -> list[tuple[int, list[str], str]]:
    return list(open_table(file, Overrides(**overrides)).rows)


def refused(file: io.BytesIO, **overrides: str) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as refusal:
        rows(file, **overrides)
    assert "nothing was sent" in refusal.value.message.lower()
    return refusal.value


def test_a_workbook_is_read():
    table = open_table(saved(made(["رقم الجوال", "الرسالة", "Branch"], ["966501234567", "مرحبا\nبكم", "x"])))
    assert (table.format, table.sheet, table.encoding, table.separator) == ("xlsx", "Sheet1", "", "")
    assert table.header == ["رقم الجوال", "الرسالة", "Branch"]
    assert list(table.rows) == [(2, ["966501234567", "مرحبا\nبكم", "x"], "")]
    assert table.warnings == [
        "Read as an Excel workbook, sheet “Sheet1”.",
        "Columns that are not used: “Branch”.",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (966501234567, "966501234567"),
        (966501234567.0, "966501234567"),
        (1.5, "1.5"),
        (0.1 + 0.2, "0.3"),
        (0.0000001, "0.0000001"),
        (datetime(2026, 2, 1, 9, 30), "2026-02-01 09:30:00"),
        (datetime(2026, 2, 1, 23, 59, 59), "2026-02-01 23:59:59"),
        (date(2026, 2, 1), "2026-02-01 00:00:00"),
        (time(9, 30), "09:30:00"),
        (True, "TRUE"),
        (False, "FALSE"),
        ("0501234567", "0501234567"),
        (" =x ", " =x "),
        ("😀", "😀"),
    ],
)
def test_values_are_written_as_people_would_type_them(value, text):
    assert rows(saved(made(["mobile", "message"], ["1", value]))) == [(2, ["1", text], "")]


def test_dates_of_the_1904_calendar_are_the_same_dates():
    book = made(["mobile", "message"], ["1", datetime(2026, 2, 1, 9, 30)])
    book.epoch = MAC_EPOCH
    assert rows(saved(book))[0][1][1] == "2026-02-01 09:30:00"


def test_a_large_number_written_with_an_exponent_keeps_its_digits():
    assert rows(by_hand(HEADER + '<row r="2"><c r="A2"><v>9.66501234567E11</v></c></row>'))[0][1][0] == "966501234567"


def test_texts_are_read_with_all_their_runs_and_escapes_and_without_reading_aids():
    texts = (
        "<si><r><t>Hel</t></r><r><rPr><b/></rPr><t>lo</t></r><rPh sb='0' eb='1'><t>aid</t></rPh></si>"
        "<si><t>two_x000D_\nlines _x0000_ _xD800_</t></si><si/>"
    )
    cells = '<c r="A{0}"><v>1</v></c><c r="B{0}" t="s"><v>{1}</v></c>'
    body = "".join(f'<row r="{number + 2}">{cells.format(number + 2, number)}</row>' for number in range(3))
    found = [row[1][1] for row in rows(by_hand(HEADER + body, texts=texts))]
    assert found == ["Hello", "two\r\nlines _x0000_ _xD800_", ""]


def test_cells_and_rows_without_an_address_follow_the_one_before():
    body = HEADER + '<row><c><v>1</v></c><c t="str"><v>a</v></c></row><row r="9"><c r="B9" t="str"><v>b</v></c></row>'
    assert rows(by_hand(body)) == [(2, ["1", "a"], ""), (9, ["", "b"], "")]


def test_blank_rows_are_left_out_and_counted():
    book = made([], ["mobile", "message"], [], ["1", "a"], [None, " "], ["2", "b"])
    assert [row[0] for row in rows(saved(book))] == [4, 6]


@pytest.mark.parametrize("stored", ["", "<v/>", "<v></v>"])
def test_a_formula_without_a_stored_value_is_a_fault_of_its_row_alone(stored):
    body = f'<row r="2"><c r="A2"><v>1</v></c><c r="B2"><f>A2</f>{stored}</c></row>' + GOOD.replace("2", "3")
    (_, cells, fault), second = rows(by_hand(HEADER + body))
    assert (cells, "formula without a stored value" in fault) == (["1", ""], True)
    assert second == (3, ["1", "ok"], "")


def test_the_stored_value_of_a_formula_is_used():
    body = (
        '<row r="2"><c r="A2"><f>1+1</f><v>2</v></c><c r="B2" t="str"><f>"a"</f><v>a</v></c></row>'
        '<row r="3"><c r="A3"><v>1</v></c><c r="B3" t="str"><f>""</f><v></v></c></row>'
    )
    assert rows(by_hand(HEADER + body)) == [(2, ["2", "a"], ""), (3, ["1", ""], "")]


def test_a_stored_value_that_its_writer_did_not_calculate_is_a_fault():
    body = HEADER + '<row r="2"><c r="A2"><v>1</v></c><c r="B2"><f>A2</f><v>0</v></c></row>'
    ((_, cells, fault),) = rows(by_hand(body, calculation='<calcPr fullCalcOnLoad="1"/>'))
    assert (cells, "formula" in fault) == (["1", ""], True)


def test_an_error_value_is_a_fault_of_its_row_alone():
    body = '<row r="2"><c r="A2"><v>1</v></c><c r="B2" t="e"><v>#N/A</v></c></row>' + GOOD.replace("2", "3")
    (_, cells, fault), second = rows(by_hand(HEADER + body))
    assert (cells, "#N/A" in fault) == (["1", "#N/A"], True)
    assert second == (3, ["1", "ok"], "")


def test_an_error_value_in_a_column_that_is_not_used_is_no_fault():
    body = GOOD.replace("</row>", '<c r="C2" t="e"><v>#N/A</v></c></row>')
    header = HEADER.replace("</row>", '<c r="C1" t="str"><v>branch</v></c></row>')
    assert rows(by_hand(header + body)) == [(2, ["1", "ok", "#N/A"], "")]


def test_a_date_outside_the_calendar_is_a_fault():
    book = made(["mobile", "message"], ["1", 1e9])
    book["Sheet1"]["B2"].number_format = "yyyy-mm-dd"
    assert "calendar" in rows(saved(book))[0][2]


def test_a_row_with_more_cells_than_names_is_at_fault_alone():
    first, second = rows(saved(made(["mobile", "message"], ["1", "a", None, "b"], ["2", "ok"])))
    assert (first[1], "more cells" in first[2]) == (["1", "a", "", "b"], True)
    assert second == (3, ["2", "ok"], "")


def test_the_first_visible_sheet_is_read_and_the_others_are_named():
    book = made(["x"], name="Notes", others=("Numbers", "More"))
    book["Notes"].sheet_state = "hidden"
    table = open_table(saved(book))
    assert table.sheet == "Numbers"
    assert table.warnings[1] == (
        "The workbook has 3 sheets; only “Numbers” was read; name another with the field 'sheet': "
        "“Notes”, “Numbers”, “More”."
    )


def test_the_caller_can_name_the_sheet():
    book = made(["x"], others=("عملاء",))
    book["عملاء"].append(["1", "a"])
    assert rows(saved(book), sheet=" عملاء ") == [(2, ["1", "a"], "")]


def test_a_sheet_that_is_not_there_is_refused_with_the_names():
    refusal = refused(saved(made(["mobile", "message"], others=("Two",))), sheet="Three")
    assert refusal.reason == "invalid_option"
    assert "“Sheet1”, “Two”" in refusal.message


def test_macros_are_said_not_to_be_run():
    relation = (
        '<Relationship Id="m" Type="http://schemas.microsoft.com/office/2006/relationships/vbaProject" Target="v"/>'
    )
    file = by_hand(HEADER + GOOD)
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    path = "xl/_rels/workbook.xml.rels"
    parts[path] = parts[path].replace("</Relationships>", f"{relation}</Relationships>")
    table = open_table(zipped(parts))
    assert "The workbook has macros, which were not run." in table.warnings
    assert list(table.rows) == [(2, ["1", "ok"], "")]


def test_an_empty_sheet_is_an_empty_file():
    assert refused(by_hand("")).reason == "empty_file"


def test_a_sheet_without_the_columns_is_refused():
    assert refused(saved(made(["name"], ["x"]))).reason == "no_header"


# What cannot be read.


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ({"mimetype": "application/vnd.oasis.opendocument.spreadsheet", "content.xml": "<x/>"}, "OpenDocument"),
        ({"[Content_Types].xml": "", "_rels/.rels": "", "word/document.xml": "<x/>"}, "Word"),
        ({"_rels/.rels": "", "xl/workbook.bin": "x"}, ".xlsb"),
        ({"numbers.csv": "mobile,message"}, "zip archive"),
    ],
)
def test_other_zip_files_are_named(parts, kind):
    refusal = refused(zipped(parts))
    assert refusal.reason == "not_a_table"
    assert kind in refusal.message


def test_an_encrypted_workbook_is_said_to_have_a_password():
    head = bytearray(512)
    head[:8] = OLE
    struct.pack_into("<H", head, 0x1E, 9)
    struct.pack_into("<I", head, 0x30, 1)
    refusal = refused(io.BytesIO(bytes(head) + bytes(512) + "EncryptedPackage".encode("utf-16-le") + bytes(480)))
    assert refusal.reason == "broken_workbook"
    assert "password" in refusal.message


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_workbook_is_refused(share):
    content = saved(made(["mobile", "message"], ["1", "a"])).getvalue()
    assert refused(io.BytesIO(content[: int(len(content) * share)])).reason == "broken_workbook"


def test_a_damaged_part_is_refused_when_it_is_reached():
    content = bytearray(by_hand(HEADER + GOOD * 1).getvalue())
    place = content.index(b"xl/worksheets/sheet1.xml") + 40
    content[place : place + 20] = bytes(20)
    assert refused(io.BytesIO(bytes(content))).reason == "broken_workbook"


@pytest.mark.parametrize("part", ["workbook", "sheet1", "sharedStrings"])
def test_a_missing_part_is_refused(part):
    body = HEADER + '<row r="2"><c r="A2"><v>1</v></c><c r="B2" t="s"><v>0</v></c></row>'
    assert refused(by_hand(body, texts="<si><t>a</t></si>", **{part: ""})).reason == "broken_workbook"


@pytest.mark.parametrize(
    "broken",
    [
        '<row r="3"><c',
        "</wrong>",
        '<row r="3"><c r="A3" t="s"><v>7</v></c></row>',  # a text that is not there
        '<row r="3"><c r="A3" t="s"><v>-1</v></c></row>',
        '<row r="3"><c r="A3"><v>x</v></c></row>',
        '<row r="3"><c r="3"><v>1</v></c></row>',
        '<row r="3"><c r="A3" s="x"><v>1</v></c></row>',
        '<row r="x"/>',
        '<row r="2"/>',  # again
        '<row r="1"/>',  # backwards
        '<row r="1048577"/>',
        '<row r="99999999999999999999"/>',
        "<!DOCTYPE x>",
        "\0",
    ],
)
def test_damage_in_the_middle_is_refused_when_it_is_reached(broken):
    table = open_table(
        by_hand(HEADER + GOOD + broken + '<row r="4"><c r="A4"><v>4</v></c></row>', texts="<si><t>a</t></si>")
    )
    with pytest.raises(UnreadableFile, match=r"damaged.*[nN]othing was sent") as refusal:
        list(table.rows)
    assert refusal.value.reason == "broken_workbook"


def test_the_last_row_that_excel_has_is_read_at_once():
    body = HEADER + '<row r="1048576"><c r="A1048576"><v>1</v></c></row>'
    assert rows(by_hand(body)) == [(1_048_576, ["1", ""], "")]


def test_a_cell_beyond_column_1000_is_refused_unless_it_is_empty():
    assert rows(by_hand(HEADER + GOOD.replace("</row>", '<c r="XFD2" s="0"/></row>'))) == [(2, ["1", "ok"], "")]
    body = HEADER + GOOD.replace("</row>", '<c r="XFD2"><v>1</v></c></row>')
    assert refused(by_hand(body)).reason == "too_many_columns"


BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">{}]><{} {}>{}</{}>"""
ENTITIES = "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("part", "root", "inside"),
    [
        ("sheet1", "worksheet", "<sheetData><row><c t='str'><v>&i;</v></c></row></sheetData>"),
        ("sharedStrings", "sst", "<si><t>&i;</t></si>"),
        ("workbook", "workbook", "&i;"),
    ],
)
def test_an_entity_bomb_is_refused(part, root, inside):
    body = '<row r="1"><c t="s"><v>0</v></c></row>'
    bomb = BOMB.format(ENTITIES, root, MAIN, inside, root)
    assert refused(by_hand(body, **{part: bomb})).reason == "broken_workbook"


def test_an_external_entity_is_refused():
    declared = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    evil = f"{declared}<worksheet {MAIN}><sheetData>&e;</sheetData></worksheet>"
    assert refused(by_hand("", sheet1=evil)).reason == "broken_workbook"


def peak_of(call) -> int:
    # The garbage collector comes the later the more objects there are, and other tests leave many.
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gc.unfreeze()
    return peak


def declaring(size: int, content: bytes) -> io.BytesIO:
    """Return the workbook with another size of its sheet in the list of parts."""
    entry = content.rindex(b"xl/worksheets/sheet1.xml") - 46
    return io.BytesIO(content[: entry + 24] + struct.pack("<I", size) + content[entry + 28 :])


def test_a_zip_bomb_is_refused_by_its_declared_size():
    file = declaring(401 * 1024 * 1024, by_hand(HEADER + GOOD).getvalue())
    assert "unpacks to over 200 MB" in refused(file).message
    assert refused(file).reason == "broken_workbook"


def test_a_bomb_that_lies_about_its_size_is_read_no_further_than_it_says():
    body = HEADER + GOOD + "".join(f'<row r="{number}"/>' for number in range(3, 50_000))
    assert refused(declaring(1000, by_hand(body).getvalue())).reason == "broken_workbook"


def test_a_zip_with_a_huge_list_of_parts_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(15_000):
            archive.writestr(f"{number:030}", b"")
    assert peak_of(lambda: refused(file)) < 3_000_000
    assert refused(file).reason == "broken_workbook"


@pytest.mark.parametrize(
    "inside",
    [
        "<row><c t='str'><v>{}</v></c></row>",
        "<row><c t='str'><v><![CDATA[{}</row><row>]]></v></c></row>",
        "<row><!-- {} --></row>",
        "<row x='{}'/>",
        "<other>{}</other>",
    ],
)
def test_one_huge_row_is_refused_before_it_fills_the_memory(inside):
    file = by_hand(HEADER + inside.format("a" * 6_000_000))
    refusal = None

    def read():
        nonlocal refusal
        refusal = refused(file)

    assert peak_of(read) < 20_000_000
    assert refusal is not None and refusal.reason == "cell_too_large"


def test_elements_inside_each_other_without_end_are_refused():
    assert refused(by_hand(HEADER + "<row>" + "<a>" * 100_000)).reason == "broken_workbook"


def test_large_parts_that_are_not_needed_are_passed_over():
    styles = "<font><sz val='11'/></font>" * 50_000
    sheet = f"<worksheet {MAIN}><cols>{styles}</cols><sheetData>{HEADER}{GOOD}</sheetData></worksheet>"
    found = None

    def read():
        nonlocal found
        found = rows(by_hand("", sheet1=sheet))

    read()
    assert found == [(2, ["1", "ok"], "")]


def test_one_huge_text_is_refused_before_it_fills_the_memory():
    file = by_hand(HEADER + '<row r="2"><c t="s"><v>0</v></c></row>', texts=f"<si><t>{'a' * 6_000_000}</t></si>")
    assert refused(file).reason == "cell_too_large"


def peak_of_reading(count: int) -> int:
    cells = '<row r="{0}" ht="15"><c r="A{0}"><v>966501234567</v></c><c r="B{0}" t="s"><v>{1}</v></c></row>'
    body = "".join(cells.format(number + 2, number) for number in range(count))
    texts = "".join(f"<si><t>عزيزي العميل رقم {number}، {'نص طويل ' * 10}</t></si>" for number in range(count))
    file = by_hand(HEADER + body, texts=texts)
    found = 0

    def read():
        nonlocal found
        found = sum(1 for _ in open_table(file).rows)

    peak = peak_of(read)
    assert found == count
    return peak


def test_memory_does_not_grow_with_the_rows():
    peak_of_reading(10)  # what is imported and compiled with the first file is not its rows'
    # 3,500 texts more take 0.9 MB in memory, and their places 28 kB.
    assert peak_of_reading(5_000) - peak_of_reading(1_500) < 300_000


def test_a_table_that_is_not_read_to_its_end_leaves_nothing_open():
    table = open_table(saved(made(["mobile", "message"], ["1", "a"], ["2", "b"])))
    next(table.rows)
    del table  # the temporary file is closed, or a ResourceWarning would fail this test


def test_hidden_rows_are_read_and_that_is_told_at_the_end():
    hidden = '<row r="3" hidden="1"><c r="A3"><v>2</v></c><c r="B3" t="inlineStr"><is><t>b</t></is></c></row>'
    table = open_table(by_hand(HEADER + GOOD + hidden))
    assert [number for number, _, _ in table.rows] == [2, 3]
    assert table.warnings[-1] == "1 rows that are hidden in the sheet were read like all others."


def test_what_costs_time_and_no_room_is_bounded(monkeypatch: pytest.MonkeyPatch, settings: Settings):
    settings.BULK_MAX_ROWS = 1
    assert "50 cells" in refused(by_hand(HEADER + '<row r="2">' + "<c/>" * 50 + "</row>")).message
    monkeypatch.setattr("outbox.bulk.workbook.MAX_TEXTS", 20)
    texts = by_hand(HEADER + '<row r="2"><c t="s"><v>40</v></c></row>', texts="<si/>" * 50)
    assert "20 texts" in refused(texts).message


def test_a_text_longer_than_excel_allows_is_refused():
    file = by_hand(HEADER + '<row r="2"><c t="s"><v>0</v></c></row>', texts=f"<si><t>{'a' * 32_768}</t></si>")
    assert refused(file).reason == "cell_too_large"
