"""Labels from every kind of file, and refusals that say which line is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.models.labels import PUBLISHED_LABELS, check_labels, labels_from_csv, read_labels


def test_the_published_six_are_in_their_order() -> None:
    assert PUBLISHED_LABELS == ("bird_song", "mammal_call", "insect_sound", "amphibian_call", "environmental_sound",
                                "unknown_species")


def test_a_training_list_names_classes_after_folders(tmp_path: Path) -> None:
    listed = tmp_path / "train.csv"
    listed.write_text("path,label\n/d/fox/a.wav,1\n/d/owl/b.wav,0\n/e/owl/c.wav,0\n\"/d/little, frog/x.wav\",2\n")
    assert read_labels(listed) == ("owl", "fox", "little, frog")
    assert read_labels(tmp_path) == ("owl", "fox", "little, frog")


def test_training_lists_from_elsewhere_are_understood() -> None:
    assert labels_from_csv("path,label,split\r\nC:\\d\\owl\\a.wav,0,train\r\n", where="x") == ("owl",)
    assert labels_from_csv("label,path\n0,owl/a.wav\n", where="x") == ("owl",)


def test_a_byte_order_mark_is_no_part_of_a_column_name(tmp_path: Path) -> None:
    listed = tmp_path / "train.csv"
    listed.write_bytes(b"\xef\xbb\xbfpath,label\nowl/a.wav,0\n")
    assert read_labels(listed) == ("owl",)


@pytest.mark.parametrize(("text", "complaint"), [
    ("file,class\na,0\n", "needs the columns path,label; it has file,class"),
    ("", "needs the columns path,label"),
    ("path,label\nowl/a.wav,owl\n", "line 2: label 'owl' is not a class index"),
    ("path,label\nowl/a.wav\n", "line 2: label None is not a class index"),
    ("path,label\nowl/a.wav,0\nfox/a.wav,0\n", "line 3: class 0 is called 'owl' above and 'fox' here"),
    ("path,label\nowl/a.wav,0\nfox/a.wav,2\n", "names class 2 but not 1"),
    ("path,label\na.wav,0\n", "has no folder"),
    ("path,label\nowl/a.wav,-1\n", "negative"),
])
def test_a_training_list_that_is_wrong_says_where(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        labels_from_csv(text, where="train.csv")


@pytest.mark.parametrize(("name", "text"), [
    ("labels.json", json.dumps(["owl", "fox"])),
    ("labels.json", json.dumps({"1": "fox", "0": "owl"})),
    ("labels.txt", "owl\n\n  fox \n"),
    ("labels", "owl\nfox"),
    ("labels.csv", "species\nowl\nfox\n"),
    ("labels.csv", "\"class\"\n\"owl\"\n fox\n"),
])
def test_lists_of_labels(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_labels(tmp_path / name) == ("owl", "fox")


@pytest.mark.parametrize(("name", "text", "complaint"), [
    ("labels.json", "[1, 2]", "JSON list of labels"),
    ("labels.json", "{", "is not JSON"),
    ("labels.json", "[]", "no labels"),
    ("labels.json", '{"0": "owl", "2": "fox"}', "names class 2 but not 1"),
    ("labels.txt", "\n\n", "no labels"),
    ("train.csv", "path,label\n", "no labels"),
    ("labels.csv", "species\nBufo bufo, toad\nowl\n", "line 2: a label with a comma in it stands in quotes"),
    ("labels.csv", "species\n", "no labels"),
])
def test_a_list_that_is_wrong_is_refused(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        read_labels(tmp_path / name)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the labels at .*missing.txt"):
        read_labels(tmp_path / "missing.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read the labels"):
        read_labels(tmp_path / "binary.txt")


def test_there_must_be_one_label_for_each_class() -> None:
    assert check_labels(("a", "b"), 2, where="x") == ("a", "b")
    with pytest.raises(ConfigError, match="the model has 3 classes but labels.txt gives 2 labels"):
        check_labels(("a", "b"), 3, where="labels.txt")
