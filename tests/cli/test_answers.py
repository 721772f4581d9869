"""What `antiphon init` asks, and what it makes of flags and answers."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from antiphon.cli.answers import Given, complete, ids, one_secret, secret_file
from antiphon.errors import SettingsError
from antiphon.settings import Secret

FLAGS = Given(
    homeserver="https://matrix.example.org",
    user="@bot:example.org",
    password=Secret("pw"),
    allow=("@me:example.org",),
)


class Script:
    """A person with prepared answers, by a word of the question."""

    def __init__(self, **answers: str):
        self.answers = answers
        self.asked: list[str] = []
        self.said: list[str] = []

    def text(self, question: str, default: str = "") -> str:
        self.asked.append(question)
        for word, answer in self.answers.items():
            if word in question:
                return answer
        assert default, f"no answer prepared to {question!r}"
        return default

    def secret(self, question: str) -> Secret:
        return Secret(self.text(question))

    def say(self, text: str) -> None:
        self.said.append(text)


def test_flags_alone_are_enough() -> None:
    values = complete(FLAGS, None).values()
    assert values[("matrix", "homeserver")] == "https://matrix.example.org"
    assert values[("matrix", "password")] == Secret("pw")
    assert values[("agent", "model")] == "offline"
    assert ("matrix", "admins") not in values
    assert ("matrix", "access_token") not in values


def test_missing_flags_are_named_all_at_once_where_nobody_can_be_asked() -> None:
    with pytest.raises(SettingsError) as caught:
        complete(Given(), None)
    for flag in ("--homeserver", "--user", "--password-file", "--allow"):
        assert flag in caught.value.message


def test_a_person_is_asked_for_what_is_missing_and_no_more() -> None:
    person = Script(Password="pw", Your="@me:example.org")
    done = complete(
        Given(homeserver="https://h.example", user="@bot:h.example", model="offline"), person
    )
    assert done.password == Secret("pw")
    assert done.allow == ("@me:example.org",)
    assert [question.split()[0] for question in person.asked] == ["Password", "Your", "Who"]


def test_whoever_may_talk_is_offered_as_admin_but_a_glob_is_not() -> None:
    one = complete(
        Given(homeserver="h.example", user="b", model="offline"),
        Script(Password="p", Your="@me:h.example"),
    )
    assert one.admins == ("@me:h.example",)
    many = complete(
        Given(homeserver="h.example", user="b", model="offline"),
        Script(Password="p", Your="@*:h.example"),
    )
    assert many.admins == ()


def test_the_question_for_the_model_says_what_is_usable() -> None:
    person = Script(Model="openai:small", Base="http://127.0.0.1:8000/v1", Key="k")
    done = complete(FLAGS, person)
    assert (done.model, done.base_url) == ("openai:small", "http://127.0.0.1:8000/v1")
    assert done.api_key == Secret("k")
    said = "\n".join(person.said)
    assert "offline" in said
    assert "local" in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"homeserver": "ftp://x"}, "https://"),
        ({"homeserver": "@bot:example.org"}, "user ID"),
        ({"allow": ("me",)}, "'me' is no Matrix ID"),
        ({"allow": ("example.org",)}, "no Matrix ID"),
        ({"admins": ("@me",)}, "no Matrix ID"),
        ({"base_url": "localhost:1"}, "base URL"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        complete(msgspec.structs.replace(FLAGS, **change), None)


def test_ids_come_one_by_one_or_with_commas_and_once_each() -> None:
    assert ids(("@a:x, @b:x", "@a:x", " ")) == ("@a:x", "@b:x")
    assert complete(msgspec.structs.replace(FLAGS, allow=("*",)), None).allow == ("*",)


def test_a_secret_is_the_one_line_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(" with spaces \n")
    assert secret_file(file) == Secret(" with spaces ")
    for bad in ("", "\n", "two\nlines\n"):
        file.write_text(bad)
        with pytest.raises(SettingsError, match="one line"):
            secret_file(file)
    with pytest.raises(SettingsError, match="No such file"):
        secret_file(tmp_path / "absent")


def test_two_sources_of_a_password_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not several"):
        one_secret(tmp_path / "a", False, tmp_path / "b")
