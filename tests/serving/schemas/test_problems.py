"""Refusals: the sentence, the body and the headers that a client gets."""

import msgspec
import pytest

from segue.serving.schemas.problems import Problem, invalid_body, unavailable


def test_a_refusal_is_an_rfc_9457_body() -> None:
    problem = Problem(409, "An id is taken.")
    assert msgspec.json.encode(problem.body()) == (b'{"title":"Conflict","status":409,"detail":"An id is taken."}')
    assert (str(problem), problem.headers) == ("An id is taken.", {})


def test_a_refusal_that_may_pass_says_when() -> None:
    problem = unavailable("The disk is full.")
    assert (problem.status, problem.detail, problem.headers) == (503, "The disk is full.", {"Retry-After": "1"})


def test_a_value_of_an_object_with_any_names_is_named() -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.json.decode(b'{"any": {}}', type=dict[str, int])
    assert invalid_body(error.value).detail == ("A value of the body is not valid: expected 'int', got 'object'.")
