"""Written from the upstream report (martinblech/xmltodict, issue 69); the first test fails on release 0.13.0."""

import pytest
import xmltodict


def streamed(xml, depth, keep_going=True):
    items = []

    def callback(path, item):
        items.append(item)
        return keep_going

    xmltodict.parse(xml, item_depth=depth, item_callback=callback)
    return items


def test_streamed_item_keeps_its_attributes():
    xml = '<root><entry id="7"><name>x</name></entry></root>'
    assert streamed(xml, 2) == [{"@id": "7", "name": "x"}]


def test_attributes_without_streaming():
    assert xmltodict.parse('<entry id="7"><name>x</name></entry>') == {"entry": {"@id": "7", "name": "x"}}


def test_attributes_above_the_item_are_not_the_items():
    assert streamed('<root version="1"><entry><name>x</name></entry></root>', 2) == [{"name": "x"}]


def test_attributes_below_the_item():
    assert streamed('<root><entry><name lang="en">x</name></entry></root>', 2) == [
        {"name": {"@lang": "en", "#text": "x"}}
    ]


def test_repeated_elements_become_a_list():
    assert xmltodict.parse("<r><a>1</a><a>2</a></r>") == {"r": {"a": ["1", "2"]}}


def test_streaming_calls_back_once_an_item():
    assert streamed("<r><e><n>1</n></e><e><n>2</n></e></r>", 2) == [{"n": "1"}, {"n": "2"}]


def test_streaming_stops_when_the_callback_says_no():
    with pytest.raises(xmltodict.ParsingInterrupted):
        streamed("<r><e><n>1</n></e></r>", 2, keep_going=False)


def test_unparse_round_trip():
    document = {"r": {"@id": "1", "a": "x"}}
    assert xmltodict.parse(xmltodict.unparse(document)) == document
