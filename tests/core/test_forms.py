"""Forms and their names."""

from __future__ import annotations

import itertools

import pytest

from engine.errors import ProtocolError
from engine.forms import EAGER, ModelForm, Precision, RuntimeName


def test_every_form_is_found_again_by_its_name() -> None:
    variants = ("", "compiled", "edges_fp32")
    forms = [ModelForm(*each) for each in itertools.product(RuntimeName, Precision, variants)]
    assert [ModelForm.named(form.name) for form in forms] == forms
    assert len({form.name for form in forms}) == len(forms)


def test_the_model_as_it_came_is_called_eager() -> None:
    assert ModelForm.named("eager") == EAGER


@pytest.mark.parametrize("name", ["", "torch", "x-y", "torch-fp32-a-b", "torch-fp32-A B", "torch-fp64", "torch-fp32-"])
def test_what_names_no_form_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError, match="names no form"):
        ModelForm.named(name)
