"""What an entry's header says is read as it is meant, and a header that says nonsense is refused."""

import json

import pytest

from samu_batch.emdb import EmdbId
from samu_batch.errors import UnreadableError
from samu_batch.metadata import Metadata, read_json, read_xml

ID = EmdbId(1234)


def test_a_header(header_xml):
    raw = header_xml(1234, cell=(126.0, 116.6, 108.0), pixel=(1.05, 1.06, 1.1))
    assert read_xml(raw, ID) == Metadata(
        id="EMD-1234",
        status="REL",
        released="2020-01-01",
        updated="2021-02-03",
        method="singleParticle",
        resolution=4.2,
        contour=0.025,
        box=(100, 110, 120),
        spacing=(1.08, 1.06, 1.05),  # the cell's: pixel_spacing is rounded
        unpacked=1024 + 4 * 100 * 110 * 120,
    )


def test_the_answer_of_the_api_says_the_same(header_xml):
    angstrom = "\u212b"
    answer = {
        "emdb_id": "EMD-1234",
        "version": "3.0.9.9",
        "admin": {
            "current_status": {"date": "2021-02-03T00:00:00", "code": {"valueOf_": "REL"}},
            "key_dates": {"map_release": "2020-01-01T00:00:00", "update": "2021-02-03T00:00:00", "obsolete": None},
        },
        "structure_determination_list": {
            "structure_determination": [
                {
                    "method": "singleParticle",
                    "image_processing": [
                        {"final_reconstruction": {"resolution": {"valueOf_": "4.2", "res_type": "BY AUTHOR"}}}
                    ],
                }
            ]
        },
        "map": {
            "size_kbytes": 5157,
            "data_type": "IMAGE STORED AS FLOATING POINT NUMBER (4 BYTES)",
            "dimensions": {"col": 120, "row": 110, "sec": 100},
            "spacing": {"x": 120, "y": 110, "z": 100},
            "cell": {
                name: {"units": angstrom, "valueOf_": n} for name, n in {"a": 126, "b": "115.5", "c": 105.0}.items()
            },
            "axis_order": {"fast": "X", "medium": "Y", "slow": "Z"},
            "contour_list": {"contour": [{"primary": False, "level": 0.5}, {"primary": True, "level": 0.025}]},
        },
    }
    assert read_json(json.dumps(answer).encode(), ID) == read_xml(header_xml(1234), ID)


@pytest.mark.parametrize(
    ("method", "processing"),
    [
        ("helical", "helical_processing"),
        ("subtomogramAveraging", "subtomogram_averaging_processing"),
        ("electronCrystallography", "crystallography_processing"),
        ("tomography", "tomography_processing"),
    ],
)
def test_every_method_has_its_own_place_for_the_resolution(header_xml, method, processing):
    read = read_xml(header_xml(1234, method=method, processing=processing), ID)
    assert (read.method, read.resolution) == (method, 4.2)


def test_columns_rows_and_sections_lie_along_the_axes_that_the_header_says(header_xml):
    raw = header_xml(1234, axes="ZXY", dimensions=(10, 20, 30), sampling=(20, 30, 10), pixel=(1, 2, 3))
    read = read_xml(raw, ID)
    assert (read.box, read.spacing) == ((10, 30, 20), (3, 2, 1))


def test_a_map_that_is_a_part_of_its_cell(header_xml):
    read = read_xml(header_xml(1234, sampling=(240, 240, 240), cell=(252, 252, 252)), ID)
    assert read.spacing == (1.05, 1.05, 1.05)


@pytest.mark.parametrize(
    ("data_type", "size"),
    [("IMAGE STORED AS SIGNED BYTE", 1), ("IMAGE STORED AS SIGNED INTEGER (2 BYTES)", 2), ("", None)],
)
def test_bytes_of_the_map(header_xml, data_type, size):
    read = read_xml(header_xml(1234, data_type=data_type, kbytes=77), ID)
    assert read.unpacked == (1024 + size * 1_320_000 if size else 77_000)


def test_what_is_not_said_is_not_known(header_xml):
    read = read_xml(header_xml(1234, resolution="", contours="<contour_list/>", released="", method=""), ID)
    assert (read.resolution, read.contour, read.released, read.method) == (None, None, "", "")
    assert read_xml(b'<emd emdb_id="EMD-1234"/>', ID) == Metadata(id="EMD-1234")
    assert read_json(b'{"emdb_id": "EMD-1234", "map": null, "admin": [[]]}', ID) == Metadata(id="EMD-1234")


def test_the_first_contour_where_none_is_primary(header_xml):
    contours = "<contour_list><contour><level>-3e-2</level></contour><contour><level>7</level></contour></contour_list>"
    assert read_xml(header_xml(1234, contours=contours), ID).contour == -0.03


BROKEN = {
    "not XML": lambda make: make(1234)[:-300],
    "no element found": lambda make: b"",
    "not well-formed": lambda make: b"\x1f\x8b\x08\x00 not text",
    "undefined entity": lambda make: make(1234).replace(b"Doe J", b"&doe;"),
    "unknown encoding": lambda make: make(1234).replace(b"UTF-8", b"KLINGON"),
    "its root is <emdEntry>": lambda make: b'<emdEntry accessCode="1234" version="1.9.6"/>',
    "its root is <html>": lambda make: b"<html><body>We are down for maintenance</body></html>",
    "the header of EMD-5678": lambda make: make(5678),
    "the header of no entry": lambda make: b"<emd/>",
    "resolution 'four' is not a number": lambda make: make(1234, resolution="<resolution>four</resolution>"),
    "resolution 'nan' is not a number": lambda make: make(1234, resolution="<resolution>nan</resolution>"),
    "resolution is -4": lambda make: make(1234, resolution="<resolution>-4</resolution>"),
    "col is 0": lambda make: make(1234, dimensions=(0, 1, 1), sampling=(1, 1, 1)),
    "an axis order of X Y Y": lambda make: make(1234, axes="XYY"),
    "map_release 'yesterday' is not a date": lambda make: make(1234, released="yesterday"),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_header_is_refused_with_its_reason(header_xml, reason):
    with pytest.raises(UnreadableError, match=reason):
        read_xml(BROKEN[reason](header_xml), ID)


def test_bombs_go_off_as_errors():
    entities = b"".join(b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 50) for n in range(1, 9))
    bomb = b'<!DOCTYPE emd [<!ENTITY e0 "boom">' + entities + b']><emd emdb_id="EMD-1234">&e8;</emd>'
    deep = b'<emd emdb_id="EMD-1234">' + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</emd>"
    for raw in (bomb, deep):
        with pytest.raises(UnreadableError, match="not XML"):
            read_xml(raw, ID)
    for raw in (b"[" * 100_000, b"{", b"\xff", b"[]", b'"EMD-1234"', b"7"):
        with pytest.raises(UnreadableError):
            read_json(raw, ID)
