from mscnn.core.words import counted


def test_one_is_singular_and_thousands_have_commas():
    assert [counted(number, "compound") for number in (0, 1, 2, 12345)] == [
        "0 compounds", "1 compound", "2 compounds", "12,345 compounds"]
    assert (counted(1, "mechanism, known", "mechanisms, known"), counted(3, "child", "children")) == (
        "1 mechanism, known", "3 children")
