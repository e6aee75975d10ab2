import codecs
import csv
import io
import time
import tracemalloc

import pytest

from outbox.bulk.reading import Overrides, UnreadableFile, open_table

ENGLISH = [["mobile", "message"], ["+966501234567", "Hello; a, b"], ["+966501234568", 'Two\nlines, "quoted"']]
ARABIC = [["رقم الجوال", "نص الرسالة"], ["966501234567", "عزيزي العميل، رصيدك 250 ريال"], ["966501234568", "شكرا"]]
GERMAN = [["mobile", "message"], ["4915112345678", "Schöne Grüße aus München"], ["4915112345679", "Größe 12, 5 €"]]


def written(rows: list[list[str]], separator: str = ",", line_end: str = "\r\n") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=line_end).writerows(rows)
    return text.getvalue()


def read(content: bytes, **overrides: str):
    return open_table(io.BytesIO(content), Overrides(**overrides))


def rows(content: bytes, **overrides: str) -> list[tuple[int, list[str], str]]:
    return list(read(content, **overrides).rows)


def refused(content: bytes, **overrides: str) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as refusal:
        rows(content, **overrides)
    assert "nothing was sent" in refusal.value.message.lower()
    return refusal.value


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("name", "separator"), [("comma", ","), ("semicolon", ";"), ("tab", "\t")])
@pytest.mark.parametrize(
    ("table", "encoding", "mark", "codec"),
    [
        (ENGLISH, "utf-8", b"", "utf-8"),
        (ARABIC, "utf-8", b"", "utf-8"),
        (ARABIC, "utf-8", codecs.BOM_UTF8, "utf-8"),
        (ARABIC, "utf-16", codecs.BOM_UTF16_LE, "utf-16-le"),
        (ARABIC, "utf-16", codecs.BOM_UTF16_BE, "utf-16-be"),
        (ENGLISH, "utf-16", b"", "utf-16-le"),
        (ENGLISH, "utf-16", b"", "utf-16-be"),
        (ARABIC, "utf-16", b"", "utf-16-le"),
        (ARABIC, "utf-16", b"", "utf-16-be"),
        (ARABIC, "windows-1256", b"", "cp1256"),
        (GERMAN, "latin-1", b"", "cp1252"),
    ],
)
def test_every_encoding_separator_and_line_end_is_detected(table, encoding, mark, codec, name, separator, line_end):
    found = read(mark + written(table, separator, line_end).encode(codec))
    assert (found.format, found.encoding, found.separator) == ("csv", encoding, name)
    assert found.header == table[0]
    assert list(found.rows) == [(2, table[1], ""), (3, table[2], "")]
    assert found.warnings == [
        f"Read as CSV, {encoding}, separated by {name}s; the fields 'encoding' and 'separator' set something else."
    ]


ARABIC_TEXTS = [
    "مرحبا بك في متجرنا، رصيدك 250 ريال",
    "تم شحن طلبك رقم 12345",
    "كود التحقق 4821",
    "عزيزي العميل، نود تذكيرك بموعدك غدا الساعة 10:30 صباحا في فرع الرياض. للإلغاء اتصل 920001234",
    "مرحبا",
    "نعم؟ لا؟",
    "Order 12345 جاهز للاستلام from Jarir",
]
WESTERN_TEXTS = [
    "Votre commande n° 12345 est prête à être retirée",
    "Déjà",
    "Hôtel réservé",
    "Guten Tag, Ihr Paket ist unterwegs nach München, Größe 12",
    "¿Qué tal? Mañana a las 10:30, señor Núñez",
    "Año nuevo",
    "L’été commence — à 50 €",
    "ÉTÉ À PARIS",
]


@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.parametrize(
    ("text", "encoding", "codec"),
    [(text, "windows-1256", "cp1256") for text in ARABIC_TEXTS]
    + [(text, "latin-1", "cp1252") for text in WESTERN_TEXTS],
)
def test_arabic_is_told_from_western_languages(text, encoding, codec, count):
    table = [["mobile", "message"], *([f"+96650{number:07}", text] for number in range(count))]
    found = read(written(table).encode(codec))
    assert found.encoding == encoding
    assert next(found.rows)[1][1] == text


def test_a_guessed_encoding_is_said_to_be_a_guess():
    found = read("mobile,message\n1,5 é\n".encode("cp1252"))
    assert "The encoding is a guess" in found.warnings[1]


def test_the_encoding_is_decided_by_the_whole_file():
    plain = b"".join(b"+966501%06d,Hello\n" % number for number in range(20_000))
    assert read(b"mobile,message\n" + plain + "1,شكرا لكم".encode("cp1256")).encoding == "windows-1256"
    assert read(b"mobile,message\n" + plain + "1,شكرا لكم".encode()).encoding == "utf-8"


def test_damaged_utf8_is_not_read_as_something_else():
    refusal = refused("mobile,message\n1,مرحبا بكم\n2,شكرا".encode()[:-1])
    assert refusal.reason == "wrong_encoding"
    assert "UTF-8 but damaged: line 3" in refusal.message


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + b"mobile,message\n1,\xff\n",
        codecs.BOM_UTF16_LE + "mobile,message\n1,x".encode("utf-16-le")[:-1],
        codecs.BOM_UTF16_LE + "mobile,message\n1,".encode("utf-16-le") + b"\x00\xd8\x20\x00",
        "mobile,message\n1,x".encode("utf-32"),
    ],
)
def test_a_file_that_is_not_in_its_marked_encoding_is_refused(content):
    assert refused(content).reason == "wrong_encoding"


def test_a_byte_that_windows_1252_lacks_does_not_cost_the_file():
    assert rows("mobile,message\n1,Déjà vu ".encode("cp1252") + b"\x81\n") == [(2, ["1", "Déjà vu \x81"], "")]


@pytest.mark.parametrize(
    ("said", "name"),
    [("Windows-1256", "windows-1256"), ("cp1256", "windows-1256"), ("ISO-8859-1", "latin-1"), ("Latin_1", "latin-1")],
)
def test_the_caller_can_set_the_encoding(said, name):
    found = read("mobile,message\n1,é è\n".encode("cp1252"), encoding=said)
    assert found.encoding == name


def test_utf16_can_be_set_for_a_file_without_its_mark():
    assert rows("mobile,message\n1,ش".encode("utf-16-be"), encoding="UTF16") == [(2, ["1", "ش"], "")]


def test_an_encoding_that_the_file_is_not_in_is_refused_with_the_line():
    refusal = refused("mobile,message\n1,é\n".encode("cp1252"), encoding="utf8")
    assert refusal.reason == "wrong_encoding"
    assert "line 2" in refusal.message


@pytest.mark.parametrize("said", [";", "semicolon", " Semicolon "])
def test_the_caller_can_set_the_separator(said):
    assert rows(b"mobile;message,text;x\n1;a,b;c\n", separator=said) == [(2, ["1", "a,b", "c"], "")]


@pytest.mark.parametrize(
    ("options", "choices"), [({"encoding": "klingon"}, "utf-8, utf-16"), ({"separator": "|"}, "comma, semicolon")]
)
def test_an_option_that_we_do_not_know_is_refused_with_the_choices(options, choices):
    refusal = refused(b"mobile,message\n", **options)
    assert refusal.reason == "invalid_option"
    assert choices in refusal.message


def test_the_separator_is_the_one_that_gives_known_names():
    assert read(b"mobile;message;a,b,c,d,e,f\n").separator == "semicolon"


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
def test_excels_separator_line_is_honoured_and_is_row_1(line):
    found = read(f"{line}\r\nmobile;message\r\n1;a,b\r\n".encode())
    assert (found.separator, list(found.rows)) == ("semicolon", [(3, ["1", "a,b"], "")])


def test_a_separator_line_with_something_else_is_refused():
    assert refused(b"sep=|\nmobile|message\n1|a\n").reason == "invalid_option"


def test_blank_rows_are_left_out_and_counted():
    content = b'\n,\nmobile,message\n\n1,"a\nb"\n , \n2,c\n,\n'
    assert rows(content) == [(5, ["1", "a\nb"], ""), (7, ["2", "c"], "")]


def test_rows_have_as_many_cells_as_the_header():
    content = b"mobile,message,sender,,\n1\n2,a,,,,,\n3,b,S\n"
    assert rows(content) == [(2, ["1", "", ""], ""), (3, ["2", "a", ""], ""), (4, ["3", "b", "S"], "")]


def test_a_row_with_more_cells_than_names_is_at_fault_alone():
    (_, cells, fault), second = rows(b"mobile,message\n1,Dear all, hello\n2,ok\n")
    assert cells == ["1", "Dear all", " hello"]
    assert "more cells than the header names" in fault
    assert second == (3, ["2", "ok"], "")


def test_500_cells_are_a_fault_of_their_row_and_1001_of_the_file():
    assert rows(b"mobile,message\n1,a" + b",b" * 500 + b"\n2,ok\n")[1] == (3, ["2", "ok"], "")
    assert refused(b"mobile,message\n1,a" + b",b" * 999).reason == "too_many_columns"


def test_a_header_of_501_columns_is_refused():
    names = ",".join(f"c{number}" for number in range(499))
    assert refused(f"mobile,message,{names}\n".encode()).reason == "too_many_columns"


def test_a_cell_in_a_column_without_a_name_is_a_fault():
    (_, _, fault), second = rows(b"mobile,,message\n1,Dear all, hello\n2,,ok\n")
    assert "without a name" in fault
    assert second == (3, ["2", "", "ok"], "")


def test_unknown_columns_are_said_to_be_unused():
    assert read(b"mobile,message,branch\n").warnings[1] == "Columns that are not used: “branch”."


def test_a_quote_inside_an_unquoted_cell_is_text():
    assert rows(b'mobile,message\n1,5" pipe\n') == [(2, ["1", '5" pipe'], "")]


def test_a_stray_quote_is_a_fault_of_its_row_alone():
    first, second, third = rows(b'mobile,message\n0,ok\n1,"say "hi" there"\n2,"ok, too"\n')
    assert first == (2, ["0", "ok"], "")
    assert (second[0], second[1][0], "stray quote" in second[2]) == (3, "1", True)
    assert third == (4, ["2", "ok, too"], "")


@pytest.mark.parametrize(
    "content",
    [
        b'1,"say "hi there"\n2,ok\n',  # the message may go on
        b'1,"unclosed\n2,"ok"\n3,"ok"\n',
        b'1,"unclosed\n2,"unclosed\n',
        b'1,"unclosed\n2,ok\n',
        b'1,"unclosed',
    ],
)
def test_a_quote_that_leaves_the_end_of_a_row_to_guess_costs_the_file(content):
    refusal = refused(b'mobile,message\n0,"fine\nso far"\n' + content)
    assert refusal.reason == "unclosed_quote"
    assert "row 3" in refusal.message


def test_a_nul_in_a_cell_is_a_fault_of_its_row_alone():
    (number, _, fault), second = rows(b"mobile,message\n1,a\0b\n2,ok\n")
    assert (number, "NUL" in fault) == (2, True)
    assert second == (3, ["2", "ok"], "")


def test_a_nul_in_utf16_is_a_fault_of_its_row_alone():
    assert ["NUL" in fault for _, _, fault in rows("mobile,message\n1,a\0b\n2,ok\n".encode("utf-16"))] == [True, False]


@pytest.mark.parametrize(
    "row",
    [
        b"1," + b"a" * 131_073,
        b'1,"' + b"a\n" * 100_000,  # a quote that is never closed
        b"1" + b",a" * 600_000,
        b"1" + b',"\n"' * 600_000,  # one row on many short lines
    ],
    ids=["cell", "quote", "line", "row"],
)
def test_what_does_not_fit_in_memory_is_refused_with_its_row(row):
    content = b"mobile,message\n0,ok\n" + row
    tracemalloc.start()
    refusal = refused(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refusal.reason == "cell_too_large"
    assert "Row 3" in refusal.message
    assert peak < 40_000_000


def test_a_cell_of_the_longest_length_is_read():
    assert len(rows(b"mobile,message\n1," + b"a" * 131_000 + b"\n")[0][1][1]) == 131_000


@pytest.mark.parametrize("content", [b"", b"\n\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, b"\n \n"])
def test_an_empty_file_is_refused(content):
    assert refused(content).reason == "empty_file"


def test_a_header_alone_has_no_rows():
    assert rows(b"mobile,message\n") == []


def test_a_file_without_a_header_is_refused():
    refusal = refused(b"+966501234567,Hello\n+966501234568,Hello\n")
    assert refusal.reason == "no_header"
    assert "“+966501234567”, “Hello”" in refusal.message


def test_a_header_that_is_not_text_is_refused():
    assert "NUL" in refused(b"mob\0ile,message\n1,a\n").message


OLE = bytes.fromhex("d0cf11e0a1b11ae1")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "PDF"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "PNG"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "JPEG"),
        (b"\x1f\x8b\x08\x00" + bytes(20), "gzip"),
        (b"{\\rtf1\\ansi mobile,message}", "RTF"),
        (b"\xef\xbb\xbf <html><table><tr><td>mobile", "web page"),
        (OLE + bytes(600), ".xls"),
        (bytes(range(256)) * 40, "not text"),
        (bytes(10_000), "not text"),
    ],
)
def test_other_kinds_of_file_are_named(content, kind):
    refusal = refused(content)
    assert refusal.reason == "not_a_table"
    assert kind in refusal.message
    assert "Excel Workbook (.xlsx)" in refusal.message


def test_the_field_sheet_is_said_to_be_unused():
    assert "'sheet'" in read(b"mobile,message\n", sheet="Sheet1").warnings[1]


def test_the_file_stays_open_and_may_stand_anywhere():
    file = io.BytesIO(b"mobile,message\n1,a\n")
    file.seek(7)
    assert len(list(open_table(file).rows)) == 1
    assert len(list(open_table(file).rows)) == 1


def test_memory_does_not_grow_with_the_rows(tmp_path):
    with (tmp_path / "big.csv").open("w+b") as file:
        file.write(b"mobile,message\n")
        file.writelines(f"+966501{number:06},عزيزي العميل رقم {number}\n".encode() for number in range(60_000))
        tracemalloc.start()
        count = sum(1 for _ in open_table(file).rows)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert count == 60_000
    assert peak < 1_000_000  # the file has 3.5 MB


def test_a_row_costs_little_more_than_the_csv_module_takes():
    content = b"mobile,message\n" + b"".join(b"+966501%06d,Hello %d\n" % (n, n) for n in range(100_000))

    def timed(read_all) -> float:
        start = time.process_time()
        read_all()
        return time.process_time() - start

    def bare():
        for _ in csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""), strict=True):
            pass

    def ours():
        for _ in read(content).rows:
            pass

    extra = min(timed(ours) for _ in range(3)) - min(timed(bare) for _ in range(3))
    assert extra / 100_000 < 1.5e-6  # seconds a row; 0.2e-6 as measured, and machines differ


def test_blank_rows_are_counted_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("outbox.bulk.reading.MAX_BLANK", 10)
    with pytest.raises(UnreadableFile) as refusal:
        list(open_table(io.BytesIO(b"mobile,message\n" + b"\n" * 11 + b"1,a\n")).rows)
    assert refusal.value.reason == "too_many_rows"
